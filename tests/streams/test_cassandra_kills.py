"""A consumer whose read model is in Cassandra, killed at random: each event counts once."""

from __future__ import annotations

import random
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cassandra")

from tests.streams.material import ENTITY_TYPE, Added, Writer
from tests.streams.processes import start_consumer
from tests.streams.test_cassandra_sink import Counts
from thespian_dc.model.settings import Local, Projection
from thespian_dc.projection.cassandra.read import SinkReader
from thespian_dc.projection.cassandra.schema import apply_schema
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.cassandra, pytest.mark.processes, pytest.mark.timeout(300)]
KILLS = 4
EVENTS = 1_000


class SlowCounts(Counts):
    """A thousand events a second, so that kills meet it at work."""

    def handle(self, event: Any, tx: Any) -> None:
        super().handle(event, tx)
        threading.Event().wait(0.001)  # the handler's work


def test_consumer_killed_at_random_points(
    writer: Writer, cassandra: Any, tmp_path: Path, recorded: Any
) -> None:
    """SIGKILL between any two steps of a batch: the position says which events count."""
    url = cassandra.url(f"k_{uuid.uuid4().hex[:12]}")
    apply_schema(url)
    source = Local(ENTITY_TYPE, f"sqlite:///{tmp_path}/journal.db")
    settings = Projection(
        "popularity", source, SlowCounts, url, [Added], batch_events_max=10,
        restart_backoff_ms=(5, 50),
    )  # fmt: skip
    rng, reader = random.Random(7), SinkReader(url)
    for part in range(EVENTS // 100):
        writer.add([(f"c-{part}-{nr % 9}", Added("a", 1)) for nr in range(100)])

    def counted() -> int:
        return sum(reader.row("popularity", "a").values())

    before, midway = -1, 0
    for _ in range(KILLS):
        child = start_consumer(settings)
        recorded(child.process.pid)
        before = counted()
        eventually(lambda: counted() > before or counted() == EVENTS, 30)  # noqa: B023
        threading.Event().wait(rng.random() * 0.2)  # the moment of the kill, not a wait
        child.kill()
        midway += counted() < EVENTS
    assert midway > KILLS // 2, "most kills came when all was done"
    child = start_consumer(settings)
    recorded(child.process.pid)
    eventually(lambda: counted() == EVENTS, 60)
    eventually(lambda: child.ask("status").lag == 0)
    assert counted() == EVENTS
    child.end()
    reader.close()

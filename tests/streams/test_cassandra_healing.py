"""SIGKILL of a consumer whose marks, debts and rows are in Cassandra, while its filter changes."""

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
from tests.streams.test_cassandra_kills import SlowLast
from tests.streams.test_healing_kills import ENTITIES, random_filter, write
from thespian_dc.model.criteria import Filter
from thespian_dc.model.settings import Local, Projection
from thespian_dc.projection.api import Projections
from thespian_dc.projection.cassandra.read import SinkReader
from thespian_dc.projection.cassandra.schema import apply_schema
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.cassandra, pytest.mark.processes, pytest.mark.timeout(600)]
NAME = "popularity"
KILLS = 30


@pytest.mark.soak
def test_consumer_killed_while_filters_change(
    writer: Writer, cassandra: Any, tmp_path: Path, recorded: Any
) -> None:
    """Marks, debts, rows and position are one batch: whatever step of healing a kill meets, each
    entity's events come once and in order, and at the end all of them."""
    url = cassandra.url(f"h_{uuid.uuid4().hex[:12]}")
    apply_schema(url)
    source = Local(ENTITY_TYPE, f"sqlite:///{tmp_path}/journal.db")
    rng, manage, reader = random.Random(13), Projections(url), SinkReader(url)
    settings = Projection(
        NAME, source, SlowLast, url, [Added], batch_events_max=20, restart_backoff_ms=(5, 50),
        filter=random_filter(rng),
    )  # fmt: skip

    def passed() -> int:
        return sum(manage.positions(NAME).values()) if NAME in manage.names() else 0

    for _ in range(KILLS):
        before = passed()
        write(writer, rng, 5)
        child = start_consumer(settings)
        recorded(child.process.pid)
        eventually(lambda b=before: passed() > b, 60)
        for _ in range(rng.randint(1, 2)):
            manage.set_filter(NAME, random_filter(rng))
            write(writer, rng, 3)
            threading.Event().wait(rng.random() * 0.4)  # the moment of the kill, not a wait
        child.kill()
    manage.set_filter(NAME, Filter())
    child = start_consumer(settings)
    recorded(child.process.pid)
    writer.add([(one, Added("x", 1)) for one in ENTITIES])

    def handled() -> dict[str, int]:
        return {key: last for (_, key), last in reader.rows(NAME).items()}

    eventually(lambda: handled() == writer.seq_nrs, 90)
    child.end()
    reader.close()

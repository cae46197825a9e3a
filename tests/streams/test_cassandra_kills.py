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
from tests.streams.running import consumers
from tests.streams.test_cassandra_sink import Counts
from thespian_dc.model.settings import Local, Projection
from thespian_dc.projection.api import CassandraProjectionHandler
from thespian_dc.projection.cassandra.read import SinkReader
from thespian_dc.projection.cassandra.schema import apply_schema
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.cassandra, pytest.mark.processes, pytest.mark.timeout(300)]
KILLS, KILLS_MAX = 4, 30
ROUND_EVENTS = 300
SERVER_KILLS, SERVER_EVENTS = 4, 5_000


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

    def counted() -> int:
        return sum(reader.row("popularity", "a").values())

    events = kills = midway = 0
    while midway < KILLS and kills < KILLS_MAX:  # one that comes when all is done proves nothing
        before = counted()
        for part in range(ROUND_EVENTS // 100):
            writer.add([(f"c-{part}-{nr % 9}", Added("a", 1)) for nr in range(100)])
        events += ROUND_EVENTS
        child = start_consumer(settings)
        recorded(child.process.pid)
        eventually(lambda b=before: counted() > b, 60)
        threading.Event().wait(rng.random() * 0.2)  # the moment of the kill, not a wait
        child.kill()
        kills += 1
        midway += counted() < events
    assert midway == KILLS, f"of {kills} kills"
    child = start_consumer(settings)
    recorded(child.process.pid)
    eventually(lambda: counted() == events, 60)
    eventually(lambda: child.ask("status").lag == 0)
    assert counted() == events
    child.end()
    reader.close()


class SlowLast(CassandraProjectionHandler):
    """A thousand events a second: the last seq_nr of each entity. What comes twice, or before what
    is ahead of it, is refused."""

    def handle(self, event: Any, tx: Any) -> None:
        last = tx.get(event.entity_id) or 0
        assert event.seq_nr == last + 1, f"{event.entity_id}: {event.seq_nr} after {last}"
        tx.put(event.entity_id, event.seq_nr)
        threading.Event().wait(0.001)  # the handler's work


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_server_killed_at_random_points(
    writer: Writer, cassandra_of_its_own: EmbeddedCassandra, tmp_path: Path
) -> None:
    """SIGKILL of Cassandra while rows and their position are on their way to it, an outcome that
    nobody hears. The consumer goes on by itself; each event counts once, in its entity's order."""
    server, rng = cassandra_of_its_own, random.Random(9)
    url = server.url("killed")
    apply_schema(url)
    source = Local(ENTITY_TYPE, f"sqlite:///{tmp_path}/journal.db")
    for _ in range(SERVER_EVENTS // 100):
        writer.add([(f"c-{nr % 33}", Added("a", 1)) for nr in range(100)])
    with consumers() as run:
        child = run(
            Projection(
                "popularity", source, SlowLast, url, [Added], batch_events_max=10,
                restart_backoff_ms=(5, 500),
            )
        )  # fmt: skip

        def passed() -> int:
            return sum(child.ask("status").positions.values())

        places = [0]
        for _ in range(SERVER_KILLS):
            eventually(lambda: passed() > places[-1], 90)
            threading.Event().wait(rng.random() * 0.3)  # the moment of the kill, not a wait
            server.kill()
            places.append(passed())
            server.restart()
        eventually(lambda: passed() == SERVER_EVENTS, 120)
        status = child.ask("status")
        print(f"\nchaos: Cassandra killed at {places[1:]} of {SERVER_EVENTS} events passed, "
              f"{status.restarts} runs began anew")  # fmt: skip
        child.end()
    assert places[-1] < SERVER_EVENTS, "the last kill came when all was done"
    assert 0 < status.restarts < 1_000, "with pauses in between"
    reader = SinkReader(url)
    assert {key: last for (_, key), last in reader.rows("popularity").items()} == writer.seq_nrs
    reader.close()

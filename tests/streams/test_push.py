"""Push, over real gRPC on loopback: a producer dials, the destination writes events of its own type
to its own journal, and an ordinary local projection reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.streams.certificates import Authority
from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer, counted, projection
from tests.streams.pushing import (
    FAR_SLICES,
    FAR_TYPE,
    ON_BOTH,
    all_that_came,
    broken,
    came_from,
    comes,
    destination,
    error_of,
    forget,
    no_pushes,
    stored,
    to_far,
    total,
)
from thespian_dc.journal.api import open_journal
from thespian_dc.model.access import Access
from thespian_dc.model.criteria import Exclude, Filter
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.settings import Destination, Local, Push, Remote, Stream
from thespian_dc.model.stream_errors import UnknownStreamError
from thespian_dc.projection.api import local_source, start_projection
from thespian_dc.stream import push_core as key
from thespian_dc.stream.destination_filters import set_destination_filter
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually, never

Start = Callable[..., tuple[StreamServer, int]]


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


@ON_BOTH
def test_many_events_of_many_entities_come_in_order_and_once(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """600 events of 20 entities, half of them before the producer dials."""
    events = [(f"c-{n % 20}", Added(f"s{n}", n)) for n in range(600)]
    for start in range(0, 300, 10):
        writer.add(events[start : start + 10])
    _, port = receive()
    bring(port)
    for start in range(300, 600, 10):
        writer.add(events[start : start + 10])
    eventually(lambda: total(far_url) == 600, deadline_s=20)
    assert all_that_came(far_url) == {f"c-{n}": list(range(1, 31)) for n in range(20)}


@ON_BOTH
def test_a_resend_after_a_lost_acknowledgement_writes_nothing_twice(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """The destination forgets how far it was: all comes again, and the log says what it has."""
    writer.add([(f"c-{n % 7}", Added("apple", 1)) for n in range(100)])
    far, port = receive()
    pusher = bring(port)
    eventually(lambda: total(far_url) == 100)
    pusher.stop()
    far.stop()
    forget(far_url)
    _, port = receive()
    bring(port)
    writer.add([("c-1", Added("pear", 1))])
    eventually(lambda: total(far_url) == 101)
    never(lambda: total(far_url) != 101, within_s=0.3)
    assert came_from(far_url, "c-1") == list(range(1, 17))


@ON_BOTH
def test_the_filter_changes_while_connected(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """What is left out is not stored; what is let in later comes whole, in order, before what is
    new of it; and what was let in all the time comes once."""
    _, port = receive(destination(filter=Exclude.entity_ids("c-1")))
    pusher = bring(port)
    writer.add([("c-1", Added("apple", 1)), ("c-2", Added("pear", 1)), ("c-3", Added("fig", 1))])
    eventually(lambda: total(far_url) == 2)
    journal = open_journal(far_url)
    set_destination_filter(journal, "carts", Exclude.entity_ids("c-1", "c-2"))
    eventually(lambda: writes_only(writer, far_url, "c-3", "c-2"))
    assert pusher.facts()["pushes"][0]["reconnects"] == 0, "a narrower filter needs no new call"
    before = len(stored(far_url)["c-2"])
    set_destination_filter(journal, "carts", Filter())
    eventually(lambda: came_from(far_url, "c-1"))
    writer.add([("c-1", Added("apple", 1)), ("c-2", Added("pear", 1))])
    for entity_id in ("c-1", "c-2", "c-3"):
        every = list(range(1, writer.seq_nrs[entity_id] + 1))
        eventually(partial(comes, far_url, entity_id, every))
    assert len(stored(far_url)["c-2"]) > before
    journal.close()


def writes_only(writer: Writer, url: str, wanted: str, unwanted: str) -> bool:
    """Write one event of each; True once the first comes and the second does not."""
    before = len(stored(url)[unwanted])
    writer.add([(unwanted, Added("x", 1)), (wanted, Added("x", 1))])
    eventually(lambda: len(came_from(url, wanted)) == writer.seq_nrs[wanted])
    return len(stored(url)[unwanted]) == before


def test_a_filter_by_tag_selects_events(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """Of one entity, those that pass; their own seq_nrs have no hole."""
    _, port = receive(destination(filter=Exclude.tags("small")))
    bring(port)
    for tags in ((), ("small",), (), ("small",), ()):
        writer.add([("c-1", Added("apple", 1))], tags=tags)
    eventually(lambda: came_from(far_url, "c-1") == [1, 3, 5])


REFUSED = {
    "a stream that is not there": (destination(stream_id="other"), "shop"),
    "an origin that is not listed": (destination(), "mall"),
    "an origin without its certificate": (
        destination(origins={"shop": "shop.example.org"}),
        "shop",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_may_not_push_is_refused_by_name_and_all_alike(
    writer: Writer, receive: Start, bring: Any, far_url: str, case: str
) -> None:
    """From the answer nobody learns which streams there are."""
    setting, service = REFUSED[case]
    writer.add([("c-1", Added("apple", 1))])
    _, port = receive(setting)
    pusher = bring(port, service)
    eventually(lambda: error_of(pusher))
    assert error_of(pusher) == (
        f"OriginRefusedError: stream 'carts' of origin '{service}' is not taken from this peer; "
        "see stream_id and origins of Settings.destinations there, and the names in its certificate"
    )
    never(lambda: total(far_url), within_s=0.2)


def test_an_origin_is_bound_to_its_certificate(
    writer: Writer, receive: Start, server: Start, journal_url: str, far_url: str, tmp_path: Path
) -> None:
    """Both have a certificate of our authority; only the one named may say that it is the shop."""
    ours = Authority(tmp_path / "ours")
    writer.add([("c-1", Added("apple", 1))])
    setting = destination(origins={"shop": "shop.example.org"}, without_identity=False)
    _, port = receive(setting, tls=ours.tls("127.0.0.1"))

    def pusher(name: str) -> StreamServer:
        push = Push(Stream("carts", ENTITY_TYPE), f"127.0.0.1:{port}", tls=ours.tls(name))
        return server(service="shop", journal=journal_url, pushes=(push,))[0]

    impostor = pusher("mall.example.org")
    eventually(lambda: "OriginRefusedError" in error_of(impostor))
    assert total(far_url) == 0
    pusher("shop.example.org")
    eventually(lambda: total(far_url) == 1)


def test_an_interceptor_sees_pushes_too(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """The one door for all calls of others."""
    _, port = receive(access=Access(interceptor=no_pushes))
    pusher = bring(port)
    eventually(lambda: "not today" in error_of(pusher))
    assert total(far_url) == 0


def test_a_transform_maps_ids_tags_and_payloads_and_leaves_out(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """Events of several entities there in one here, in its own contiguous order; sent again after a
    restart, each is recognised by where it came from."""
    setting = destination(transform=to_far, events=[Added])
    writer.add([(f"c-{n % 3}", Added("fig" if n == 4 else "apple", n)) for n in range(6)])
    far, port = receive(setting)
    pusher = bring(port)
    eventually(lambda: total(far_url) == 5)
    pusher.stop()
    far.stop()
    forget(far_url)
    _, port = receive(setting)
    bring(port)
    writer.add([("c-1", Added("apple", 6))])
    eventually(lambda: total(far_url) == 6)
    (entity_id, records), *others = stored(far_url).items()
    assert (entity_id, others) == ("sku-apple", [])
    assert [one.seq_nr for one in records] == [1, 2, 3, 4, 5, 6]
    assert {tag for one in records for tag in one.tags} == {"from-shop"}
    assert b"APPLE" in records[0].payload


def test_what_cannot_be_transformed_is_named_at_both_ends_and_nothing_is_skipped(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    writer.add([("c-1", Added("apple", 1))])
    _, port = receive(destination(transform=broken, events=[Added]))
    pusher = bring(port)
    eventually(lambda: total(far_url) == 1)
    writer.add([("c-1", Added("bad", 1))])
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: "was not transformed: ValueError: no such thing" in error_of(pusher))
    assert "the event of shop's c-1 at slice" in error_of(pusher)
    assert total(far_url) == 1


def test_two_origins_push_into_one_type(
    writer: Writer, receive: Start, bring: Any, server: Start, far_url: str, tmp_path: Path
) -> None:
    """Their entities have the same ids: the events of both come, each origin's in its order."""
    mall_url = f"sqlite:///{tmp_path}/mall.db"
    mall = Writer(mall_url)
    _, port = receive(destination(origins={"shop": "", "mall": ""}))
    bring(port)
    push = Push(Stream("carts", ENTITY_TYPE), f"127.0.0.1:{port}")
    server(service="mall", journal=mall_url, pushes=(push,))
    for n in range(20):
        writer.add([("c-1", Added("apple", n))])
        mall.add([("c-1", Added("pear", n))])
    eventually(lambda: total(far_url) == 40)
    records = stored(far_url)["c-1"]
    assert [one.seq_nr for one in records] == list(range(1, 41))
    for origin in ("shop", "mall"):
        metas = [one.meta for one in records if one.meta and one.meta[key.ORIGIN] == origin]
        assert [meta[key.SEQ_NR] for meta in metas] == list(range(1, 21))
    mall.close()


def test_another_journal_under_the_same_name_is_refused(
    writer: Writer, receive: Start, bring: Any, server: Start, far_url: str, tmp_path: Path
) -> None:
    """A producer whose journal was replaced counts from 1 again: nobody guesses what is new."""
    writer.add([("c-1", Added("apple", 1))])
    _, port = receive()
    pusher = bring(port)
    eventually(lambda: total(far_url) == 1)
    pusher.stop()
    other_url = f"sqlite:///{tmp_path}/other.db"
    other = Writer(other_url)
    other.add([("c-1", Added("apple", 1))])
    push = Push(Stream("carts", ENTITY_TYPE), f"127.0.0.1:{port}")
    again, _ = server(service="shop", journal=other_url, pushes=(push,))
    eventually(lambda: "JournalDivergedError" in error_of(again))
    assert total(far_url) == 1
    other.close()


@ON_BOTH
def test_another_node_takes_the_destination_over(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """The first is fenced and says so; what the producer brings to the second goes on."""
    writer.add([("c-1", Added("apple", 1))])
    first, port = receive()
    old = bring(port)
    eventually(lambda: total(far_url) == 1)
    _, other_port = receive()
    old.stop()
    bring(other_port)
    writer.add([("c-1", Added("apple", 2))])
    eventually(lambda: total(far_url) == 2)
    late = bring(port)
    writer.add([("c-1", Added("apple", 3))])
    eventually(lambda: total(far_url) == 3, deadline_s=20)
    assert came_from(far_url, "c-1") == [1, 2, 3]
    assert late.facts()["pushes"]
    assert first.facts()["written"] >= 1


def test_one_read_serves_pull_and_push(
    writer: Writer, receive: Start, server: Start, journal_url: str, far_url: str, consume: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    """A stream that is pulled is pushed too, from the same tail; one that is only pushed cannot be
    pulled."""
    _, port = receive()
    target = f"127.0.0.1:{port}"
    both, own_port = server(
        service="shop", journal=journal_url, streams=(Stream("carts", ENTITY_TYPE),),
        listen="127.0.0.1:0",
        pushes=(Push("carts", target), Push(Stream("hidden", ENTITY_TYPE), target)),
    )  # fmt: skip
    read_model = tmp_path / "read.db"
    remote = Remote("carts", f"127.0.0.1:{own_port}")
    consume(projection(read_model, remote))
    for _ in range(20):
        writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 20} and total(far_url) == 20)
    assert len(both.facts()["pushes"]) == 2
    assert both.commits_read <= 20
    _, sources = consume(projection(tmp_path / "h.db", Remote("hidden", remote.target)))
    eventually(lambda: sources and isinstance(sources[0].last_error, UnknownStreamError))

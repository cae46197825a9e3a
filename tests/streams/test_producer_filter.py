"""What a stream withholds reaches nobody: not live, not at catch-up, not by lookups. Changed while
it is served."""

from __future__ import annotations

import time
import uuid
from typing import Any

import grpc
import pytest

from tests.streams.asking import PLENTY, Event, Pulled, asked, events_in, shown_by
from tests.streams.material import SLICES, Added, PublicAdded, Unknown, Writer
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Exclude, Filter, Include, VersionedFilter
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.ids import slice_of
from thespian_dc.model.settings import Stream
from thespian_dc.model.stream_errors import (
    FilterTooLargeError,
    InvalidFilterError,
    StreamClosedError,
    StreamFilterChangedError,
    TransformError,
    UnknownStreamError,
)
from thespian_dc.projection.api import Lookup, SourceBatch
from thespian_dc.stream import open_stream, pull
from thespian_dc.stream.filter_registry import (
    ENTRY,
    StreamFilter,
    set_stream_filter,
    stored_filters,
)
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.status import error_of

ME = "c-1"
MINE = slice_of(ME, SLICES)


class Cart:
    """What a stream needs to decode: the entity's class."""

    entity_type = "cart"
    events = (Added, Unknown)


def even_only(event: Envelope[Any]) -> bool:
    if event.payload.quantity == 13:
        raise ValueError("no 13")
    return bool(event.payload.quantity % 2 == 0)


def not_quite(event: Envelope[Any]) -> Any:
    """Truthy, and not True."""
    return event.payload.quantity


async def later(event: Envelope[Any]) -> bool:
    return True


def to_public(event: Envelope[Any]) -> PublicAdded:
    assert event.payload.quantity % 2 == 0, "it must never see what is withheld"
    return PublicAdded(event.payload.sku, event.payload.quantity)


@pytest.fixture(params=["sqlite", "memory"])
def journal_url(request: Any, tmp_path: Any) -> str:
    if request.param == "memory":
        return f"memory:{uuid.uuid4().hex}"
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture(autouse=True)
def poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_stream, "FILTERS_POLL_S", 0.02)


def add(writer: Writer, number: int, *tags: str) -> None:
    writer.add([(ME, Added("apple", number))], tags)


def stream(filter_: Any = None, **more: Any) -> dict[str, Any]:
    return {"streams": (Stream("carts", Cart, filter=filter_, **more),)}


def streamed(call: Pulled, until: int) -> list[int]:
    """The seq_nrs of ME that a call shows until its slice's position."""
    return [e[3] for batch in call.batches({MINE: until}) for e in shown_by(batch)]


def looked_up(port: int) -> tuple[list[int], int]:
    found = asked(port, "look_up", Lookup(ME, MINE, 1), PLENTY, "")
    return [e[3] for e in events_in(MINE, found.commits)], found.complete_through


@pytest.mark.parametrize(
    "settings",
    [stream("public/#"), stream("public/+", transform=to_public, events=(PublicAdded,)),
     stream(Include.topics("public/#")), stream(Exclude.tags("t:secret")), stream(even_only),
     stream(even_only, transform=to_public, events=(PublicAdded,)),
     stream("lic/#", topic_prefix="t:pub")],
)  # fmt: skip
def test_what_is_withheld_reaches_nobody(
    writer: Writer, serve: Any, settings: dict[str, Any]
) -> None:
    """At catch-up, live, and by lookups; before any transform. Positions move along."""
    for number in range(1, 5):
        add(writer, number, "t:secret" if number % 2 else "t:public/x")
    server, port = serve(**settings)
    with Pulled(port) as call:
        call.next()
        assert streamed(call, 4) == [2, 4]
        for number in range(5, 9):
            add(writer, number, "t:secret" if number % 2 else "t:public/x")
            server.push(writer.written)
        assert streamed(call, 8) == [6, 8]
    assert looked_up(port) == ([2, 4, 6, 8], 8)
    wanted = VersionedFilter(1, Exclude.all() + Include.entity_ids(ME))
    with Pulled(port, wanted) as call:  # a consumer's filter cannot ask for it
        call.next()
        assert streamed(call, 8) == [2, 4, 6, 8]


def test_a_streams_prefix_says_which_tags_are_topics(writer: Writer, serve: Any) -> None:
    """To filters of consumers too."""
    for number, tag in enumerate(("t:a/b", "at a/b", "a/b"), 1):
        add(writer, number, tag)
    _, port = serve(**stream(topic_prefix="at "))
    with Pulled(port, VersionedFilter(1, Include.topics("a/#").spelled_out())) as call:
        call.next()
        assert streamed(call, 3) == [2]


def test_a_function_that_raises_withholds_and_names_the_event(writer: Writer, serve: Any) -> None:
    """What is before it is shown; it is not skipped, and not shown."""
    for number in (2, 13, 4):
        add(writer, number)
    _, port = serve(**stream(even_only))
    with Pulled(port) as call:
        call.next()
        assert streamed(call, 1) == [1]
        with pytest.raises(grpc.RpcError, match="no 13"):
            call.next()
    with pytest.raises(TransformError, match="no 13"):
        looked_up(port)


def test_only_true_lets_pass(writer: Writer, serve: Any) -> None:
    """A function that forgets to return, or returns something else, withholds."""
    add(writer, 1)
    _, port = serve(**stream(not_quite))
    assert looked_up(port) == ([], 1)


def test_a_filter_that_cannot_work_is_an_error_at_the_start(serve: Any, writer: Writer) -> None:
    """Not at the first event."""
    for wrong, entity in ((even_only, "cart"), (later, Cart)):
        with pytest.raises(SettingsError):
            serve(streams=(Stream("carts", entity, filter=wrong),))
    with pytest.raises(SettingsError):
        Stream("carts", Cart, filter=lambda event: True)
    with pytest.raises(InvalidFilterError):
        Stream("carts", Cart, filter="a/#/b")
    with pytest.raises(SettingsError):
        Stream("carts", Cart, topic_prefix="")


# --- changed while it is served ---


def test_a_filter_set_in_the_journal_is_obeyed_by_every_producer_of_it(
    writer: Writer, serve: Any
) -> None:
    """By open calls, new calls and lookups, within about a second of the poll's interval; what was
    read before is judged again. Events that passed before are not taken back; events that were
    withheld stay withheld where the position is past them, and are found by lookups once let
    through."""
    producers = [serve(**stream("public/#")) for _ in range(2)]
    calls = [Pulled(port) for _, port in producers]
    for call in calls:
        call.next()
    shown: list[list[int]] = [[], []]

    def add_all(number: int, tag: str) -> None:
        add(writer, number, tag)
        for index, call in enumerate(calls):
            shown[index] += streamed(call, number)

    add_all(1, "t:public/x")
    add_all(2, "t:partner/x")
    assert [looked_up(port) for _, port in producers] == [([1], 2)] * 2
    set_stream_filter(writer.journal, "carts", Include.topics("public/#", "partner/#"))
    eventually(lambda: [looked_up(port) for _, port in producers] == [([1, 2], 2)] * 2)
    add_all(3, "t:partner/x")
    set_stream_filter(writer.journal, "carts", Include.topics("nothing"))
    eventually(lambda: [looked_up(port) for _, port in producers] == [([], 3)] * 2)
    add_all(4, "t:public/x")
    assert shown == [[1, 3], [1, 3]]
    set_stream_filter(writer.journal, "carts", None)
    eventually(lambda: [looked_up(port) for _, port in producers] == [([1, 4], 4)] * 2)
    with Pulled(producers[0][1]) as late:
        late.next()
        assert streamed(late, 4) == [1, 4]
    for call in calls:
        call.__exit__()


def test_a_function_always_applies_whatever_is_set(writer: Writer, serve: Any) -> None:
    """It is code: what an operator types can only withhold more."""
    for number in range(1, 5):
        add(writer, number, "a" if number == 4 else "b")
    _, port = serve(**stream(even_only))
    set_stream_filter(writer.journal, "carts", Exclude.tags("a"))
    eventually(lambda: looked_up(port) == ([2], 4))
    set_stream_filter(writer.journal, "carts", Filter())
    eventually(lambda: looked_up(port) == ([2, 4], 4))


def test_streams_that_share_a_cache_part_where_one_withholds(writer: Writer, serve: Any) -> None:
    """The other goes on as it was; together again when the filter is taken away."""
    server, port = serve(streams=(Stream("carts", "cart"), Stream("open", "cart")))
    with Pulled(port) as mine, Pulled(port, stream_id="open") as others:
        mine.next()
        others.next()
        add(writer, 1, "a")
        assert (streamed(mine, 1), streamed(others, 1)) == ([1], [1])
        assert len(server._tails()) == 1
        set_stream_filter(writer.journal, "carts", Exclude.tags("a"))
        eventually(lambda: looked_up(port) == ([], 1))
        add(writer, 2, "a")
        add(writer, 3, "b")
        assert (streamed(mine, 3), streamed(others, 3)) == ([3], [2, 3])
        set_stream_filter(writer.journal, "carts", None)
        eventually(lambda: looked_up(port) == ([1, 2, 3], 3))
        assert len(server._tails()) == 1
        add(writer, 4, "a")
        assert (streamed(mine, 4), streamed(others, 4)) == ([4], [4])


def test_a_new_producer_begins_with_what_is_set(writer: Writer, serve: Any) -> None:
    """Not a moment without."""
    add(writer, 1, "a")
    serve(**stream())
    set_stream_filter(writer.journal, "carts", Exclude.tags("a"))
    _, port = serve(**stream())
    assert looked_up(port) == ([], 1)


@pytest.mark.parametrize(
    "wrong", [{"exclude": {"colours": ["red"]}}, "text", {"exclude": {"regexes": ["(?=a)"]}}, 7]
)
def test_a_stored_filter_that_cannot_be_evaluated_closes_the_stream(
    writer: Writer, serve: Any, wrong: Any
) -> None:
    """One of a newer version, say: nothing is shown, to anybody, until it is mended. Consumers try
    again meanwhile."""
    add(writer, 1)
    _, port = serve(**stream())
    with Pulled(port) as call:
        call.next()
        assert streamed(call, 1) == [1]
        entry = writer.journal.entry(ENTRY)
        assert writer.journal.put_entry(ENTRY, entry.version, {"carts": [5, wrong]})
        with pytest.raises(grpc.RpcError) as caught:
            call.next()
    at_fault: Any = caught.value
    named = error_of("p", at_fault.code(), at_fault.details(), at_fault.trailing_metadata())
    assert isinstance(named, StreamClosedError)
    assert named.retryable
    with pytest.raises(StreamClosedError):
        looked_up(port)
    with Pulled(port) as call, pytest.raises(grpc.RpcError, match="shows nothing"):
        call.next()
    _, other = serve(**stream())  # a producer that starts now
    with pytest.raises(StreamClosedError):
        looked_up(other)
    assert set_stream_filter(writer.journal, "carts", Exclude.tags("x")).version == 6
    for number in (port, other):
        eventually(lambda p=number: answered(p) == ([1], 1))


def answered(port: int) -> Any:
    try:
        return looked_up(port)
    except StreamClosedError:
        return None


def test_setting_a_filter_is_a_compare_and_set(
    journal_url: str, writer: Writer, serve: Any
) -> None:
    """Two operators, one of whom has seen an older one; an unknown stream; too much."""
    serve(**stream())
    journal = open_journal(journal_url)
    assert stored_filters(journal).filter_of("carts") == StreamFilter(0, None)
    first = set_stream_filter(journal, "carts", Include.tags("a"), expected_version=0)
    assert first == StreamFilter(1, Include.tags("a").spelled_out())
    with pytest.raises(StreamFilterChangedError):
        set_stream_filter(writer.journal, "carts", None, expected_version=0)
    assert stored_filters(writer.journal).filter_of("carts") == first
    with pytest.raises(UnknownStreamError):
        set_stream_filter(journal, "cart", None)
    with pytest.raises(FilterTooLargeError):
        set_stream_filter(journal, "carts", Exclude.tags(*[f"{n:0900}" for n in range(582)]))
    serve(streams=(Stream("more", "cart"),))  # announcing more keeps what is set
    assert stored_filters(journal).filter_of("carts") == first
    assert stored_filters(journal).filter_of("more") == StreamFilter(0, None)
    journal.close()


def test_no_batch_behind_a_change_shows_what_it_withholds(writer: Writer, serve: Any) -> None:
    """Under load: from the moment a lookup obeys, so does every later batch."""
    server, port = serve(**stream())
    with Pulled(port) as call:
        call.next()
        for number in range(1, 200):
            add(writer, number, "a")
            server.push(writer.written)
            if number == 100:
                set_stream_filter(writer.journal, "carts", Exclude.tags("a"))
                eventually(lambda: looked_up(port)[0] == [])
                obeyed = number
        shown: list[Event] = []
        reached, deadline = 0, time.monotonic() + 20
        while reached < 199:
            assert time.monotonic() < deadline
            message = call.next()
            assert isinstance(message, SourceBatch)
            reached = message.next_offset
            shown += shown_by(message)
    assert [event[3] for event in shown] == list(range(1, len(shown) + 1))
    assert len(shown) <= obeyed


def test_a_filter_set_while_a_call_begins_is_obeyed_by_it(
    writer: Writer, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding the stream and showing the first of it lie reads of the journal."""
    add(writer, 1, "a")
    _, port = serve(**stream())
    checked = pull.check_positions

    def meanwhile(*arguments: Any) -> Any:
        set_stream_filter(writer.journal, "carts", Exclude.tags("a"))
        eventually(lambda: looked_up(port) == ([], 1))
        return checked(*arguments)

    monkeypatch.setattr(pull, "check_positions", meanwhile)
    with Pulled(port) as call:
        call.next()
        assert streamed(call, 1) == []

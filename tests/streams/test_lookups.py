"""The unary questions of a stream: events of one entity, heads, positions of a time."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any
from zlib import crc32

import grpc
import pytest

from tests.streams.asking import PLENTY, asked, events_in, payloads_in
from tests.streams.material import REGISTRY, SLICES, Added, PublicAdded, Unknown, Writer
from thespian_dc.codec.api import Registry
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import JournalDivergedError, TrimmedError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.position import Position
from thespian_dc.model.settings import Stream
from thespian_dc.model.stream_errors import (
    DamagedBatchError,
    MalformedMessageError,
    ProtocolVersionError,
    TransformError,
    UnknownStreamError,
)
from thespian_dc.projection import entity_reading
from thespian_dc.projection.api import LookedUp, Lookup
from thespian_dc.stream.batches import write_part
from thespian_dc.stream.lookups import read_answer
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import Credit
from thespian_dc.wire.lookups import HeadsRequest, write_heads
from thespian_dc.wire.status import error_of

ME = "c-1"
MINE = slice_of(ME, SLICES)
KEY = SliceKey("cart", MINE)


class Cart:
    """What a stream needs to decode: the entity's class."""

    entity_type = "cart"
    events = (Added, Unknown)


def to_public(event: Envelope[Any]) -> PublicAdded | None:
    if event.payload.quantity == 13:
        raise ValueError("no 13")
    if event.payload.quantity % 2:
        return None
    return PublicAdded(event.payload.sku, event.payload.quantity)


async def to_public_later(event: Envelope[Any]) -> PublicAdded | None:
    await asyncio.sleep(0)
    return to_public(event)


@pytest.fixture(params=["sqlite", "memory"])
def journal_url(request: Any, tmp_path: Any) -> str:
    if request.param == "memory":
        return f"memory:{uuid.uuid4().hex}"
    return f"sqlite:///{tmp_path}/journal.db"


def fill(writer: Writer, events: int = 10) -> None:
    """Events 1..events of ME, one per commit, among others of its slice."""
    other = next(f"o-{n}" for n in range(99) if slice_of(f"o-{n}", SLICES) == MINE)
    for number in range(1, events + 1):
        writer.add([(other, Added("x", 1)), (ME, Added("apple", number))])


def looked_up(port: int, from_seq_nr: int = 1, until: int = 0, from_offset: int = 0,
              limit: Credit = PLENTY, **more: Any) -> LookedUp:  # fmt: skip
    lookup = Lookup(ME, MINE, from_seq_nr, until, from_offset)
    journal_id = more.pop("journal_id", "")
    found: LookedUp = asked(port, "look_up", lookup, limit, journal_id, **more)
    return found


def seq_nrs(found: LookedUp) -> list[int]:
    return [seq_nr for _, _, _, seq_nr in events_in(MINE, found.commits)]


def test_a_range_is_answered_with_places_and_bytes(writer: Writer, serve: Any) -> None:
    """Whole, from a seq_nr, until one, one event, none."""
    fill(writer)
    _, port = serve()
    whole = looked_up(port)
    expected = [(MINE, 2 * n + 1, ME, n + 1) for n in range(10)]
    assert events_in(MINE, whole.commits) == expected
    assert payloads_in(list(whole.commits)) == [
        REGISTRY.encode(Added("apple", n))[1] for n in range(1, 11)
    ]
    assert (whole.complete_through, whole.below_offset, whole.more) == (10, 20, False)
    times = [commit.time_us for commit in whole.commits]
    assert times == [c.time_us for c in writer.journal.read(KEY, 0, 1 << 30)]
    assert seq_nrs(looked_up(port, 4)) == [4, 5, 6, 7, 8, 9, 10]
    some = looked_up(port, 4, 6)
    assert (seq_nrs(some), some.complete_through) == ([4, 5, 6], 6)
    assert seq_nrs(looked_up(port, 7, 7)) == [7]
    beyond = looked_up(port, 9, 20)
    assert (seq_nrs(beyond), beyond.complete_through, beyond.more) == ([9, 10], 10, False)
    nothing = looked_up(port, 11)
    assert (nothing.commits, nothing.complete_through, nothing.more) == ([], 10, False)


def test_an_answer_is_bounded_and_says_that_there_is_more(writer: Writer, serve: Any) -> None:
    """By events and by bytes; asked again from behind it, all comes, once. One event comes
    whatever the limit is."""
    fill(writer)
    _, port = serve()
    for limit in (Credit(1 << 20, 3), Credit(150, 1000), Credit(1, 1)):
        seen: list[int] = []
        more, answers = True, 0
        while more:
            found = looked_up(port, len(seen) + 1, limit=limit)
            assert len(found.commits) <= limit.events
            assert len(found.commits) == 1 or sum(len(c.body) for c in found.commits) <= limit.bytes
            seen += seq_nrs(found)
            assert found.complete_through == len(seen)
            more, answers = found.more, answers + 1
        assert seen == list(range(1, 11))
        assert answers >= 3


def test_a_long_history_is_read_a_piece_at_a_time(
    writer: Writer, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the records of an entity nor the ones looked at for an answer are without bound."""
    monkeypatch.setattr(entity_reading, "READ_SEQ_NRS", (3, 4))
    fill(writer)
    _, port = serve()
    assert seq_nrs(looked_up(port)) == list(range(1, 11))
    monkeypatch.setattr(entity_reading, "EXAMINED_MAX", 4)
    found = looked_up(port)
    assert (seq_nrs(found), found.complete_through, found.more) == ([1, 2, 3, 4], 4, True)


def test_nothing_below_the_wanted_offset_is_answered(writer: Writer, serve: Any) -> None:
    """A projection's baseline; what lies below counts as complete."""
    fill(writer)
    _, port = serve()
    found = looked_up(port, 1, from_offset=9)
    assert (seq_nrs(found), found.complete_through) == ([5, 6, 7, 8, 9, 10], 10)


@pytest.mark.parametrize("transform", [to_public, to_public_later])
def test_what_a_transform_drops_is_counted_and_not_shown(
    writer: Writer, serve: Any, transform: Any
) -> None:
    """Looked-up events are the public ones."""
    fill(writer)
    _, port = serve(streams=(Stream("carts", Cart, transform, (PublicAdded,)),))
    found = looked_up(port, 1, 9)
    assert (seq_nrs(found), found.complete_through, found.more) == ([2, 4, 6, 8], 9, False)
    public = Registry([PublicAdded])
    assert payloads_in(list(found.commits)) == [
        public.encode(PublicAdded("apple", n))[1] for n in (2, 4, 6, 8)
    ]
    for number in (11, 12, 13):
        writer.add([(ME, Added("apple", number))])
    assert looked_up(port, 1, 12).complete_through == 12
    with pytest.raises(TransformError, match="no 13"):
        looked_up(port, 12)


def test_trimmed_history_is_named_unless_nothing_of_it_is_wanted(
    writer: Writer, serve: Any
) -> None:
    """Never a silent hole; and no error where the baseline lies above what was trimmed."""
    fill(writer)
    writer.journal.advance_index(KEY, 20)
    assert writer.journal.trim(KEY, 12) == 12
    _, port = serve()
    with pytest.raises(TrimmedError):
        looked_up(port, 1)
    with pytest.raises(TrimmedError):
        looked_up(port, 6, from_offset=11)
    for from_offset in (12, 15):
        found = looked_up(port, 1, from_offset=from_offset)
        assert seq_nrs(found) == [n for n in range(7, 11) if 2 * n - 1 >= from_offset]
        assert found.complete_through == 10
    assert looked_up(port, 1, 6, from_offset=12).complete_through == 6
    assert seq_nrs(looked_up(port, 7)) == [7, 8, 9, 10]


def test_heads_are_positions_that_a_call_may_begin_at(writer: Writer, serve: Any) -> None:
    """Each with the proof that it belongs to this journal; a new slice's is the beginning."""
    fill(writer)
    _, port = serve()
    answer = asked(port, "heads")
    assert answer.journal_id == writer.journal.journal_id
    expected = {s: Position() for s in range(SLICES)}
    expected[MINE] = writer.journal.position_before(KEY, 20)
    assert answer.positions == expected


def test_a_time_is_answered_with_positions(writer: Writer, serve: Any) -> None:
    """Everything written then or later lies behind them; at and beyond the ends too."""
    fill(writer)
    _, port = serve()
    commits = writer.journal.read(KEY, 0, 1 << 30)
    for commit in commits[:: len(commits) - 1]:
        at = asked(port, "positions_at", commit.time_us).positions[MINE]
        assert at == writer.journal.position_before(KEY, commit.base_offset)
    assert set(asked(port, "positions_at", 0).positions.values()) == {Position()}
    late = asked(port, "positions_at", commits[-1].time_us + 1)
    assert late == asked(port, "heads")


def test_questions_that_cannot_be_answered_are_refused_by_name(writer: Writer, serve: Any) -> None:
    """The same errors as a call's."""
    fill(writer, 1)
    _, port = serve()
    for method, arguments in (("heads", ()), ("positions_at", (5,)),
                              ("look_up", (Lookup(ME, MINE, 1), PLENTY, ""))):  # fmt: skip
        with pytest.raises(UnknownStreamError):
            asked(port, method, *arguments, stream_id="nobody's")
    with pytest.raises(JournalDivergedError):
        looked_up(port, journal_id="another")
    assert looked_up(port, journal_id=writer.journal.journal_id).complete_through == 1
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method, request, error in (
            ("Heads", write_heads(HeadsRequest("carts", protocol=9)), ProtocolVersionError),
            ("Heads", b"\xff\xff", MalformedMessageError),
            ("LookUp", b"", MalformedMessageError),
            ("LookUp", pb.LookUpRequest(protocol=1, stream_id="carts", entity_id="x" * 256)
             .SerializeToString(), MalformedMessageError),
            ("LookUp", pb.LookUpRequest(protocol=1, stream_id="carts", entity_id="x",
                                        from_seq_nr=1 << 63).SerializeToString(),
             MalformedMessageError),
            ("PositionAt", b"\x08", MalformedMessageError),
        ):  # fmt: skip
            call = channel.unary_unary(f"/thespian_dc.v1.EventStreams/{method}")
            with pytest.raises(grpc.RpcError) as caught:
                call(request)
            at_fault: Any = caught.value
            named = error_of("p", at_fault.code(), at_fault.details(),
                             at_fault.trailing_metadata())  # fmt: skip
            assert type(named) is error


def test_an_entity_that_nobody_wrote_is_complete_through_nothing(
    writer: Writer, serve: Any
) -> None:
    _, port = serve()
    found = looked_up(port)
    assert (found.commits, found.complete_through, found.below_offset) == ([], 0, 0)


def test_a_wrong_answer_is_refused(writer: Writer, serve: Any) -> None:
    """Of another slice, of others' records, out of order, damaged, or no end to it."""
    fill(writer, 3)
    _, port = serve()
    good = looked_up(port)
    lookup = good.lookup

    def answer(**changes: Any) -> pb.LookUpAnswer:
        made = pb.LookUpAnswer(slice=MINE, complete_through=3, below_offset=6)
        for commit in good.commits:
            write_part(made.commits, commit)
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    assert read_answer(lookup, answer()) == good
    foreign = lookup._replace(entity_id="another")
    damaged, reversed_, empty = answer(), answer(), answer()
    damaged.commits[1].body += b"!"
    reversed_.commits.add().CopyFrom(reversed_.commits[0])
    del empty.commits[:]
    empty.more, empty.complete_through = True, 0
    garbage = answer()
    garbage.commits[0].body = b"\xdd\0\0\0\x01\x07"
    garbage.commits[0].body_crc = crc32(garbage.commits[0].body)
    for wanted, wrong in ((lookup, answer(slice=MINE + 1)), (foreign, answer()),
                          (lookup, reversed_), (lookup, empty), (lookup, garbage),
                          (lookup, answer(complete_through=1 << 63))):  # fmt: skip
        with pytest.raises(MalformedMessageError):
            read_answer(wanted, wrong)
    with pytest.raises(DamagedBatchError):
        read_answer(lookup, damaged)

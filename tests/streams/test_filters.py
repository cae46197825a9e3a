"""Consumers' filters, evaluated by the producer: over real gRPC and a real journal."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import grpc
import msgpack
import pytest

from tests.streams.asking import PLENTY, Pulled, shown_by
from tests.streams.material import SLICES, Added, Writer
from thespian_dc.model.criteria import Exclude, Filter, Include, VersionedFilter
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import records_of
from thespian_dc.projection.api import SourceBatch
from thespian_dc.stream import producer_core
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import Credit, FilterInForce, Started
from thespian_dc.wire.status import error_of

LARGE = Include.tags("large", events_only=True).spelled_out()


def heads_of(writer: Writer) -> dict[int, int]:
    return {key.slice: head for key, head in writer.heads.items()}


def fill(writer: Writer, rounds: int, large_every: int) -> set[tuple[int, int, str, int]]:
    """Commits of 50 events; what is tagged large, as a consumer is shown it."""
    for number in range(rounds):
        tags = ("large",) if number % large_every == 0 else ("small",)
        writer.add([(f"c-{n}", Added("x" * 80, 1)) for n in range(50)], tags)
    return {
        (slice_, commit.base_offset + index, record.entity_id, record.seq_nr)
        for slice_ in range(SLICES)
        for commit in writer.journal.read(SliceKey("cart", slice_), 0, 1 << 30)
        for index, record in enumerate(records_of(commit))
        if "large" in record.tags
    }


def test_one_percent_passes_and_the_rest_costs_neither_credit_nor_messages(
    writer: Writer, serve: Any
) -> None:
    """Positions move along to the end; neighbours of which nothing passes are one part."""
    large = fill(writer, 200, large_every=100)
    _, port = serve()
    with Pulled(port, VersionedFilter(1, LARGE), credit=Credit(1 << 20, len(large))) as call:
        assert isinstance(call.next(), Started)
        assert call.next() == FilterInForce(1, dict.fromkeys(range(SLICES), 0))
        batches = list(call.batches(heads_of(writer)))
    assert {event for batch in batches for event in shown_by(batch)} == large
    assert len(large) == 100
    assert len(batches) <= 5 * SLICES
    assert sum(len(batch.commits) for batch in batches) <= 8 * SLICES
    for slice_ in range(SLICES):
        mine = [batch for batch in batches if batch.slice == slice_]
        assert [b.base_offset for b in mine] == [0, *[b.next_offset for b in mine[:-1]]]
        key = SliceKey("cart", slice_)
        for batch in mine:
            at = writer.journal.position_before(key, batch.next_offset)
            assert at.write_id == batch.commits[-1].write_id
            for event in shown_by(batch):  # where a consumer may stop, its position is proved
                covering = next(c for c in batch.commits if c.end_offset > event[1])
                at = writer.journal.position_before(key, event[1] + 1)
                assert at.write_id == covering.write_id


def test_a_resumed_call_is_filtered_from_its_position_on(writer: Writer, serve: Any) -> None:
    """FilterInForce says where each slice begins."""
    large = fill(writer, 20, large_every=4)
    _, port = serve()
    heads = heads_of(writer)
    middle = {
        slice_: writer.journal.position_before(SliceKey("cart", slice_), head // 2)
        for slice_, head in heads.items()
    }
    with Pulled(port, VersionedFilter(5, LARGE), positions=middle) as call:
        call.next()
        starts = {slice_: at.offset for slice_, at in middle.items()}
        assert call.next() == FilterInForce(5, starts)
        shown = [event for batch in call.batches(heads) for event in shown_by(batch)]
    assert len(shown) == len(set(shown))
    assert set(shown) == {event for event in large if event[1] >= starts[event[0]]}


def test_a_filter_changed_mid_stream_counts_from_the_offsets_it_was_answered_with(
    writer: Writer, serve: Any
) -> None:
    """While events flow: each batch is evaluated under the version it names, exactly."""
    _, port = serve()
    stop = threading.Event()
    written: dict[int, list[tuple[str, int, tuple[str, ...]]]] = {s: [] for s in range(SLICES)}

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            tags = ("large",) if number % 3 == 0 else ()
            writer.add([(f"c-{n}", Added("x", n)) for n in range(8)], tags)
            for commit in writer.written:
                written[commit.key.slice] += [
                    (r.entity_id, r.seq_nr, tuple(r.tags)) for r in records_of(commit)
                ]

    thread = threading.Thread(target=write)
    thread.start()
    filters: dict[int, Filter] = {0: Filter()}
    batches: list[SourceBatch] = []
    answers: dict[int, dict[int, int]] = {0: dict.fromkeys(range(SLICES), 0)}
    try:
        with Pulled(port) as call:
            call.next()
            kinds = [LARGE, Exclude.regexes("c-[0-3]"), Filter(), Exclude.all(), LARGE]
            for version, filter_ in enumerate(kinds, 1):
                filters[version] = filter_
                call.say(VersionedFilter(version, filter_))
                behind = 0
                while version not in answers or behind < 12:
                    message = call.next()
                    if isinstance(message, FilterInForce):
                        answers[message.version] = dict(message.starts)
                    elif isinstance(message, SourceBatch):
                        batches.append(message)
                        behind += version in answers
    finally:
        stop.set()
        thread.join()
    assert [v for v in answers if v] == [1, 2, 3, 4, 5]
    reached = dict.fromkeys(range(SLICES), 0)
    for batch in batches:
        slice_ = batch.slice
        assert batch.base_offset == reached[slice_]
        reached[slice_] = batch.next_offset
        version = max(v for v, starts in answers.items() if starts[slice_] <= batch.base_offset)
        assert batch.filter_version == version
        assert all(  # no later version had begun inside it
            not batch.base_offset < starts[slice_] < batch.next_offset
            for starts in answers.values()
        )
        expected = []
        for offset in range(batch.base_offset, batch.next_offset):
            entity_id, seq_nr, tags = written[slice_][offset]
            if passes(filters[version], entity_id, tags):
                expected.append((slice_, offset, entity_id, seq_nr))
        assert shown_by(batch) == expected


def passes(filter_: Filter, entity_id: str, tags: tuple[str, ...]) -> bool:
    """The filters of that test, said by hand."""
    if filter_ == LARGE:
        return "large" in tags
    if filter_ == Exclude.regexes("c-[0-3]"):
        return entity_id not in {"c-0", "c-1", "c-2", "c-3"}
    return filter_ != Exclude.all()


def test_the_first_effect_of_a_change_comes_at_once(
    writer: Writer, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing had passed before and positions are held back, for longer than anybody here
    would wait."""
    monkeypatch.setattr(producer_core, "HELD_US", 600_000_000)
    _, port = serve()
    slice_ = slice_of("c-1", SLICES)
    with Pulled(port, VersionedFilter(1, Exclude.all())) as call:
        call.next()
        call.next()
        for version in range(2, 12, 2):
            for wanted, number in ((Filter(), version), (Exclude.all(), version + 1)):
                call.say(VersionedFilter(number, wanted))
                while not isinstance(answer := call.next(), FilterInForce):
                    pass
                assert answer.version == number
                writer.add([("c-1", Added("x", 1))])  # found by a poll: nobody rings here
                if wanted == Filter():
                    while not (isinstance(batch := call.next(), SourceBatch) and shown_by(batch)):
                        pass
                    assert batch.slice == slice_


def test_positions_nothing_passes_of_are_few(writer: Writer, serve: Any) -> None:
    """However many commits come, a slice says where it is a few times a second."""
    _, port = serve()
    with Pulled(port, VersionedFilter(1, Exclude.all()), credit=Credit(0, 0)) as call:
        call.next()
        call.next()
        begun = time.monotonic()
        for _ in range(100):
            writer.add([("c-1", Added("x", 1))])
        batches = list(call.batches({slice_of("c-1", SLICES): 100}))
        periods = (time.monotonic() - begun) * 1e6 / producer_core.HELD_US
    assert len(batches) <= periods + 2
    assert not any(shown_by(batch) for batch in batches)


@pytest.mark.parametrize(
    ("criteria", "error"),
    [({"regexes": ["(?=a)"]}, "InvalidFilterError"), ({"regexes": ["x" * 1025]},
     "InvalidFilterError"), ({"topics": ["a/#/b"]}, "InvalidFilterError"), ({"tags": [""]},
     "InvalidFilterError"), ({"tags": [f"{n}" for n in range(10_001)]}, "FilterTooLargeError")],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_a_filter_that_the_producer_refuses_ends_the_call_by_name(
    serve: Any, writer: Writer, criteria: dict[str, list[str]], error: str, first: bool
) -> None:
    """In Start or later; from a consumer that did not check it, in whatever language."""
    _, port = serve()
    filter_ = pb.Filter(version=1, exclude=pb.Criteria(**criteria))
    start = pb.Start(protocol=1, stream_id="carts", heartbeat_ms=60_000)
    if first:
        start.filter.CopyFrom(filter_)
    sent = [pb.FromConsumer(start=start)] + ([] if first else [pb.FromConsumer(filter=filter_)])
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = "/thespian_dc.v1.EventStreams/Pull"
        open_ = threading.Event()

        def say() -> Any:
            for message in sent:
                yield message.SerializeToString()
            open_.wait(20)

        call = channel.stream_stream(method)(say())
        with pytest.raises(grpc.RpcError):
            for _ in call:
                pass
        open_.set()
        named = error_of("peer", call.code(), call.details(), call.trailing_metadata())
    assert type(named).__name__ == error
    assert not named.retryable


def test_consumers_with_filters_of_their_own_share_what_is_read(writer: Writer, serve: Any) -> None:
    """Each gets what its filter lets through; the journal is read about once."""
    fill(writer, 40, large_every=10)
    server, port = serve()
    filters = [LARGE, Exclude.tags("large"), Exclude.entity_ids("c-7"), Filter()]
    heads = heads_of(writer)
    calls = [Pulled(port, VersionedFilter(1, filter_)) for filter_ in filters]
    shown = [[e for batch in call.batches(heads) for e in shown_by(batch)] for call in calls]
    for call in calls:
        call.__exit__()
    total = sum(heads.values())
    assert [len(events) for events in shown] == [total // 10, total - total // 10,
                                                 total - total // 50, total]  # fmt: skip
    assert Counter(shown[0]) + Counter(shown[1]) == Counter(shown[3])
    assert server.commits_read <= 3 * 40 * SLICES


def test_a_stored_body_reaches_a_filtered_consumer_as_it_was_stored(
    writer: Writer, serve: Any
) -> None:
    """Cutting moves bytes; it does not rewrite them."""
    writer.add([("c-1", Added("apple", 1)), ("c-5", Added("pear", 2))], ("large",))
    _, port = serve()
    stored = {
        record.entity_id: record.payload
        for slice_ in range(SLICES)
        for commit in writer.journal.read(SliceKey("cart", slice_), 0)
        for record in records_of(commit)
    }
    with Pulled(port, VersionedFilter(1, Exclude.entity_ids("c-1")), PLENTY) as call:
        parts = [c for b in call.batches(heads_of(writer)) for c in b.commits if c.body]
    records = [record for part in parts for record in msgpack.unpackb(part.body)]
    assert [(r[1], r[4]) for r in records] == [("c-5", stored["c-5"])]

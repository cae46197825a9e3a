"""A call with a filter, at the producer's end: what is cut, joined, held and answered. No gRPC."""

from __future__ import annotations

import random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thespian_dc.model.criteria import UNFILTERED, Exclude, Filter, Include, VersionedFilter
from thespian_dc.model.position import Position
from thespian_dc.model.record import EVENT, Record, pack_record
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.projection import selecting
from thespian_dc.projection.api import CommitView, SourceBatch, body_of
from thespian_dc.projection.selecting import Facts, FactsCache, Selector
from thespian_dc.stream.batches import cost_of, events_of, read_batch, write_batch
from thespian_dc.stream.producer_core import HELD_EVENTS_MAX, HELD_US, ProducerCore
from thespian_dc.wire.conversion import (
    PROTOCOL,
    Batch,
    Credit,
    FilterInForce,
    Offer,
    Start,
    read_from_consumer,
    read_from_producer,
    write_filter_in_force,
    write_from_consumer,
    write_offer,
)

LARGE = Include.tags("large").spelled_out()
PLENTY = Credit(1 << 30, 1 << 30)


def commit(first: int, *events: tuple[str, str]) -> CommitView:
    """A stored commit of (entity id, tag) pairs."""
    packed = [
        pack_record(Record(EVENT, entity_id, 1, "M", b"payload" * 3, (tag,)))
        for entity_id, tag in events
    ]
    write_id = b"w%d" % first
    return CommitView(first, first + len(events), write_id, first, body_of(packed))


def log_of(tags: list[list[str]]) -> list[CommitView]:
    """A slice's commits, one for each list of tags."""
    made, base = [], 0
    for some in tags:
        made.append(commit(base, *[("a", tag) for tag in some]))
        base += len(some)
    return made


def call(
    filter_: Filter, version: int = 1, slices: int = 1, credit: Credit = PLENTY
) -> ProducerCore:
    start = Start(PROTOCOL, "s", "c", "", {}, credit, 1000, "", VersionedFilter(version, filter_))
    return ProducerCore(start, slices, "peer", 0)


def offsets_in(batch: SourceBatch) -> list[int]:
    """Offsets of the events that a consumer at the batch's base gets, read from the bytes."""
    found = []
    for part in batch.commits:
        records = msgpack.unpackb(part.body) if part.body else []
        kept = part.kept or range(len(records))
        assert len(kept) == len(records)
        found += [part.first_offset + k for k in kept if part.first_offset + k >= batch.base_offset]
        assert events_of(part, batch.base_offset) == len(records) or part is batch.commits[0]
    return found


# --- wire ---


def test_filters_and_answers_arrive_as_they_were_sent() -> None:
    """A start of an entity's replay stays with the consumer."""
    filter_ = Exclude.regexes("a.*") + Include.tags("x", events_only=True) + Include.topics("t/#")
    filter_ += Include.entity_ids("e-1") + Exclude.all() + Exclude.topics("+") + Exclude.tags("y")
    wanted = VersionedFilter(7, filter_)
    assert read_from_consumer(write_from_consumer(wanted)) == wanted
    replay = VersionedFilter(1, Include.entity_ids("e", from_seq_nr=9))
    arrived = VersionedFilter(1, Include.entity_ids("e"))
    assert read_from_consumer(write_from_consumer(replay)) == arrived
    start = Start(PROTOCOL, "s", "c", "j", {}, Credit(1, 1), 9, "id", wanted)
    assert read_from_consumer(write_from_consumer(start)) == start
    for answer in (FilterInForce(7, {0: 5, 3: 1 << 40}), FilterInForce(1, {})):
        assert read_from_producer(write_filter_in_force(answer)) == answer
    offer = Offer(1, "s", "shop", "j", "cart", 16)
    assert read_from_producer(write_offer(offer)) == offer


def test_a_filter_begins_with_version_one() -> None:
    """Version 0 is what a call without any filter is evaluated under."""
    with pytest.raises(MalformedMessageError):
        read_from_consumer(write_from_consumer(VersionedFilter(0, LARGE)))


# --- cutting ---


@given(tags=st.lists(st.sampled_from(["large", "small"]), min_size=1, max_size=9))
def test_a_cut_keeps_the_bytes_and_offsets_of_what_passes(tags: list[str]) -> None:
    """Also of a commit of which some was withheld before."""
    whole = commit(5, *[("a", tag) for tag in tags])
    facts = FactsCache(Facts)
    passed = Selector(VersionedFilter(1, LARGE), facts, "t:").select(0, whole)
    expected = [index for index, tag in enumerate(tags) if tag == "large"]
    assert list(passed.kept or range(len(tags) if passed.body else 0)) == expected
    stored = msgpack.unpackb(whole.body)
    assert (msgpack.unpackb(passed.body) if passed.body else []) == [stored[i] for i in expected]
    again = Facts(passed).cut([0]) if expected else passed
    assert list(again.kept or range(len(tags) if again.body else 0))[:1] == expected[:1]


def test_what_a_filter_looks_at_is_read_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the view itself, so that one which shows less is never taken for another."""
    monkeypatch.setattr(selecting, "RECORDS_REMEMBERED_MAX", 25)
    cache, views = FactsCache(Facts), [commit(10 * n, *[("a", "x")] * 10) for n in range(5)]
    assert cache.of(0, views[0]) is cache.of(0, views[0])
    less = views[0]._replace(kept=tuple(range(10)))
    assert cache.of(0, less).view is less
    assert cache.of(1, views[0]) is not cache.of(0, less)
    for view in views:
        cache.of(0, view)
    assert cache._records == 20
    assert sum(len(facts.ids) for facts in cache._facts.values()) == 20


def test_what_a_filter_remembers_keeps_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts hold their commit's body, which would stay however large it is."""
    views = [commit(n, ("a", "x")) for n in range(9)]
    monkeypatch.setattr(selecting, "BYTES_REMEMBERED_MAX", 3 * len(views[0].body))
    cache = FactsCache(Facts)
    for view in views:
        cache.of(0, view)
    assert [facts.view for facts in cache._facts.values()] == views[-3:]


# --- batches ---


def test_only_what_passes_is_sent_and_costs_credit() -> None:
    """Neighbours of which nothing passes are one part, good at its end."""
    core = call(LARGE)
    log = log_of([["small"], ["small"] * 2, ["large", "small", "large"], ["small"], ["small"]])
    batch = core.form(0, log, 8, 0)
    assert batch is not None
    assert offsets_in(batch) == [3, 5]
    assert [(c.first_offset, c.end_offset, c.write_id) for c in batch.commits] == [
        (0, 3, b"w1"), (3, 6, b"w3"), (6, 8, b"w7")]  # fmt: skip
    assert batch.filter_version == 1
    assert cost_of(batch).events == 2
    received = read_from_producer(write_batch(batch))
    assert isinstance(received, Batch)
    assert read_batch("here", received) == batch


def test_what_nothing_passes_of_is_held_and_goes_with_what_does() -> None:
    """A few positions a second are enough; what passes does not wait."""
    core = call(LARGE, credit=Credit(0, 0))
    assert core.form(0, log_of([["small"]] * 50), 50, 7) is None
    assert core.offset(0) == 50
    assert core.held_long(7 + HELD_US - 1) is None
    batch = core.form(0, [commit(50, ("a", "large"))], 51, 8)
    assert batch is not None
    assert (batch.base_offset, batch.next_offset) == (0, 51)
    assert len(batch.commits) == 2
    assert core.held_long(1 << 60) is None


def test_a_position_that_was_held_long_or_over_much_is_sent_alone() -> None:
    core = call(LARGE)
    assert core.form(0, [commit(0, ("a", "small"))], 9, 100) is None
    assert core.form(0, [commit(1, ("a", "small"))], 9, 100 + HELD_US - 1) is None
    assert core.wakeup_us() <= 100 + HELD_US
    assert core.held_long(100 + HELD_US) == 0
    alone = core.let_go(0, 9)
    assert (alone.base_offset, alone.next_offset, alone.head) == (0, 2, 9)
    assert alone.commits[-1].write_id == b"w1"
    long = [CommitView(2, 2 + HELD_EVENTS_MAX, b"w2", 0, b"")]
    batch = core.form(0, long, 9, 0)
    assert batch is not None
    assert batch.next_offset == 2 + HELD_EVENTS_MAX


def test_one_that_waits_for_credit_sends_its_position_meanwhile() -> None:
    """And is first in line when credit comes."""
    core = call(LARGE, credit=Credit(0, 0))
    first = core.form(0, [commit(0, ("a", "large"))], 9, 0)
    assert first is not None
    log = [commit(1, ("a", "small")), commit(2, ("a", "large"))]
    assert core.form(0, log, 9, 0) is None
    assert core.offset(0) == 2
    assert core.form(0, log[1:], 9, 0) is None
    assert core.held_long(HELD_US) == 0
    assert core.let_go(0, 9).next_offset == 2
    core.on_message(PLENTY, 0)
    batch = core.form(0, log[1:], 9, 0)
    assert batch is not None
    assert offsets_in(batch) == [2]


# --- changes ---


def test_a_filter_is_answered_before_the_batch_that_obeys_it() -> None:
    """With the next offset of every slice of the call; without one there is no answer."""
    unfiltered = ProducerCore(
        Start(PROTOCOL, "s", "c", "", {}, PLENTY, 1000, "", UNFILTERED), 2, "peer", 0
    )
    assert unfiltered.take_answer() is None
    core = call(LARGE, version=3, slices=2)
    assert core.take_answer() == FilterInForce(3, {0: 0, 1: 0})
    assert core.take_answer() is None
    assert core.form(1, [commit(0, ("a", "large"), ("a", "small"))], 2, 0) is not None
    core.on_message(VersionedFilter(4, Filter()), 0)
    core.on_message(VersionedFilter(5, LARGE), 0)
    assert core.take_answer() == FilterInForce(5, {0: 0, 1: 2})
    assert core.take_answer() is None


def test_what_was_held_is_looked_through_again_under_a_new_filter() -> None:
    """It was not sent, so it belongs to the new version; nothing is judged by two."""
    core = call(LARGE)
    core.take_answer()
    log = log_of([["small"], ["large"]])
    assert core.form(0, log[:1], 2, 0) is None
    core.on_nothing(0)
    core.on_message(VersionedFilter(2, Exclude.tags("large")), 0)
    assert core.take_answer() == FilterInForce(2, {0: 0})
    assert core.turns() == [0]
    assert core.offset(0) == 0
    batch = core.form(0, log, 2, 0)
    assert batch is not None
    assert (offsets_in(batch), batch.filter_version) == ([0], 2)


def test_an_older_filter_after_a_newer_one_is_malformed() -> None:
    """The same one again is answered again."""
    core = call(LARGE, version=3)
    core.take_answer()
    core.on_message(VersionedFilter(3, LARGE), 0)
    assert core.take_answer() == FilterInForce(3, {0: 0})
    with pytest.raises(MalformedMessageError):
        core.on_message(VersionedFilter(2, LARGE), 0)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_each_event_is_judged_once_by_the_version_its_batch_names(seed: int) -> None:
    """Any filters changed at any moment, any credit, any times: batches are contiguous, each shows
    what its version lets through, and starts at or behind the offset its version was answered
    with."""
    rng = random.Random(seed)
    log = log_of([[rng.choice(["large", "small"]) for _ in range(rng.randint(1, 5))]
                  for _ in range(40)])  # fmt: skip
    tag_of = {c.first_offset + i: record[5][0] for c in log
              for i, record in enumerate(msgpack.unpackb(c.body))}  # fmt: skip
    filters = {1: LARGE}
    begin = rng.randrange(5)
    start = Start(PROTOCOL, "s", "c", "", {0: Position(begin, b"w")}, Credit(200, 3), 60_000, "",
                  VersionedFilter(1, LARGE))  # fmt: skip
    core = ProducerCore(start, 1, "peer", 0)
    answered = {1: begin}
    at, now, outstanding = begin, 0, Credit(0, 0)
    while at < log[-1].end_offset:
        now += rng.randrange(HELD_US)
        if rng.random() < 0.2:
            version = max(filters) + 1
            filters[version] = rng.choice([LARGE, Exclude.tags("large"), Filter(), Exclude.all()])
            core.on_message(VersionedFilter(version, filters[version]), now)
        answer = core.take_answer()
        if answer is not None:
            assert answer.starts == {0: at}
            answered[answer.version] = at
        if rng.random() < 0.5:
            core.on_message(outstanding, now)
            outstanding = Credit(0, 0)
        there = [c for c in log if c.end_offset > core.offset(0)][: rng.randint(1, 9)]
        batch = core.let_go(0, 0) if core.held_long(now) is not None else (
            core.form(0, there, 0, now) if there else None)  # fmt: skip
        if batch is None:
            continue
        assert batch.base_offset == at >= answered[batch.filter_version]
        assert batch.filter_version == max(filters)
        wanted = filters[batch.filter_version]
        at = batch.next_offset
        expected = [o for o in range(batch.base_offset, at)
                    if (tag_of[o] not in wanted.exclude.tags and not wanted.exclude.regexes)
                    or tag_of[o] in wanted.include.tags]  # fmt: skip
        assert offsets_in(batch) == expected
        cost = cost_of(batch)
        outstanding = Credit(outstanding.bytes + cost.bytes, outstanding.events + cost.events)

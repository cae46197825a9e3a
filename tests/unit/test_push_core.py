"""What a destination writes of what is pushed to it: every event of a source once, in order, under
seq_nrs without a hole, whatever comes twice, is lost on the way or ends in between."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import count
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.position import START, Position
from thespian_dc.model.push_errors import TooManySourcesError
from thespian_dc.model.record import Record
from thespian_dc.slices.actions import Submission
from thespian_dc.stream import push_core
from thespian_dc.stream.push_core import (
    NO_BASELINE,
    Baseline,
    PushCore,
    Pushed,
    Taken,
    after,
    done,
    recovered,
)
from thespian_dc.stream.push_progress import (
    PushProgress,
    first_progress,
    moved,
    narrows,
    plain_of_progress,
    progress_from,
    sent_as,
    under,
)

SLICES, BYTES_MAX = 2, 400


def pushed(seq_nr: int, there: str = "a", here: str = "", origin: str = "shop") -> Pushed:
    """Event seq_nr of an origin's entity, to be stored under another id where one is given."""
    meta = {
        push_core.ORIGIN: origin, push_core.STREAM: "carts", push_core.ENTITY_ID: there,
        push_core.SEQ_NR: seq_nr,
    }  # fmt: skip
    return Pushed(here or there, "Added", b"x" * 20, (), meta, (origin, "carts", there), seq_nr)


class Log:
    """The destination's log, its writers' queues, and the core that is killed now and then."""

    def __init__(self, known_max: int = 1000) -> None:
        self.known_max = known_max
        self.records: list[Record] = []  # deleted ones too
        self.below: dict[str, Baseline] = {}
        self.begin()

    def begin(self) -> None:
        """A new process: what was queued is gone."""
        self.core = PushCore(SLICES, BYTES_MAX, self.known_max)
        self.queues: dict[int, deque[Submission]] = {n: deque() for n in range(SLICES)}
        self.lane: deque[Taken] = deque()
        self.ends = count(1)

    def of(self, entity_id: str) -> list[Record]:
        return [one for one in self.records if one.entity_id == entity_id]

    def baseline(self, entity_id: str) -> Baseline:
        return self.below.get(entity_id, NO_BASELINE)

    def left(self, entity_id: str) -> list[Record]:
        return [one for one in self.of(entity_id) if one.seq_nr > self.baseline(entity_id).seq_nr]

    def trim(self) -> None:
        """Every record that is there goes, behind what it says."""
        for entity_id in {one.entity_id for one in self.records}:
            self.below[entity_id] = after(self.baseline(entity_id), self.left(entity_id))

    def take(self, events: Sequence[Pushed]) -> Taken:
        for entity_id in self.core.missing(events):
            assert not any(e.entity_id == entity_id for q in self.queues.values() for e in q)
            self.core.on_recovered(entity_id, self.left(entity_id), self.baseline(entity_id))
        batch = Taken(self.lane, 0, Position(next(self.ends)), None)
        for slice_, submission in self.core.take(batch, events):
            assert slice_ == self.core.slice_of(submission.entity_id)
            self.queues[slice_].append(submission)
        return batch

    def commit(self, slice_: int, submissions: int) -> list[Taken]:
        """The first few of a slice's queue become durable."""
        queue = self.queues[slice_]
        written = [queue.popleft() for _ in range(min(submissions, len(queue)))]
        for one in written:
            self.records += [Record(*msgpack.unpackb(packed)) for packed in one.packed]
        return self.core.on_durable(written)

    def lose(self, slice_: int) -> None:
        self.queues[slice_].clear()
        self.core.on_lost(slice_)

    def check(self, sent: Counter[tuple[str, str, str]]) -> None:
        """Each event of each source once, in its source's order; own seq_nrs without a hole."""
        seen: dict[Any, list[int]] = {}
        for entity_id in {one.entity_id for one in self.records}:
            records = self.of(entity_id)
            assert [one.seq_nr for one in records] == list(range(1, len(records) + 1))
            for one in records:
                assert one.meta is not None
                source = push_core.source_of(one.meta)
                seen.setdefault(source, []).append(one.meta[push_core.SEQ_NR])
        assert seen == {source: list(range(1, n + 1)) for source, n in sent.items()}


SOURCES = [("shop", "a"), ("shop", "b"), ("shop", "c"), ("mall", "a"), ("mall", "d")]
HERE = {"a": "both", "b": "b", "c": "both", "d": "d"}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), st.lists(st.integers(0, 4), max_size=8)),
        st.tuples(st.just("commit"), st.integers(0, SLICES - 1), st.integers(1, 3)),
        st.tuples(st.just("lose"), st.integers(0, SLICES - 1)),
        st.tuples(st.just("kill")),
        st.tuples(st.just("dial")),
        st.tuples(st.just("trim")),
    ),
    max_size=60,
)


class Source:
    """A producer's log, sent from the position that the destination stored."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.events: list[Pushed] = []
        self.sent: Counter[tuple[str, str, str]] = Counter()
        self.at = self.stored = 0
        self.ends: dict[int, int] = {}  # of each batch under way: the position behind it

    def write(self, picks: list[int]) -> None:
        for pick in picks:
            origin, there = SOURCES[pick]
            self.sent[origin, "carts", there] += 1
            seq_nr = self.sent[origin, "carts", there]
            self.events.append(pushed(seq_nr, there, HERE[there], origin))

    def send(self, events: int) -> None:
        until = min(len(self.events), self.at + events)
        batch = self.log.take(self.events[self.at : until])
        self.ends[id(batch)] = self.at = until
        self.settle(done(self.log.lane))

    def settle(self, batches: list[Taken]) -> None:
        for batch in batches:
            if batch.lane is self.log.lane:  # of this call
                assert self.ends[id(batch)] >= self.stored
                self.stored = self.ends[id(batch)]

    def dial(self) -> None:
        """A new call: the former one's batches may still become durable."""
        self.at, self.log.lane, self.ends = self.stored, deque(), {}


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([1, 5, 1000]))
def test_each_event_once_and_in_order_whatever_happens(steps: list[Any], known_max: int) -> None:
    """Batches are cut anew by each call; entities of two origins share an id here; the core forgets
    as much as it may; records are deleted behind what they say."""
    log = Log(known_max)
    source = Source(log)
    for step in [*steps, ("kill",), ("batch", [0, 1, 2, 3, 4])]:
        match step:
            case ("batch", picks):
                source.write(picks)
                source.send(1 + len(picks))
            case ("commit", slice_, many):
                source.settle(log.commit(slice_, many))
            case ("lose", slice_):
                log.lose(slice_)
                source.dial()
            case ("kill",):
                log.begin()
                source.dial()
            case ("dial",):
                source.dial()
            case ("trim",):
                log.trim()
    source.send(len(source.events))
    for slice_ in range(SLICES):
        source.settle(log.commit(slice_, 10_000))
    log.check(source.sent)
    assert source.stored == len(source.events)


def test_what_another_call_brought_just_before_is_done_when_it_is_in_the_log() -> None:
    """The producer dialled again while the first call's event was queued: a position behind it
    would lose the event if the process ended now."""
    log = Log()
    log.take([pushed(1)])
    log.lane = deque()
    again = log.take([pushed(1)])
    assert done(log.lane) == []
    assert again in log.commit(log.core.slice_of("a"), 9)


def test_a_batch_is_done_when_all_before_it_is() -> None:
    """The second's entity is in the log first; its position waits for the first batch."""
    log = Log()
    first, second = log.take([pushed(1, "a")]), log.take([pushed(1, "d")])
    slices = [log.core.slice_of("a"), log.core.slice_of("d")]
    assert slices[0] != slices[1]
    assert log.commit(slices[1], 9) == []
    assert log.commit(slices[0], 9) == [first, second]


def test_what_comes_again_is_done_without_being_written() -> None:
    log = Log()
    log.take([pushed(1), pushed(2)])
    log.commit(log.core.slice_of("a"), 9)
    again = log.take([pushed(1), pushed(2)])
    assert done(log.lane) == [again]
    assert len(log.records) == 2


def test_events_left_out_leave_no_hole() -> None:
    """Of 1..6 three come; the next of them is recognised by the last, not by contiguity."""
    log = Log()
    log.take([pushed(2), pushed(3), pushed(6)])
    log.take([pushed(3), pushed(6), pushed(9)])
    log.commit(log.core.slice_of("a"), 9)
    assert [one.seq_nr for one in log.records] == [1, 2, 3, 4]
    assert [one.meta[push_core.SEQ_NR] for one in log.records if one.meta] == [2, 3, 6, 9]


def test_a_batch_that_cannot_be_packed_counts_for_nothing() -> None:
    """Else the entity's next event would leave a hole."""
    log = Log()
    log.take([pushed(1)])
    bad = pushed(3)._replace(meta={"what": object()})
    with pytest.raises(TypeError):
        log.take([pushed(2), bad])
    log.take([pushed(2), pushed(3)])
    log.commit(log.core.slice_of("a"), 9)
    assert [one.seq_nr for one in log.records] == [1, 2, 3]


def test_large_batches_are_cut_into_submissions_that_fit() -> None:
    log = Log()
    log.take([pushed(n) for n in range(1, 21)])
    sizes = [one.size_bytes for one in log.queues[log.core.slice_of("a")]]
    assert len(sizes) > 2
    assert max(sizes) <= BYTES_MAX


def test_what_is_known_is_bounded_but_for_what_is_under_way() -> None:
    log = Log(known_max=16)
    for n in range(200):
        log.take([pushed(1, f"e-{n}")])
    assert log.core.known == 200, "none of them is in the log yet"
    for slice_ in range(SLICES):
        log.commit(slice_, 1000)
    log.take([pushed(2, "e-0")])
    assert log.core.known <= 16


def test_an_entity_that_takes_too_many_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything of the batch is taken: the next one finds what the log has."""
    monkeypatch.setattr(push_core, "SOURCES_MAX", 3)
    log = Log()
    log.take([pushed(1, f"e-{n}", "all") for n in range(3)])
    with pytest.raises(TooManySourcesError, match="'all' of a destination takes events of more"):
        log.take([pushed(2, "e-0", "all"), pushed(1, "e-9", "all")])
    log.take([pushed(2, "e-0", "all")])
    log.commit(log.core.slice_of("all"), 9)
    assert [one.seq_nr for one in log.of("all")] == [1, 2, 3, 4]


def test_what_is_never_written_ends_its_batches_and_is_forgotten() -> None:
    """The entity's memory is ahead of its log then: it is read again."""
    log = Log()
    log.take([pushed(1)])
    log.commit(log.core.slice_of("a"), 1)
    first, second = log.take([pushed(2)]), log.take([pushed(3)])
    queue = log.queues[log.core.slice_of("a")]
    culprit, behind = queue.popleft(), list(queue)
    queue.clear()
    assert log.core.on_not_written(culprit, behind) == [first, second]
    assert log.core.missing([pushed(2)]) == ["a"]


def test_an_entity_is_read_in_pages() -> None:
    records = [Record(0, "a", n, "", b"") for n in range(1, 11)]
    asked: list[tuple[int, int]] = []

    def read(first: int, until: int) -> list[Record]:
        asked.append((first, until))
        return records[first - 1 : until - 1]

    assert list(recovered(read, page=4)) == records
    assert asked == [(1, 5), (5, 9), (9, 13), (11, 15)]


# --- progress and filters ---


AT = PushProgress("j", Filter(), {0: Position(5, b"e"), 1: Position(7, b"g")}, {})


def test_a_filter_that_only_leaves_out_more_counts_from_here_on() -> None:
    """Where it began is kept for the day when something is let in again."""
    found = under(AT, Exclude.entity_ids("a"))
    assert found.positions == AT.positions
    assert found.since == AT.positions
    later = under(moved(found, 0, Position(9, b"i")), Exclude.entity_ids("a", "b"))
    assert later.positions == {0: Position(9, b"i"), 1: Position(7, b"g")}
    assert later.since == AT.positions, "what is left out first counts"


def test_a_filter_that_lets_in_more_begins_where_something_was_left_out_first() -> None:
    filtered = moved(under(AT, Exclude.entity_ids("a", "b")), 0, Position(90, b"x"))
    found = under(filtered, Exclude.entity_ids("a"))
    assert found.positions == AT.positions
    assert found.since == AT.positions
    assert under(filtered, Filter()).since == {}, "nothing is left out any more"
    assert under(filtered, Filter()).positions == AT.positions


def test_the_same_filter_moves_nothing() -> None:
    filtered = moved(under(AT, Exclude.tags("x")), 0, Position(90, b"x"))
    assert under(filtered, Exclude.tags("x")) is filtered


@pytest.mark.parametrize(
    ("before", "after", "narrower"),
    [
        (Filter(), Exclude.tags("x"), True),
        (Filter(), Include.tags("x"), True),
        (Exclude.tags("x"), Exclude.tags("x", "y"), True),
        (Exclude.tags("x", "y"), Exclude.tags("x"), False),
        (Include.tags("x"), Include.tags("x", "y"), False),
        (Include.tags("x", "y"), Include.tags("x"), True),
        (Exclude.tags("x"), Exclude.tags("y"), False),
        (Exclude.tags("x"), Filter(), False),
    ],
)
def test_which_filters_are_plainly_narrower(before: Filter, after: Filter, narrower: bool) -> None:
    """Whatever is not plain counts as letting in more: that costs a second reading, no event."""
    assert narrows(sent_as(before), sent_as(after)) is narrower


def test_progress_survives_being_stored() -> None:
    """As the registry keeps it: msgpack."""
    found = under(AT, Include.entity_ids("a"))
    assert progress_from(msgpack.unpackb(msgpack.packb(plain_of_progress(found)))) == found
    assert first_progress("j", 2) == PushProgress("j", Filter(), {0: START, 1: START}, {})

"""Both ends of a stream, joined in memory: credit, order, heartbeats. No gRPC, no clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thespian_dc.model.criteria import UNFILTERED, Exclude, Filter, VersionedFilter
from thespian_dc.model.errors import JournalDivergedError
from thespian_dc.model.position import START, Position
from thespian_dc.model.stream_errors import (
    DamagedBatchError,
    MalformedMessageError,
    PeerSilentError,
    ProtocolVersionError,
    SliceOutOfRangeError,
    StreamGapError,
    WrongFirstMessageError,
)
from thespian_dc.projection.api import CommitView, SourceBatch
from thespian_dc.stream.batches import cost_of, events_of, read_batch, write_batch
from thespian_dc.stream.consumer_core import WINDOW, ConsumerCore, Reconnect
from thespian_dc.stream.producer_core import (
    BATCH_EVENTS_MAX,
    HELD_US,
    ProducerCore,
    check_first,
)
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import (
    PROTOCOL,
    Beat,
    Credit,
    FilterInForce,
    Start,
    Started,
    read_from_consumer,
    read_from_producer,
    write_from_consumer,
    write_started,
)

STARTED = Started(PROTOCOL, "j", "cart", 2, {0: 0, 1: 0}, 1000)


def start(credit: Credit = WINDOW, positions: dict[int, Position] | None = None) -> Start:
    return Start(PROTOCOL, "carts", "c", "", positions or {}, credit, 1000, "")


def commits(*sizes: tuple[int, int], base: int = 0) -> list[CommitView]:
    """A commit for each (events, bytes)."""
    made = []
    for events, size in sizes:
        made.append(CommitView(base, base + events, b"w%d" % base, 7, b"x" * size))
        base += events
    return made


NOTHING = Credit(0, 0)


def consumer(
    outstanding: Credit = NOTHING,
    wanted: VersionedFilter = UNFILTERED,
    slices: list[int] | None = None,
    **positions: int,
) -> ConsumerCore:
    at = {int(name[1:]): Position(offset, b"w") for name, offset in positions.items()}
    core = ConsumerCore(
        "carts", "c", "", at, outstanding, "peer", 1000, 0, wanted=wanted, slices=slices
    )
    core.first("")
    return core


# --- wire ---


@given(
    slice_=st.integers(0, 1023),
    sizes=st.lists(st.tuples(st.integers(1, 50), st.binary(max_size=99)), min_size=1, max_size=9),
    base=st.integers(0, 1 << 62),
    inside=st.integers(0, 49),
)
def test_a_batch_arrives_as_it_was_sent(
    slice_: int, sizes: list[tuple[int, bytes]], base: int, inside: int
) -> None:
    """Bodies are the stored bytes; a batch may begin inside its first commit."""
    made, at = [], base
    for events, body in sizes:
        kept = tuple(range(0, events, 2)) if events > 2 else ()
        made.append(CommitView(at, at + events, b"w" * 16, -5, body, kept))
        at += events
    begin = base + min(inside, sizes[0][0] - 1)
    batch = SourceBatch(slice_, begin, at, at + 3, made)
    received = read_from_producer(write_batch(batch))
    assert isinstance(received, pb.Batch)
    assert read_batch("here", received) == batch


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(place: int, bit: int) -> None:
    """In a body by CRC; elsewhere by contiguity, or the message still says something consistent."""
    sent = bytearray(write_batch(SourceBatch(1, 0, 30, 30, commits((10, 50), (20, 90)))))
    body_at = sent.index(b"x" * 50)
    sent[body_at + place % 50] ^= 1 << bit
    received = read_from_producer(bytes(sent))
    assert isinstance(received, pb.Batch)
    with pytest.raises(DamagedBatchError):
        read_batch("here", received)


@pytest.mark.parametrize(
    "batch",
    [
        SourceBatch(0, 0, 5, 5, []),
        SourceBatch(0, 0, 9, 9, commits((5, 1))),
        SourceBatch(0, 7, 5, 5, commits((5, 1))),
        SourceBatch(0, 0, 10, 10, [*commits((5, 1)), *commits((4, 1), base=6)]),
        SourceBatch(0, 0, 5, 5, [CommitView(0, 5, b"", 0, b"x", (1, 1))]),
        SourceBatch(0, 0, 5, 5, [CommitView(0, 5, b"", 0, b"x", (5,))]),
    ],
)
def test_an_inconsistent_batch_is_refused(batch: SourceBatch) -> None:
    """Offsets prove completeness only where they are checked."""
    received = read_from_producer(write_batch(batch))
    assert isinstance(received, pb.Batch)
    with pytest.raises(MalformedMessageError):
        read_batch("here", received)


def test_control_messages_arrive_as_they_were_sent() -> None:
    """One place writes and reads each field."""
    full = Start(1, "s", "c", "j", {3: Position(9, b"w")}, Credit(5, 6), 250, "id")
    for message in (full, Credit(1, 2), Beat(3)):
        assert read_from_consumer(write_from_consumer(message)) == message
    assert read_from_producer(write_started(STARTED)) == STARTED


def test_unknown_fields_are_survived() -> None:
    """A newer peer may say more than we know."""
    more = write_from_consumer(start()) + b"\xaa\x06\x03new"
    assert read_from_consumer(more) == start()


# --- producer ---


def test_a_call_begins_with_start() -> None:
    for wrong in (None, Beat(1), Credit(1, 1)):
        with pytest.raises(WrongFirstMessageError):
            check_first(Start, wrong)
    with pytest.raises(ProtocolVersionError):
        check_first(Start, start()._replace(protocol=9))
    with pytest.raises(SliceOutOfRangeError):
        ProducerCore(start(positions={2: Position()}), 2, "peer", 0)


def test_batches_are_full_but_not_overfull() -> None:
    """Batching is the lever of throughput; what is too much for one batch begins the next."""
    core = ProducerCore(start(), 1, "peer", 0)
    there = commits(*[(300, 1000)] * 10)
    batch = core.form(0, there, 3000, 0)
    assert batch is not None
    assert batch.next_offset == 900 <= BATCH_EVENTS_MAX
    following = core.form(0, there[3:], 3000, 0)
    assert following is not None
    assert following.base_offset == 900


def test_one_commit_passes_with_nothing_outstanding_whatever_its_size() -> None:
    """A window smaller than one commit must not stop a stream for ever."""
    core = ProducerCore(start(Credit(10, 1)), 1, "peer", 0)
    large = commits((500, 9000), (500, 9000))
    assert core.form(0, large, 1000, 0) is not None
    assert core.form(0, large[1:], 1000, 0) is None
    core.on_message(Credit(9000, 500), 1)
    second = core.form(0, large[1:], 1000, 0)
    assert second is not None
    assert second.base_offset == 500


def test_what_did_not_pass_costs_nothing() -> None:
    """Filtered-out traffic moves positions along without any credit."""
    core = ProducerCore(start(Credit(0, 0)), 2, "peer", 0)
    assert core.form(0, commits((5, 10)), 5, 0) is not None  # now something is outstanding
    assert core.form(0, commits((5, 10), base=5), 10, 0) is None
    nothing = [CommitView(0, 9, b"w", 0, b"")]
    assert core.form(1, nothing, 9, 0) is None
    assert core.offset(1) == 9
    assert core.held_long(HELD_US - 1) is None
    assert core.wakeup_us() == HELD_US
    assert core.held_long(HELD_US) == 1
    passed = core.let_go(1, 9)
    assert (passed.base_offset, passed.next_offset) == (0, 9)
    assert cost_of(passed) == (0, 0)


def test_slices_take_turns() -> None:
    """One with a long history does not hold up the others."""
    core = ProducerCore(start(), 3, "peer", 0)
    order = []
    for _ in range(6):
        slice_ = core.turns()[0]
        order.append(slice_)
        core.form(slice_, commits((1, 1), base=core.offset(slice_)), 9, 0)
    assert order == [0, 1, 2, 0, 1, 2]
    core.on_nothing(0)
    assert core.turns() == [1, 2]
    core.on_ready(0)
    assert core.turns() == [1, 2, 0]


def test_no_slice_takes_the_credit_another_waits_for() -> None:
    """A large commit would never get through beside a stream of small ones."""
    core = ProducerCore(start(Credit(1000, 100)), 2, "peer", 0)
    assert core.form(1, commits((1, 600)), 1, 0) is not None
    large, small = commits((1, 900)), commits((1, 10), base=1)
    assert core.form(0, large, 1, 0) is None
    assert core.form(1, small, 2, 0) is None
    core.on_message(Credit(600, 1), 0)
    assert core.form(0, large, 1, 0) is not None
    assert core.form(1, small, 2, 0) is not None


def test_beats_and_silence() -> None:
    """A beat after an interval without sending; three silent intervals end the call."""
    core = ProducerCore(start(), 1, "peer", 0)
    assert not core.beat_due(999_999)
    assert core.beat_due(1_000_000)
    core.on_sent(1_000_000)
    assert not core.beat_due(1_500_000)
    core.on_message(Beat(0), 1_500_000)
    assert core.beat_due(4_400_000)
    with pytest.raises(PeerSilentError):
        core.beat_due(4_600_000)
    assert core.wakeup_us() <= 4_600_000


# --- consumer ---


def test_a_gap_is_never_handed_over() -> None:
    core = consumer()
    core.on_started(STARTED, 0)
    with pytest.raises(StreamGapError):
        core.on_batch(SourceBatch(0, 3, 5, 5, commits((2, 1), base=3)), 0)
    with pytest.raises(MalformedMessageError):
        core.on_batch(SourceBatch(7, 0, 5, 5, commits((5, 1))), 0)


def test_a_batch_before_started_or_a_second_started_is_malformed() -> None:
    core = consumer()
    with pytest.raises(MalformedMessageError):
        core.on_batch(SourceBatch(0, 0, 5, 5, commits((5, 1))), 0)
    core.on_started(STARTED, 0)
    with pytest.raises(MalformedMessageError):
        core.on_started(STARTED, 0)


def test_a_duplicate_is_dropped_and_its_credit_returned() -> None:
    core = consumer(s0=5, s1=0)
    core.on_started(STARTED, 0)
    assert core.on_batch(SourceBatch(0, 0, 5, 5, commits((5, 99))), 0) is None
    assert core.take_credit() == Credit(99, 5)


def test_what_is_handled_before_the_call_is_open_comes_back_once() -> None:
    core = ConsumerCore("carts", "c", "", {}, Credit(99, 5), "peer", 1000, 0)
    core.on_handled(Credit(99, 5))
    assert core.first("").credit == WINDOW
    assert core.take_credit() is None


WANTED = VersionedFilter(3, Exclude.entity_ids("a"))


def test_a_call_begins_with_the_filter_and_is_told_of_changes_once() -> None:
    """In Start, and again only when another one is wanted."""
    core = consumer(wanted=WANTED)
    assert core.first("").filter == WANTED
    assert core.take_filter() is None
    core.change_filter(later := VersionedFilter(4, Filter()))
    assert core.take_filter() == later
    assert core.take_filter() is None


def test_only_the_slices_wanted_are_asked_for() -> None:
    """From their positions, or their beginnings; the call is complete with them."""
    core = consumer(s1=7, slices=[1, 2])
    assert core.first("").positions == {1: Position(7, core.positions[1].write_id), 2: START}
    assert core.on_started(Started(1, "j", "cart", 4, {}, 1000), 0)
    assert core.on_in_force(FilterInForce(3, {0: 0, 1: 7, 2: 0}), 0).starts == {1: 7, 2: 0}


def test_a_filter_in_force_above_what_was_sent_is_a_gap() -> None:
    """What lies between would have been judged by nobody."""
    core = consumer(s0=5)
    core.on_started(STARTED, 0)
    with pytest.raises(StreamGapError):
        core.on_in_force(FilterInForce(3, {0: 6}), 0)


def test_another_journal_behind_the_same_name_is_divergence() -> None:
    core = ConsumerCore("carts", "c", "mine", {}, Credit(0, 0), "peer", 1000, 0)
    with pytest.raises(JournalDivergedError):
        core.on_started(STARTED, 0)


def test_slices_without_a_position_are_asked_for_again() -> None:
    """Positions of some slices only: the call is opened again with all of them."""
    core = consumer(s0=5)
    assert not core.on_started(STARTED, 0)
    assert set(core.positions) == {0, 1}
    assert consumer().on_started(STARTED, 0)


def test_credit_of_what_an_earlier_call_left_unhandled_is_held_back() -> None:
    """The window bounds what waits here, over reconnects too."""
    core = consumer(Credit(WINDOW.bytes + 5, 10))
    assert core.first("").credit == Credit(0, WINDOW.events - 10)


def test_no_call_is_begun_while_the_window_is_used_up() -> None:
    """On each call one commit may come without credit: with each that breaks more would wait."""
    core = consumer(Credit(5, WINDOW.events))
    assert not core.has_room
    core.on_handled(Credit(1, 1))
    assert core.has_room
    assert not consumer(Credit(WINDOW.bytes, 1)).has_room


def test_silence_of_three_intervals_is_a_dead_peer() -> None:
    core = consumer()
    core.check_alive(3_000_000)
    core.on_beat(3_000_000)
    core.check_alive(6_000_000)
    with pytest.raises(PeerSilentError):
        core.check_alive(6_002_000)


def test_reconnects_wait_longer_and_longer_until_a_call_works() -> None:
    waits = Reconnect((100, 1000))
    assert [waits.pause_ms(0.0) for _ in range(6)] == [100, 200, 400, 800, 1000, 1000]
    waits.on_worked()
    assert waits.pause_ms(0.0) == 100


# --- both ends ---


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_joined_ends_deliver_everything_within_the_window(seed: int) -> None:
    """Any sizes, any handling order of time: all arrives, in order, and what is unhandled stays
    within the window plus one commit. A leak of credit would stop it before the end."""
    rng = random.Random(seed)
    logs = [commits(*[(rng.randint(1, 3000), rng.randint(0, 900_000)) for _ in range(30)])
            for _ in range(2)]  # fmt: skip
    taker = consumer()
    giver = ProducerCore(taker.first(""), 2, "peer", 0)
    taker.on_started(STARTED, 0)
    unhandled: list[Credit] = []
    largest = max(len(commit.body) for log in logs for commit in log)
    done = [log[-1].end_offset for log in logs]
    for _ in range(2000):
        turns = giver.turns()
        if turns and rng.random() < 0.7:
            slice_ = turns[0] if rng.random() < 0.8 else turns[-1]
            rest = [c for c in logs[slice_] if c.end_offset > giver.offset(slice_)]
            batch = giver.form(slice_, rest, done[slice_], 0) if rest else giver.on_nothing(slice_)
            if batch is not None:
                assert taker.on_batch(batch, 0) is batch
                unhandled.append(cost_of(batch))
        elif unhandled:
            taker.on_handled(unhandled.pop(rng.randrange(len(unhandled))))
            credit = taker.take_credit()
            if credit is not None:
                giver.on_message(credit, 0)
        assert sum(cost.bytes for cost in unhandled) <= WINDOW.bytes + largest
    for cost in unhandled:
        taker.on_handled(cost)
    assert [taker.positions[slice_].offset for slice_ in (0, 1)] == done


@given(
    kept=st.sets(st.integers(0, 19)),
    base=st.integers(0, 19),
)
def test_events_are_counted_as_they_are_handled(kept: set[int], base: int) -> None:
    """Both ends must agree on what a batch costs."""
    commit = CommitView(0, 20, b"", 0, b"x" if kept else b"", tuple(sorted(kept)))
    assert events_of(commit, base) == len([k for k in kept if k >= base])

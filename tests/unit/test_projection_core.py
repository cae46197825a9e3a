"""ProjectionCore: what is handled, where positions go, what follows a failure. No thread, no
database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.model.errors import JournalDivergedError, PositionConflictError
from thespian_dc.model.position import START, Position
from thespian_dc.model.stream_errors import HandlerError, StreamGapError
from thespian_dc.projection.api import (
    CommitView,
    SourceBatch,
    SourceDescription,
    StoredPosition,
    StoredPositions,
)
from thespian_dc.projection.core import (
    Claim,
    Drop,
    Halt,
    Handle,
    Move,
    ProjectionCore,
    Restart,
    StartSource,
    position_in,
)

NONE = StoredPositions("", {})


def stored(**slices: tuple[int, int]) -> StoredPositions:
    """stored(s0=(epoch, offset), …) of journal "j"."""
    rows = {
        int(name[1:]): StoredPosition(epoch, Position(offset, write_id(offset)))
        for name, (epoch, offset) in slices.items()
    }
    return StoredPositions("j", rows)


def write_id(end_offset: int) -> bytes:
    return f"w{end_offset}".encode() if end_offset else b""


def batch(base: int, *ends: int, slice_: int = 0) -> SourceBatch:
    """Commits base..ends[0], ends[0]..ends[1], …"""
    starts = (base, *ends[:-1])
    commits = [CommitView(a, b, write_id(b), 0, b"x") for a, b in zip(starts, ends, strict=True)]
    return SourceBatch(slice_, base, ends[-1], ends[-1], commits)


def running(**slices: tuple[int, int]) -> ProjectionCore:
    core = ProjectionCore("p", (100, 1000))
    rows = stored(**(slices or {"s0": (1, 0)}))
    core.on_loaded(rows)
    core.on_claimed(rows)
    return core


def test_the_first_run_starts_the_source_before_it_knows_the_slices() -> None:
    """Only the source knows how many slices there are; they are claimed then, all at once."""
    core = ProjectionCore("p", (100, 1000))
    assert core.on_loaded(NONE) == StartSource("", {})
    [claim] = core.on_started(SourceDescription("j", "cart", 2))
    assert claim == Claim([0, 1], "j")
    assert core.on_claimed(stored(s0=(1, 0), s1=(1, 0))) == []


def test_a_later_run_claims_before_it_starts_the_source() -> None:
    """From the claim on nobody else moves the rows: the source starts where they stand for good."""
    core = ProjectionCore("p", (100, 1000))
    assert core.on_loaded(stored(s0=(1, 5))) == Claim([0], "j")
    [start] = core.on_claimed(stored(s0=(2, 7)))
    assert start == StartSource("j", {0: Position(7, b"w7")})
    assert core.on_started(SourceDescription("j", "cart", 1)) == []


def test_rows_that_moved_between_load_and_claim_restart_the_source() -> None:
    """Two first runs at once: the second to claim finds the other's positions and begins there."""
    core = ProjectionCore("p", (100, 1000))
    core.on_loaded(NONE)
    core.on_started(SourceDescription("j", "cart", 1))
    assert core.on_claimed(stored(s0=(2, 3))) == [StartSource("j", {0: Position(3, b"w3")})]


@pytest.mark.parametrize("source", [("other", 1), ("j", 1)])
def test_another_journal_or_fewer_slices_is_divergence(source: tuple[str, int]) -> None:
    """Positions mean something in one journal only."""
    core = running(s0=(1, 5), s1=(1, 5))
    with pytest.raises(JournalDivergedError):
        core.on_started(SourceDescription(source[0], "cart", source[1]))


def test_duplicates_are_cut_and_gaps_refused() -> None:
    """Below the position: known. Across it: the rest. Above it: something is missing."""
    core = running(s0=(1, 10))
    old = batch(5, 10)
    assert core.on_batch(old) == Drop(old)
    across = batch(5, 12)
    assert core.on_batch(across) == Handle(across, 10)
    with pytest.raises(StreamGapError):
        core.on_batch(batch(11, 12))


def test_a_position_moves_once_per_transaction_whatever_the_number_of_batches() -> None:
    """Several batches, one compare-and-set: expected is what the store has, not the last
    batch's."""
    core = running(s0=(3, 0), s1=(4, 0))
    core.on_handled(batch(0, 2, 5), 5)
    core.on_handled(batch(5, 9), 9)
    core.on_handled(batch(0, 4, slice_=1), 3)
    assert core.moves() == [Move(0, 3, 0, Position(9, b"w9")), Move(1, 4, 0, Position(3, b"w4"))]
    core.on_committed()
    assert core.moves() == []
    assert core.expects(0) == (3, 9)


def test_what_is_rolled_back_was_never_handled() -> None:
    """The next batch is judged by the stored position again."""
    core = running()
    core.on_handled(batch(0, 5), 5)
    core.on_rolled_back()
    assert core.moves() == []
    again = batch(0, 5)
    assert core.on_batch(again) == Handle(again, 0)


@given(ends=st.lists(st.integers(1, 5), min_size=1, max_size=6), data=st.data())
def test_a_position_names_the_commit_that_covers_the_offset_before(
    ends: list[int], data: st.DataObject
) -> None:
    """At every offset of a batch: the producer will look for exactly this commit."""
    sums = [sum(ends[: nr + 1]) for nr in range(len(ends))]
    whole = batch(0, *sums)
    offset = data.draw(st.integers(0, sums[-1]))
    covering = next((end for end in sums if offset <= end), 0) if offset else 0
    assert position_in(whole, offset, START) == Position(offset, write_id(covering))


def handler_error(offset: int) -> HandlerError:
    return HandlerError("p", 0, offset, "c-1", 1, "x")


def test_pauses_double_while_the_same_event_fails() -> None:
    """A poisoned event is not hammered; another failure starts with the short pause."""
    core = running()
    pauses = [core.on_failure(handler_error(4), 0, 0.0) for _ in range(5)]
    assert [p.at_us // 1000 for p in pauses if isinstance(p, Restart)] == [
        100, 200, 400, 800, 1000,
    ]  # fmt: skip
    other = core.on_failure(handler_error(5), 0, 0.0)
    assert isinstance(other, Restart)
    assert other.at_us == 100_000


@given(jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_takes_off_at_most_half(jitter: float) -> None:
    """Consumers of one producer do not come back in step."""
    action = running().on_failure(handler_error(1), 0, jitter)
    assert isinstance(action, Restart)
    assert 50_000 <= action.at_us <= 100_000


def test_what_no_restart_mends_halts() -> None:
    """Going on would handle another journal's events."""
    error = JournalDivergedError("p", 1, "x")
    assert running().on_failure(error, 0, 0.0) == Halt(error)


def test_who_lost_a_slice_looks_again() -> None:
    """Another worker may hold it now, or somebody changed the position."""
    error = PositionConflictError("p", 0, 1, "2")
    assert running().on_failure(error, 0, 0.0) == Restart(100_000, error)


def test_only_the_slices_of_this_run_are_claimed() -> None:
    """The others belong to other workers of the projection."""
    core = ProjectionCore("p", (100, 400))
    rows = {n: StoredPosition(1, Position(5, b"w")) for n in range(4)}
    assert core.on_loaded(StoredPositions("j", rows), [1, 3, 5]) == Claim([1, 3], "j")
    claimed = StoredPositions("j", {n: StoredPosition(2, rows[n].position) for n in (1, 3)})
    assert [set(one.positions) for one in core.on_claimed(claimed)] == [{1, 3}]
    assert core.on_started(SourceDescription("j", "cart", 8)) == [Claim([5], "j")]

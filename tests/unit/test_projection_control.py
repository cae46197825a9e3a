"""What is wished of a projection: decided without a database, and kept in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thespian_dc.model.position import NO_WRITE_ID, START, Position
from thespian_dc.model.projection_errors import ControlChangedError, WishesFullError
from thespian_dc.projection.api import StoredPosition
from thespian_dc.projection.control import (
    DONE,
    OPEN,
    POSITION,
    REBUILD,
    REFUSED,
    SKIP,
    WITHDRAWN,
    Change,
    Control,
    Refusal,
    Wish,
    decide,
    mine,
)
from thespian_dc.projection.parking import ParkedEvent, ParkedMost
from thespian_dc.projection.sqlite.control import WISHES_MAX, SqliteControl
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.sqlite.parked import SqliteParked
from thespian_dc.projection.sqlite.positions import SqlitePositions
from thespian_dc.projection.workers import WorkerRow

ROWS = {n: StoredPosition(3, Position(10 + n, b"w")) for n in range(3)}


# --- decided ---


@pytest.mark.parametrize("expected", [None, 11])
def test_a_position_is_set_where_it_is_as_expected(expected: int | None) -> None:
    """It names no commit: what stands before it is not known here."""
    wish = Wish(1, POSITION, 1, 4, expected)
    assert decide(wish, ROWS) == [Change(1, Position(4, NO_WRITE_ID))]


def test_another_offset_is_refused_with_the_one_it_has() -> None:
    """Compare-and-set."""
    assert decide(Wish(1, POSITION, 1, 4, 12), ROWS) == Refusal("slice 1 stands at 11, not at 12")
    assert decide(Wish(1, SKIP, 1, 12, 12), ROWS) == Refusal("slice 1 stands at 11, not at 12")


def test_a_slice_without_a_position_is_refused() -> None:
    """It was never served."""
    assert decide(Wish(1, POSITION, 7, 4), ROWS) == Refusal("slice 7 has no position yet")


def test_skipping_moves_behind_the_event_and_a_rebuild_to_the_beginning() -> None:
    """Of one slice, and of all."""
    assert decide(Wish(1, SKIP, 2, 12, 12), ROWS) == [Change(2, Position(13, NO_WRITE_ID))]
    assert decide(Wish(1, REBUILD), ROWS) == [Change(n, START) for n in range(3)]


def test_an_event_that_is_owed_is_skipped_below_the_position() -> None:
    """It was passed over in the stream and is to be looked up; nothing else there is to come."""
    assert decide(Wish(1, SKIP, 1, 4, 4), ROWS, {1}) == []
    assert decide(Wish(1, SKIP, 1, 4, 4), ROWS, {2}) == Refusal("slice 1 stands at 11, not at 4")
    assert decide(Wish(1, SKIP, 1, 12, 12), ROWS, {1}) == Refusal("slice 1 stands at 11, not at 12")


def test_a_wish_is_for_the_worker_of_its_slice_a_rebuild_for_the_one_that_has_all() -> None:
    """The oldest first."""
    first, second, third = Wish(1, REBUILD), Wish(2, SKIP, 2, 5, 5), Wish(3, SKIP, 0, 5, 5)
    control = Control(1, slices=3, open=(first, second, third))
    assert control.gathers
    assert mine(control, {0, 1, 2}) == first
    assert mine(control, {0, 2}) == second
    assert mine(control, {0}) == third
    assert mine(control, {1}) is None
    assert mine(control._replace(slices=0), set()) is None, "nobody knows what all is"


# --- kept ---


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = SqliteControl(SqliteDatabase(f"sqlite:///{tmp_path}/c.db"))
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path: Path, store: SqliteControl) -> Any:
    """Of another process."""
    opened = SqliteControl(SqliteDatabase(f"sqlite:///{tmp_path}/c.db"))
    yield opened
    opened.close()


def claimed(store: SqliteControl, slices: int = 2) -> None:
    SqlitePositions(store.database).claim("p", range(slices), "j")


def test_each_change_raises_the_version_and_compares_it(
    store: SqliteControl, other: SqliteControl
) -> None:
    """Of two that decide by the same look one is told to look again."""
    assert store.control("p") == Control()
    assert store.pause("p", True, expected=0) == 1
    with pytest.raises(ControlChangedError):
        other.rescale("p", 3, expected=0)
    assert other.rescale("p", 3, expected=1) == 2
    assert store.control("p") == Control(2, True, 3)
    assert store.projections() == ["p"]


def test_a_wish_ends_once(store: SqliteControl, other: SqliteControl) -> None:
    """Done, refused or withdrawn: whoever comes later changes nothing."""
    claimed(store)
    done, refused, gone = (store.wish("p", POSITION, 0, n, None) for n in (5, 6, 7))
    assert [wish.nr for wish in store.control("p").open] == [1, 2, 3]
    assert other.perform("p", done.nr).state == DONE
    assert store.withdraw("p", done.nr).state == DONE
    assert store.refuse("p", refused.nr, "so").state == REFUSED
    assert other.perform("p", refused.nr) == refused._replace(state=REFUSED, said="so")
    assert store.withdraw("p", gone.nr).state == WITHDRAWN
    assert other.perform("p", gone.nr).state == WITHDRAWN
    assert store.offsets("p") == {0: 5, 1: 0}
    assert not store.control("p").open


def test_performing_raises_the_epoch(store: SqliteControl) -> None:
    """Whoever read the position before cannot move it any more."""
    claimed(store)
    store.perform("p", store.wish("p", POSITION, 0, 5, 0).nr)
    rows = SqlitePositions(store.database).load("p").slices
    assert [rows[n].epoch for n in (0, 1)] == [2, 1]


def test_what_the_handler_raises_takes_everything_back(store: SqliteControl) -> None:
    """Positions, effects and the wish are one transaction."""
    claimed(store)
    store.perform("p", store.wish("p", POSITION, 0, 5, 0).nr)
    wish = store.wish("p", REBUILD, -1, 0, None)

    def fails() -> None:
        store.database.execute("delete from thespian_dc_positions")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.perform("p", wish.nr, fails)
    assert store.offsets("p") == {0: 5, 1: 0}
    assert store.wish_of("p", wish.nr).state == OPEN
    assert not store.rebuild_to("p")
    store.perform("p", wish.nr)
    assert store.offsets("p") == {0: 0, 1: 0}
    assert store.rebuild_to("p") == {0: 5, 1: 0}


def test_a_position_that_is_set_forgets_what_its_slice_parked(store: SqliteControl) -> None:
    """Its events come again, or are to be passed over; other slices keep theirs."""
    claimed(store)
    parked = SqliteParked(store.database)
    for slice_ in (0, 1):
        event = ParkedEvent(slice_, 3, f"e{slice_}", 1, 0, b"12345", "cause", 1, 0)
        store.database.begin()
        parked.park("p", event, ParkedMost(10, 1_000))
        store.database.commit()
    store.perform("p", store.wish("p", POSITION, 0, 5, None).nr)
    assert [one.entity_id for one in parked.entities("p")] == ["e1"]
    assert parked.total("p") == ParkedMost(1, 5)
    store.perform("p", store.wish("p", SKIP, 1, 0, 0).nr)
    assert parked.total("p") == ParkedMost(1, 5), "a skipped event says nothing of them"


def test_wishes_are_bounded(store: SqliteControl) -> None:
    """Open ones by a named error; ended ones are forgotten, the oldest first."""
    claimed(store)
    for _ in range(WISHES_MAX):
        store.wish("p", POSITION, 0, 5, None)
    with pytest.raises(WishesFullError):
        store.wish("p", POSITION, 0, 5, None)
    for nr in range(1, WISHES_MAX + 1):
        store.withdraw("p", nr)
    for _ in range(10):
        last = store.withdraw("p", store.wish("p", POSITION, 0, 5, None).nr)
    ((kept,),) = store.database.execute("select count(*) from thespian_dc_wishes").fetchall()
    assert kept == WISHES_MAX
    assert store.wish_of("p", last.nr).state == WITHDRAWN


def test_a_slice_is_held_by_one(store: SqliteControl, other: SqliteControl) -> None:
    """Taken from nobody, or from the one it was seen with; given back by its holder alone."""
    store.hold("p", "a", {0: "", 1: ""})
    other.hold("p", "b", {1: "", 2: ""})
    assert store.workers("p")[1] == {0: "a", 1: "a", 2: "b"}
    other.release("p", "b", [0, 2])
    assert store.workers("p")[1] == {0: "a", 1: "a"}
    other.hold("p", "b", {0: "a", 1: "c"})
    assert store.workers("p")[1] == {0: "b", 1: "a"}


def test_whoever_comes_goes_holds_or_wishes_stirs_and_a_beat_does_not(
    store: SqliteControl, other: SqliteControl
) -> None:
    """Workers look at one number twenty times a second."""
    steps: list[Any] = [
        lambda: other.beat("p", WorkerRow("a", 0)),
        lambda: other.hold("p", "a", {0: ""}),
        lambda: other.release("p", "a", [0]),
        lambda: other.know("p", 4),
        lambda: other.pause("p", True),
        lambda: other.wish("p", POSITION, 0, 5, None),
        lambda: other.withdraw("p", 1),
        lambda: other.stir("p"),
        lambda: other.leave("p", "a", forget=True),
    ]
    for step in steps:
        before = store.stirred("p")
        step()
        assert store.stirred("p") > before
    other.beat("p", WorkerRow("b", 0))
    before = store.stirred("p")
    other.beat("p", WorkerRow("b", 0))
    assert store.stirred("p") == before
    assert [row.beat for row in store.workers("p")[0]] == [2]


def test_a_worker_that_halted_leaves_its_row_and_nothing_else(store: SqliteControl) -> None:
    """For whoever asks why."""
    store.beat("p", WorkerRow("a", 0, facts='{"phase": "halted"}'))
    store.hold("p", "a", {0: ""})
    store.leave("p", "a", forget=False)
    rows, holders = store.workers("p")
    assert [(row.worker, row.leaving) for row in rows] == [("a", True)]
    assert not holders

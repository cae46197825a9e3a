"""What is wished of a projection, decided without a database; what is kept: testkit/control_kit."""

from __future__ import annotations

from pathlib import Path

import pytest

from thespian_dc.model.position import NO_WRITE_ID, START, Position
from thespian_dc.projection.api import StoredPosition
from thespian_dc.projection.control import (
    OPEN,
    POSITION,
    REBUILD,
    SKIP,
    Change,
    Control,
    Refusal,
    Wish,
    beyond,
    decide,
    mine,
)
from thespian_dc.projection.sqlite.control import SqliteControl
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.sqlite.positions import SqlitePositions

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


def test_nothing_goes_past_the_head_that_is_known() -> None:
    """To the head itself it goes, and where no head is known or another reason refuses it."""
    assert beyond(Wish(1, SKIP, 1, 11, 11), 11, 11).endswith("the slice's head is 11")
    assert beyond(Wish(1, POSITION, 1, 12), 11, 11).startswith("nothing is known to be there")
    assert beyond(Wish(1, SKIP, 1, 11, 11), 11, 12) == ""
    assert beyond(Wish(1, POSITION, 1, 11), 4, 11) == ""
    assert beyond(Wish(1, SKIP, 1, 11, 11), 11, None) == ""
    assert beyond(Wish(1, SKIP, 1, 12, 12), 11, 11) == ""  # it does not stand at 12
    assert beyond(Wish(1, POSITION, 1, 12), 12, 11) == ""  # done before, by one that died


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


# --- kept: in SQL with the handler's part ---


def test_what_the_handler_raises_takes_everything_back(tmp_path: Path) -> None:
    """Positions, effects and the wish are one transaction."""
    store = SqliteControl(SqliteDatabase(f"sqlite:///{tmp_path}/c.db"))
    SqlitePositions(store.database).claim("p", range(2), "j")
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
    store.close()

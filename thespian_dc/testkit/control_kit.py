"""The part of the conformance suite of a consumer's database that is about looking after
projections: wishes, workers, holds. `position_kit.PositionConformance` includes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from thespian_dc.model.errors import PositionConflictError
from thespian_dc.model.position import Position
from thespian_dc.model.projection_errors import ControlChangedError, WishesFullError
from thespian_dc.projection.control import (
    DONE,
    OPEN,
    POSITION,
    REBUILD,
    REFUSED,
    SKIP,
    WISHES_MAX,
    WITHDRAWN,
    Control,
)
from thespian_dc.projection.core import Move
from thespian_dc.projection.databases import Stores
from thespian_dc.projection.memory import Changes, Mark
from thespian_dc.projection.parking import ParkedEvent, ParkedMost
from thespian_dc.projection.workers import WorkerRow

P = "popularity"
PLENTY = ParkedMost(1000, 1 << 20)
Open = Callable[[], Stores]


@contextlib.contextmanager
def transaction(stores: Stores, slice_: int = 0) -> Iterator[None]:
    """One transaction of a run that has claimed the slice."""
    row = stores.positions.load(P).slices[slice_]
    stores.database.begin()
    try:
        stores.positions.check(P, slice_, row.epoch, row.position.offset)
        stores.database.lock()
        yield
        stores.database.commit()
    except BaseException:
        stores.database.rollback()
        raise


def move(stores: Stores, move: Move) -> None:
    """A transaction of somebody who read the position before."""
    stores.database.begin()
    try:
        stores.positions.move(P, [move])
        stores.database.commit()
    finally:
        stores.database.rollback()


def event(entity_id: str, seq_nr: int, slice_: int = 0, **changes: Any) -> ParkedEvent:
    found = ParkedEvent(slice_, seq_nr + 10, entity_id, seq_nr, 5, b"record", "no", 1, 7)
    return found._replace(**changes)


class ControlConformance:
    """Override `open_stores`: each call is another process's connection to one database, at first
    empty."""

    @pytest.fixture
    def open_stores(self) -> Open:
        raise NotImplementedError

    @pytest.fixture
    def stores(self, open_stores: Open) -> Stores:
        """Of a run that has claimed slices 0 and 1."""
        found = open_stores()
        found.positions.claim(P, [0, 1], "j")
        return found

    # --- what stays, and versions ---

    def test_each_change_raises_the_version_and_compares_it(self, open_stores: Open) -> None:
        """Of two that decide by the same look one is told to look again."""
        one, other = open_stores().control, open_stores().control
        assert one.control(P) == Control()
        assert one.pause(P, True, expected=0) == 1
        with pytest.raises(ControlChangedError):
            other.rescale(P, 3, expected=0)
        assert other.rescale(P, 3, expected=1) == 2
        assert one.control(P) == Control(2, True, 3)
        one.know(P, 4)
        other.know(P, 4)
        assert other.control(P) == Control(2, True, 3, 4)
        assert one.projections() == [P]

    def test_a_projection_that_only_ran_is_known(self, stores: Stores) -> None:
        assert stores.control.projections() == [P]
        assert stores.control.control(P) == Control()
        assert stores.control.stirred("other") == 0

    # --- wishes ---

    def test_a_wish_ends_once(self, stores: Stores, open_stores: Open) -> None:
        """Done, refused or withdrawn: whoever comes later changes nothing."""
        one, other = stores.control, open_stores().control
        done, refused, gone = (one.wish(P, POSITION, 0, n, None) for n in (5, 6, 7))
        assert [wish.nr for wish in one.control(P).open] == [1, 2, 3]
        assert other.perform(P, done.nr).state == DONE
        assert one.withdraw(P, done.nr).state == DONE
        assert one.refuse(P, refused.nr, "so").state == REFUSED
        assert other.perform(P, refused.nr) == refused._replace(state=REFUSED, said="so")
        assert one.withdraw(P, gone.nr).state == WITHDRAWN
        assert other.perform(P, gone.nr).state == WITHDRAWN
        assert one.offsets(P) == {0: 5, 1: 0}
        assert not one.control(P).open

    def test_performing_raises_the_epoch(self, stores: Stores, open_stores: Open) -> None:
        """Whoever read the position before cannot move it any more; other slices go on."""
        other = open_stores().control
        other.perform(P, other.wish(P, POSITION, 0, 5, 0).nr)
        with pytest.raises(PositionConflictError):
            move(stores, Move(0, 1, 0, Position(3, b"w")))
        move(stores, Move(1, 1, 0, Position(2, b"w")))
        rows = stores.positions.load(P).slices
        assert [rows[n].epoch for n in (0, 1)] == [2, 1]
        assert rows[0].position == Position(5, b"")
        assert other.offsets(P) == {0: 5, 1: 2}

    def test_a_wish_that_does_not_fit_is_refused_with_the_reason(self, stores: Stores) -> None:
        control = stores.control
        for kind, slice_, expected, said in (
            (POSITION, 0, 3, "slice 0 stands at 0, not at 3"),
            (SKIP, 1, 9, "slice 1 stands at 0, not at 9"),
            (POSITION, 7, None, "slice 7 has no position yet"),
        ):
            ended = control.perform(P, control.wish(P, kind, slice_, 9, expected).nr)
            assert (ended.state, ended.said) == (REFUSED, said)
        assert control.offsets(P) == {0: 0, 1: 0}

    def test_a_skipped_event_counts_as_handled(self, stores: Stores) -> None:
        control = stores.control
        assert control.perform(P, control.wish(P, SKIP, 0, 0, 0).nr).state == DONE
        assert control.offsets(P) == {0: 1, 1: 0}
        assert stores.marks.load(P, [0, 1]).skips == {0: frozenset([0])}

    def test_a_rebuild_sets_all_back_and_remembers_nothing(self, stores: Stores) -> None:
        """Nor parked events; where it stood is kept, to say how far the rebuild is."""
        control = stores.control
        control.perform(P, control.wish(P, POSITION, 0, 5, None).nr)
        stores.positions.claim(P, [0, 1], "j")
        with transaction(stores):
            stores.marks.write(P, Changes({}, {}, [(0, "c-1", Mark(4, 11))], []))
            stores.parked.park(P, event("c-1", 5), PLENTY)
        wish = control.wish(P, REBUILD, -1, 0, None)
        assert control.control(P).gathers

        def fails() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            control.perform(P, wish.nr, fails)
        assert control.offsets(P) == {0: 5, 1: 0}
        assert control.wish_of(P, wish.nr).state == OPEN
        assert not control.rebuild_to(P)
        assert control.perform(P, wish.nr).state == DONE
        assert control.offsets(P) == {0: 0, 1: 0}
        assert control.rebuild_to(P) == {0: 5, 1: 0}
        assert stores.marks.marks(P, 0, ["c-1"]) == {}
        assert stores.parked.total(P) == (0, 0)

    def test_a_position_that_is_set_forgets_what_its_slice_parked(self, stores: Stores) -> None:
        """Its events come again, or are to be passed over; other slices keep theirs."""
        control = stores.control
        for slice_ in (0, 1):
            with transaction(stores, slice_):
                stores.parked.park(P, event(f"e{slice_}", 3, slice_), PLENTY)
        control.perform(P, control.wish(P, POSITION, 0, 5, None).nr)
        assert [one.entity_id for one in stores.parked.entities(P)] == ["e1"]
        assert stores.parked.total(P) == (1, 6)
        control.perform(P, control.wish(P, SKIP, 1, 0, 0).nr)
        assert stores.parked.total(P) == (1, 6), "a skipped event says nothing of them"

    def test_wishes_are_bounded(self, stores: Stores) -> None:
        """Open ones by a named error; ended ones are forgotten, the oldest first."""
        control = stores.control
        for _ in range(WISHES_MAX):
            control.wish(P, POSITION, 0, 5, None)
        with pytest.raises(WishesFullError):
            control.wish(P, POSITION, 0, 5, None)
        for nr in (1, 2):
            control.withdraw(P, nr)
        last = control.withdraw(P, control.wish(P, POSITION, 0, 5, None).nr)
        assert control.wish_of(P, last.nr).state == WITHDRAWN
        with pytest.raises(LookupError):
            control.wish_of(P, 1)
        assert len(control.control(P).open) == WISHES_MAX - 2

    # --- workers ---

    def test_a_slice_is_held_by_one(self, open_stores: Open) -> None:
        """Taken from nobody, or from the one it was seen with; given back by its holder alone."""
        one, other = open_stores().control, open_stores().control
        one.hold(P, "a", {0: "", 1: ""})
        other.hold(P, "b", {1: "", 2: ""})
        assert one.workers(P)[1] == {0: "a", 1: "a", 2: "b"}
        other.release(P, "b", [0, 2])
        assert one.workers(P)[1] == {0: "a", 1: "a"}
        other.hold(P, "b", {0: "a", 1: "c"})
        assert one.workers(P)[1] == {0: "b", 1: "a"}

    def test_whoever_comes_goes_holds_or_wishes_stirs_and_a_beat_does_not(
        self, stores: Stores, open_stores: Open
    ) -> None:
        """Workers look at one number all the time."""
        one, other = stores.control, open_stores().control
        steps: list[Any] = [
            lambda: other.beat(P, WorkerRow("a", 0)),
            lambda: other.hold(P, "a", {0: ""}),
            lambda: other.release(P, "a", [0]),
            lambda: other.know(P, 4),
            lambda: other.pause(P, True),
            lambda: other.wish(P, POSITION, 0, 5, None),
            lambda: other.withdraw(P, 1),
            lambda: other.stir(P),
            lambda: other.leave(P, "a", forget=True),
        ]
        for step in steps:
            before = one.stirred(P)
            step()
            assert one.stirred(P) > before
        other.beat(P, WorkerRow("b", 0))
        before = one.stirred(P)
        other.beat(P, WorkerRow("b", 0))
        one.beat(P, WorkerRow("b", 0))  # over the connection of its run
        other.beat(P, WorkerRow("b", 0, "m", 7, False, 3, 9, '{"phase": "running"}'))
        assert one.stirred(P) == before
        found = WorkerRow("b", 4, "m", 7, False, 3, 9, '{"phase": "running"}')
        assert one.workers(P)[0] == [found]

    def test_a_worker_that_halted_leaves_its_row_and_nothing_else(self, open_stores: Open) -> None:
        """For whoever asks why."""
        control = open_stores().control
        control.beat(P, WorkerRow("a", 0, facts='{"phase": "halted"}'))
        control.beat(P, WorkerRow("b", 0))
        control.hold(P, "a", {0: ""})
        control.leave(P, "a", forget=False)
        control.leave(P, "c", forget=False)  # nobody
        rows, holders = control.workers(P)
        assert [(row.worker, row.leaving) for row in rows] == [("a", True), ("b", False)]
        assert rows[0].facts == '{"phase": "halted"}'
        assert not holders

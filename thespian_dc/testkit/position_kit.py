"""The conformance suite of what a projection keeps in its consumer's database: positions, parked
events, tries, marks and filters, wishes and workers. A backend inherits it:

    class TestMyStores(PositionConformance):
        @pytest.fixture
        def open_stores(self):
            yield lambda: ...                    # Stores over the same, at first empty, database

Each call is another process's connection, as far as the stores can tell.
"""

# ruff: noqa: PT012  a transaction raises where it ends

from __future__ import annotations

import pytest

from thespian_dc.model.criteria import Criteria, Filter, VersionedFilter
from thespian_dc.model.errors import JournalDivergedError, PositionConflictError
from thespian_dc.model.handler_errors import ParkedFullError, UnknownParkedError
from thespian_dc.model.position import START, Position
from thespian_dc.model.projection_errors import FilterChangedError
from thespian_dc.projection.api import StoredPosition
from thespian_dc.projection.attempts import Attempt
from thespian_dc.projection.core import Move
from thespian_dc.projection.databases import Stores
from thespian_dc.projection.memory import Changes, Debt, Mark, SliceMemory, Start
from thespian_dc.projection.parking import RETRY, SKIP, ParkedMost, ParkedWish
from thespian_dc.testkit.control_kit import (
    PLENTY,
    ControlConformance,
    Open,
    P,
    event,
    transaction,
)


class PositionConformance(ControlConformance):
    """All parts. Override `open_stores`."""

    # --- positions ---

    def test_nothing_is_stored_of_a_projection_that_never_ran(self, open_stores: Open) -> None:
        loaded = open_stores().positions.load(P)
        assert (loaded.journal_id, dict(loaded.slices)) == ("", {})

    def test_each_claim_raises_the_epoch(self, open_stores: Open) -> None:
        """Of the slices named, and of no other projection."""
        first = open_stores().positions
        assert first.claim(P, [0, 1], "j").slices[1] == StoredPosition(1, START)
        assert open_stores().positions.claim(P, [1], "j").slices == {1: StoredPosition(2, START)}
        assert [row.epoch for row in first.load(P).slices.values()] == [1, 2]
        assert not first.load("other").slices

    def test_rows_of_another_journal_are_not_claimed(self, stores: Stores) -> None:
        with pytest.raises(JournalDivergedError):
            stores.positions.claim(P, [0], "another")
        assert stores.positions.load(P).slices[0].epoch == 1

    def test_a_move_is_there_for_all_when_it_is_committed(
        self, stores: Stores, open_stores: Open
    ) -> None:
        with transaction(stores):
            stores.positions.move(P, [Move(0, 1, 0, Position(5, b"w5"))])
        with transaction(stores):
            stores.positions.move(P, [Move(0, 1, 5, Position(7, b"w7"))])
        loaded = open_stores().positions.load(P)
        assert loaded.slices[0] == StoredPosition(1, Position(7, b"w7"))
        assert loaded.slices[1] == StoredPosition(1, START)
        assert loaded.journal_id == "j"

    def test_what_is_rolled_back_was_never_there(self, stores: Stores) -> None:
        with pytest.raises(ZeroDivisionError), transaction(stores):
            stores.positions.move(P, [Move(0, 1, 0, Position(5, b"w5"))])
            stores.parked.park(P, event("c-1", 1), PLENTY)
            raise ZeroDivisionError
        assert stores.positions.load(P).slices[0] == StoredPosition(1, START)
        assert stores.parked.total(P) == (0, 0)

    @pytest.mark.parametrize("move", [Move(0, 1, 3, Position(5, b"w")), Move(0, 9, 0, START)])
    def test_another_offset_or_epoch_moves_nothing(self, stores: Stores, move: Move) -> None:
        """Nor does anything else of that transaction happen."""
        with pytest.raises(PositionConflictError), transaction(stores):
            stores.parked.park(P, event("c-1", 1), PLENTY)
            stores.positions.move(P, [move])
        assert stores.positions.load(P).slices[0] == StoredPosition(1, START)
        assert stores.parked.total(P) == (0, 0)

    def test_who_lost_the_slice_changes_nothing_of_it(
        self, stores: Stores, open_stores: Open
    ) -> None:
        """A zombie's transaction, gathered while it still owned the slice."""
        stores.database.begin(lambda: stores.positions.check(P, 0, 1, 0))
        stores.positions.check(P, 0, 1, 0)
        other = open_stores()
        other.positions.claim(P, [0], "j")
        with pytest.raises(PositionConflictError):
            stores.positions.check(P, 0, 1, 0)
        with pytest.raises(PositionConflictError):
            stores.database.lock()
            stores.parked.park(P, event("c-1", 1), PLENTY)
            stores.positions.move(P, [Move(0, 1, 0, Position(5, b"w5"))])
            stores.database.commit()
        stores.database.rollback()
        assert other.positions.load(P).slices[0] == StoredPosition(2, START)
        assert other.parked.total(P) == (0, 0)

    def test_slices_are_placed_where_a_projection_begins(
        self, stores: Stores, open_stores: Open
    ) -> None:
        """New ones, and with `moves` those that have a position; what was remembered there goes."""
        with transaction(stores):
            stores.marks.write(P, Changes({}, {}, [(0, "c-1", Mark(4, 11))], []))
        there, new = Position(9, b"w9"), Position(3, b"w3")
        stores.positions.place(P, "j", {0: there, 2: new}, moves=False)
        loaded = open_stores().positions.load(P).slices
        assert (loaded[0], loaded[2].position) == (StoredPosition(1, START), new)
        assert stores.marks.marks(P, 0, ["c-1"]) == {"c-1": Mark(4, 11)}
        stores.positions.place(P, "j", {0: there}, moves=True)
        loaded = open_stores().positions.load(P).slices
        assert loaded[0] == StoredPosition(2, there)
        assert stores.marks.marks(P, 0, ["c-1"]) == {}
        assert stores.marks.load(P, [0, 2]).slices == {0: SliceMemory(9), 2: SliceMemory(3)}
        with pytest.raises(JournalDivergedError):
            stores.positions.place(P, "another", {0: START}, moves=True)

    # --- parked ---

    def test_parked_events_come_back_in_order(self, stores: Stores, open_stores: Open) -> None:
        for seq_nr in (1, 2, 10):
            with transaction(stores):
                stores.parked.park(P, event("c-1", seq_nr), PLENTY)
        with transaction(stores, 1):
            stores.parked.park(P, event("c", 3, slice_=1), PLENTY)
        parked = open_stores().parked
        assert parked.events(P, "c-1") == [event("c-1", nr) for nr in (1, 2, 10)]
        assert parked.events(P, "c-1", after_seq_nr=1, limit=1) == [event("c-1", 2)]
        assert parked.held(P, [0]) == {"c-1": 3}
        assert parked.held(P, [0, 1]) == {"c-1": 3, "c": 1}
        assert parked.total(P) == (4, 24)
        assert [(one.entity_id, one.events) for one in parked.entities(P)] == [("c", 1), ("c-1", 3)]
        assert [one.entity_id for one in parked.entities(P, after="c")] == ["c-1"]
        assert [one.entity_id for one in parked.entities(P, limit=1)] == ["c"]

    def test_an_event_that_is_parked_already_stays_as_it_is(self, stores: Stores) -> None:
        for cause in ("first", "second"):
            with transaction(stores):
                stores.parked.park(P, event("c-1", 1, cause=cause), PLENTY)
        assert stores.parked.entities(P)[0].cause == "first"
        assert stores.parked.total(P) == (1, 6)

    @pytest.mark.parametrize("most", [ParkedMost(2, 1000), ParkedMost(100, 17)])
    def test_no_more_is_parked_than_may_be(self, stores: Stores, most: ParkedMost) -> None:
        for seq_nr in (1, 2):
            with transaction(stores):
                stores.parked.park(P, event("c-1", seq_nr), most)
        with pytest.raises(ParkedFullError), transaction(stores):
            stores.parked.park(P, event("c-1", 3), most)
        assert stores.parked.total(P) == (2, 12)

    def test_a_try_and_a_release_are_part_of_the_transaction(self, stores: Stores) -> None:
        with transaction(stores):
            stores.parked.park(P, event("c-1", 1), PLENTY)
            stores.parked.park(P, event("c-1", 2), PLENTY)
        with transaction(stores):
            stores.parked.tried(P, event("c-1", 1, cause="again", attempts=4))
        [entity] = stores.parked.entities(P)
        assert (entity.cause, entity.attempts, entity.size_bytes) == ("again", 4, 12)
        with transaction(stores):
            stores.parked.remove(P, event("c-1", 1))
            stores.parked.remove(P, event("c-1", 2))
        assert stores.parked.entities(P) == []
        assert stores.parked.held(P, [0]) == {}
        assert stores.parked.total(P) == (0, 0)

    def test_all_of_a_slice_is_forgotten(self, stores: Stores) -> None:
        with transaction(stores):
            stores.parked.park(P, event("c-1", 1), PLENTY)
        with transaction(stores, 1):
            stores.parked.park(P, event("c-2", 1, slice_=1), PLENTY)
        with transaction(stores):
            stores.parked.forget(P, 0)
        assert [one.entity_id for one in stores.parked.entities(P)] == ["c-2"]
        assert stores.parked.total(P) == (1, 6)

    def test_a_wish_is_for_what_its_writer_saw(self, stores: Stores, open_stores: Open) -> None:
        with transaction(stores):
            stores.parked.park(P, event("c-1", 4), PLENTY)
        other = open_stores().parked
        for wrong in (("c-2", None), ("c-1", 3)):
            with pytest.raises(UnknownParkedError):
                other.wish(P, RETRY, *wrong)
        other.wish(P, RETRY, "c-1")
        other.wish(P, SKIP, "c-1", 4)
        wish = ParkedWish("c-1", 0, 4, SKIP)
        assert stores.parked.wishes(P, [0, 1]) == [wish]
        assert stores.parked.wishes(P, [1]) == []
        assert other.entities(P)[0].wished == SKIP
        with transaction(stores):
            stores.parked.change_wish(P, wish._replace(what=RETRY), None)  # another took its place
        assert stores.parked.wishes(P, [0]) == [wish]
        with transaction(stores):
            stores.parked.change_wish(P, wish, wish._replace(seq_nr=0, what=RETRY))
        assert stores.parked.wishes(P, [0]) == [ParkedWish("c-1", 0, 0, RETRY)]
        with transaction(stores):
            stores.parked.change_wish(P, ParkedWish("c-1", 0, 0, RETRY), None)
        assert stores.parked.wishes(P, [0]) == []

    # --- tries ---

    def test_a_run_that_vanished_is_told_from_one_that_ended(
        self, stores: Stores, open_stores: Open
    ) -> None:
        assert dict(stores.attempts.began(P, {0: 1, 1: 1})) == {}
        stores.attempts.trying(P, 0, 7, 9, 1, owed=False)
        stores.attempts.trying(P, 0, 2, 6, 1, owed=True)
        stores.attempts.trying(P, 0, 7, 8, 2, owed=False)
        stores.attempts.trying(P, 0, 2, 3, 4, owed=True)
        second = open_stores()
        second.positions.claim(P, [0, 1], "j")
        found = second.attempts.began(P, {0: 2, 1: 2})
        assert found == {0: Attempt(True, 7, 8, 2, (2, 3, 4)), 1: Attempt(True, 0, 0, 0)}
        stores.attempts.ended(P, {0: 1, 1: 1}, forget=True)  # of before: another has them now
        second.attempts.ended(P, {0: 2}, forget=False)
        third = open_stores()
        third.positions.claim(P, [0, 1], "j")
        found = third.attempts.began(P, {0: 3, 1: 3})
        assert found == {0: Attempt(False, 7, 8, 2, (2, 3, 4)), 1: Attempt(True, 0, 0, 0)}
        third.attempts.ended(P, {0: 3, 1: 3}, forget=True)
        fourth = open_stores()
        fourth.positions.claim(P, [0], "j")
        assert fourth.attempts.began(P, {0: 4}) == {0: Attempt(False, 7, 8, 0)}

    # --- marks and filters ---

    def test_marks_and_debts_are_part_of_the_transaction(
        self, stores: Stores, open_stores: Open
    ) -> None:
        memory = SliceMemory(3, 10, [Start(10, 1), Start(20, 2)])
        filters = {1: EXCLUDING, 2: Filter()}
        debt = Debt(5, 12, 0, 2)
        with transaction(stores):
            marks, debts = [(0, "c-1", Mark(4, 11)), (0, "c-2", Mark(1, 2))], [(0, "c-1", debt)]
            stores.marks.write(P, Changes({0: memory}, filters, marks, debts))
        with pytest.raises(ZeroDivisionError), transaction(stores):
            stores.marks.write(P, Changes({}, {}, [(0, "c-1", Mark(9, 99))], [(0, "c-1", None)]))
            raise ZeroDivisionError
        other = open_stores().marks
        loaded = other.load(P, [0, 1])
        assert loaded.slices[0] == memory
        assert loaded.filters == filters
        assert loaded.debts == {"c-1": (0, debt)}
        assert loaded.marks == {"c-1": Mark(4, 11)}
        assert other.marks(P, 0, ["c-1", "c-2", "c-3"]) == {"c-1": (4, 11), "c-2": (1, 2)}
        with transaction(stores):
            stores.marks.write(P, Changes({}, {}, [], [(0, "c-1", None)]))
            stores.marks.skip(P, 0, 8)
        loaded = other.load(P, [0])
        assert (loaded.debts, loaded.skips) == ({}, {0: frozenset([8])})
        with transaction(stores):
            stores.marks.forget(P, 0, 30)
        loaded = other.load(P, [0])
        assert (loaded.slices, loaded.skips) == ({0: SliceMemory(30)}, {})
        assert other.marks(P, 0, ["c-1"]) == {}

    def test_a_filter_is_changed_from_the_version_that_was_seen(self, open_stores: Open) -> None:
        filters, other = open_stores().filters, open_stores().filters
        assert filters.read(P).version == 0
        first = filters.begin(P, EXCLUDING)
        assert first == VersionedFilter(1, EXCLUDING)
        assert other.begin(P, EXCLUDING) == first  # another start with the same settings
        changed = other.change(P, 1, Filter())
        assert filters.read(P) == changed == VersionedFilter(2, Filter())
        with pytest.raises(FilterChangedError):
            filters.change(P, 1, EXCLUDING)
        assert filters.begin(P, EXCLUDING) == changed  # what was changed outlives a restart


EXCLUDING = Filter(exclude=Criteria(entity_ids=("c-9",)))

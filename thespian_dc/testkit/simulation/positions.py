"""The simulated sink: a consumer's effects and its positions, in one database.

A transaction is one step: all of it or nothing, in the order of the calls. What it holds outlives
every crash of a consumer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from thespian_dc.model.criteria import UNFILTERED, Filter, VersionedFilter
from thespian_dc.model.errors import JournalDivergedError, PositionConflictError
from thespian_dc.model.position import START
from thespian_dc.projection.api import StoredPosition, StoredPositions
from thespian_dc.projection.core import Move
from thespian_dc.projection.memory import Changes, Debt, Mark, SliceMemory, StoredMemory
from thespian_dc.projection.workers import WorkerRow


class Effect(NamedTuple):
    """One handled event, as the handler wrote it down. shown: the payload that it saw. whole: it
    stands for all of the entity before it."""

    slice: int
    offset: int
    entity_id: str
    seq_nr: int
    shown: bytes
    whole: bool = False


class SimulatedPositions:
    """Of one projection. `on_move` tells the checker who moved a position under which epoch."""

    def __init__(self) -> None:
        self.rows: dict[int, StoredPosition] = {}
        self.journal_id = ""
        self.effects: list[Effect] = []
        self.wanted: VersionedFilter = UNFILTERED
        self.wishes: dict[int, Filter] = {0: UNFILTERED.filter}
        self.memory: dict[int, SliceMemory] = {}
        self.filters: dict[int, Filter] = {}
        self.marks: dict[str, Mark] = {}
        self.debts: dict[str, tuple[int, Debt]] = {}
        self.workers: dict[str, WorkerRow] = {}
        self.holders: dict[int, str] = {}
        self.on_move: Callable[[Move, int], None] = lambda move, epoch: None

    def load(self) -> StoredPositions:
        return StoredPositions(self.journal_id, dict(self.rows))

    def claim(self, slices: Sequence[int], journal_id: str) -> StoredPositions:
        """Raise the epoch of each slice by one; its former consumer moves nothing any more."""
        if self.rows and self.journal_id != journal_id:
            raise JournalDivergedError("projection simulated", 0, f"its id is {journal_id}")
        self.journal_id = journal_id
        for slice_ in slices:
            epoch, position = self.rows.get(slice_, StoredPosition(0, START))
            self.rows[slice_] = StoredPosition(epoch + 1, position)
        return StoredPositions(journal_id, {slice_: self.rows[slice_] for slice_ in slices})

    def want(self, filter_: Filter) -> None:
        """Somebody changes the filter."""
        self.wanted = VersionedFilter(self.wanted.version + 1, filter_)
        self.wishes[self.wanted.version] = filter_

    def remembered(self, slices: Sequence[int]) -> StoredMemory:
        """What is remembered of these slices."""
        debts = {one: debt for one, debt in self.debts.items() if debt[0] in slices}
        return StoredMemory(
            {slice_: self.memory[slice_].copy() for slice_ in slices if slice_ in self.memory},
            dict(self.filters), debts,
            {one: self.marks[one] for one in debts if one in self.marks},
        )  # fmt: skip

    def transact(
        self,
        effects: Sequence[Effect],
        moves: Sequence[Move],
        changes: Changes,
        checks: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        """All together; PositionConflictError leaves everything out. checks: (slice, epoch,
        offset) that a row must have where no move says so."""
        self._compare([*checks, *(move[:3] for move in moves)])
        self._remember(changes)
        for move in moves:
            self.on_move(move, self.rows[move.slice].epoch)
            self.rows[move.slice] = StoredPosition(move.epoch, move.position)
        self.effects += effects

    def _compare(self, rows: Sequence[tuple[int, int, int]]) -> None:
        for slice_, epoch, expected in rows:
            row = self.rows[slice_]
            if (row.epoch, row.position.offset) != (epoch, expected):
                found = f"{row.position.offset} under epoch {row.epoch}"
                raise PositionConflictError("simulated", slice_, expected, found)

    def _remember(self, changes: Changes) -> None:
        self.memory |= {slice_: memory.copy() for slice_, memory in changes.slices.items()}
        self.filters |= changes.filters
        self.marks |= {one: mark for _, one, mark in changes.marks}
        for slice_, one, debt in changes.debts:
            if debt is None:
                self.debts.pop(one, None)
            else:
                self.debts[one] = slice_, debt

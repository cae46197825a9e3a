"""What a run remembers of entities: what is committed, and over it what the open transaction would
store. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from thespian_dc.model.criteria import Filter
from thespian_dc.projection.memory import Changes, Debt, Mark, SliceMemory, StoredMemory

MARKS_MAX = 100_000
"""Kept in memory between transactions, the last ones written; the others are read again."""


class OpenMemory:
    """Of the slices that one run serves. An entity id belongs to one slice only."""

    def __init__(self, marks_max: int = MARKS_MAX) -> None:
        self._marks_max = marks_max
        self._slices: dict[int, SliceMemory] = {}
        self._marks: dict[str, Mark] = {}
        self._debts: dict[str, tuple[int, Debt]] = {}
        self._looked_through: dict[str, int] = {}
        self.roll_back()

    def load(self, stored: StoredMemory) -> None:
        """These rows, of slices that are served from now on."""
        self._slices |= {slice_: memory.copy() for slice_, memory in stored.slices.items()}
        self._debts |= stored.debts
        for entity_id, (slice_, _) in stored.debts.items():
            self.on_marks(slice_, [entity_id], stored.marks)

    def missing(self, entity_ids: Iterable[str]) -> list[str]:
        """Those whose mark is not known here."""
        return [
            one for one in dict.fromkeys(entity_ids)
            if one not in self._marks and one not in self._new_marks
        ]  # fmt: skip

    def on_marks(self, slice_: int, asked: Sequence[str], found: Mapping[str, Mark]) -> None:
        """The stored marks of those of `asked` that have one."""
        unmarked = Mark(0, max(0, self.slice(slice_).began))
        for entity_id in asked:
            self._marks[entity_id] = found.get(entity_id, unmarked)

    # --- as the open transaction sees it ---

    def slice(self, slice_: int) -> SliceMemory:
        """Not to be changed."""
        found = self._new_slices.get(slice_) or self._slices.get(slice_)
        return found if found is not None else SliceMemory()

    def mark(self, entity_id: str) -> Mark:
        """KeyError where it is `missing`."""
        new = self._new_marks.get(entity_id)
        return new[1] if new is not None else self._marks[entity_id]

    def debt(self, entity_id: str) -> Debt | None:
        """What is owed to the entity."""
        found = self._new_debts.get(entity_id) or self._debts.get(entity_id)
        return found[1] if found is not None else None

    def change_slice(self, slice_: int) -> SliceMemory:
        """To be changed by the open transaction."""
        return self._new_slices.setdefault(slice_, self.slice(slice_).copy())

    def put_mark(self, slice_: int, entity_id: str, mark: Mark) -> None:
        """Instead of the one it has."""
        self._new_marks[entity_id] = slice_, mark

    def put_debt(self, slice_: int, entity_id: str, debt: Debt | None) -> None:
        """Instead of the one it has; None: it is paid."""
        self._new_debts[entity_id] = slice_, debt

    def put_looked_through(self, entity_id: str, seq_nr: int) -> None:
        """Up to here what is owed was looked up."""
        self._new_looked_through[entity_id] = seq_nr

    # --- as it is committed ---

    @property
    def debts(self) -> Mapping[str, tuple[int, Debt]]:
        """(slice, debt) by entity."""
        return self._debts

    def looked_through(self, entity_id: str) -> int:
        """Up to where what is owed was looked up; 0: nothing was."""
        return self._looked_through.get(entity_id, 0)

    def versions(self) -> set[int]:
        """Versions of the filter that slices were evaluated under."""
        return {start.version for memory in self._slices.values() for start in memory.starts}

    # --- the end of a transaction ---

    @property
    def slices_changed(self) -> bool:
        """By the open one."""
        return bool(self._new_slices)

    def changes(self, filters: Mapping[int, Filter]) -> Changes:
        """What it must store before it commits. filters: all that are known, by version."""
        versions = {
            start.version for memory in self._new_slices.values() for start in memory.starts
        }
        return Changes(
            self._new_slices,
            {version: filters[version] for version in versions if version in filters},
            [(slice_, one, mark) for one, (slice_, mark) in self._new_marks.items()],
            [(slice_, one, debt) for one, (slice_, debt) in self._new_debts.items()],
        )

    def commit(self) -> list[str]:
        """The changes are durable. Entities that were owed nothing before, and are now."""
        self._slices |= self._new_slices
        self._looked_through |= self._new_looked_through
        for entity_id, (_, mark) in self._new_marks.items():
            self._marks.pop(entity_id, None)
            self._marks[entity_id] = mark
        owed = []
        for entity_id, (slice_, debt) in self._new_debts.items():
            if debt is None:
                del self._debts[entity_id]
                self._looked_through.pop(entity_id, None)
            else:
                if entity_id not in self._debts:
                    owed.append(entity_id)
                self._debts[entity_id] = slice_, debt
        self.roll_back()
        excess = len(self._marks) - self._marks_max
        for entity_id in list(islice(self._marks, max(0, excess))):
            if entity_id not in self._debts:
                del self._marks[entity_id]
        return owed

    def roll_back(self) -> None:
        """The changes are none."""
        self._new_slices: dict[int, SliceMemory] = {}
        self._new_marks: dict[str, tuple[int, Mark]] = {}
        self._new_debts: dict[str, tuple[int, Debt | None]] = {}
        self._new_looked_through: dict[str, int] = {}

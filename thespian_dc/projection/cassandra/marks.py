"""What a projection remembers of entities, and the filter wanted of it, in Cassandra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgpack

from thespian_dc.model.criteria import UNFILTERED, Filter, VersionedFilter, filter_from, plain_of
from thespian_dc.model.projection_errors import FilterChangedError
from thespian_dc.projection.cassandra.cells import TRIES_MAX, Cells
from thespian_dc.projection.cassandra.database import CassandraDatabase
from thespian_dc.projection.memory import Changes, Debt, Mark, SliceMemory, Start, StoredMemory

MEMORY, MARK, DEBT, SKIPS = "memory", "mark", "debt", "skips"
_FILTER = "filter"


class CassandraMarks:
    """Implements projection.store.MarkStore: rows of the slice's partition, written with its
    position. A slice's memory holds the filters it was evaluated under."""

    def __init__(self, database: CassandraDatabase) -> None:
        self._database = database
        self._filters: dict[int, Filter] = {}

    def load(self, projection: str, slices: Iterable[int]) -> StoredMemory:
        """See MarkStore."""
        memories: dict[int, SliceMemory] = {}
        debts: dict[str, tuple[int, Debt]] = {}
        marks: dict[str, Mark] = {}
        skips: dict[int, frozenset[int]] = {}
        for slice_ in slices:
            stored = self._value(projection, slice_, MEMORY)
            if stored is not None:
                baseline, began, starts, filters = stored
                memories[slice_] = SliceMemory(baseline, began, [Start(*one) for one in starts])
                self._filters.update((v, filter_from(plain)) for v, plain in filters)
            for (entity_id,) in self._database.rows("keys", projection, slice_, DEBT):
                debts[entity_id] = slice_, Debt(*self._value(projection, slice_, DEBT, entity_id))
                marks.update(self.marks(projection, slice_, [entity_id]))
            if found := self._value(projection, slice_, SKIPS):
                skips[slice_] = frozenset(found)
        return StoredMemory(memories, dict(self._filters), debts, marks, skips)

    def marks(self, projection: str, slice_: int, entity_ids: Sequence[str]) -> Mapping[str, Mark]:
        """See MarkStore."""
        database = self._database
        statements = [database.bind("row", projection, slice_, MARK, one) for one in entity_ids]
        with database.named():
            answers = database.access.all(statements)
        pairs = zip(entity_ids, answers, strict=True)
        return {one: Mark(*msgpack.unpackb(rows[0][0])) for one, rows in pairs if rows}

    def write(self, projection: str, changes: Changes) -> None:
        """See MarkStore."""
        self._filters.update(changes.filters)
        for slice_, memory in changes.slices.items():
            self._stage_memory(projection, slice_, memory)
        for slice_, entity_id, mark in changes.marks:
            self._database.stage((projection, slice_), MARK, entity_id, list(mark))
        for slice_, entity_id, debt in changes.debts:
            plain = None if debt is None else list(debt)
            self._database.stage((projection, slice_), DEBT, entity_id, plain, delete=debt is None)

    def begin_at(self, projection: str, baselines: Mapping[int, int]) -> None:
        """See MarkStore."""
        for slice_, offset in baselines.items():
            self._stage_memory(projection, slice_, SliceMemory(offset))

    def forget(self, projection: str, slice_: int, baseline: int) -> None:
        """See MarkStore."""
        for kind in (MARK, DEBT):
            self._database.stage_drop((projection, slice_), kind)
        self._database.stage((projection, slice_), SKIPS, "", [])
        self.begin_at(projection, {slice_: baseline})

    def skip(self, projection: str, slice_: int, offset: int) -> None:
        """See MarkStore."""
        known = self._value(projection, slice_, SKIPS) or []
        self._database.stage((projection, slice_), SKIPS, "", sorted({*known, offset}))

    def owes(self, projection: str, slice_: int) -> bool:
        """Whether events of the slice are yet to be looked up."""
        return bool(self._database.rows("rows_from", projection, slice_, DEBT, "", 1))

    def _stage_memory(self, projection: str, slice_: int, memory: SliceMemory) -> None:
        versions = {start.version for start in memory.starts}
        filters = [(v, plain_of(self._filters[v])) for v in sorted(versions & self._filters.keys())]
        starts = [list(start) for start in memory.starts]
        value = [memory.baseline, memory.began, starts, filters]
        self._database.stage((projection, slice_), MEMORY, "", value)

    def _value(self, projection: str, slice_: int, kind: str, key: str = "") -> Any:
        rows = self._database.rows("row", projection, slice_, kind, key)
        return msgpack.unpackb(rows[0][0]) if rows else None


class CassandraFilters:
    """Implements projection.store.FilterStore: a cell, [filter, what the settings said]."""

    def __init__(self, database: CassandraDatabase) -> None:
        self._cells = Cells(database)

    def read(self, projection: str) -> VersionedFilter:
        """See FilterStore."""
        return _filter_of(*self._cells.read(projection, _FILTER))

    def begin(self, projection: str, initial: Filter) -> VersionedFilter:
        """See FilterStore."""
        plain = plain_of(initial)
        for _ in range(TRIES_MAX):
            version, stored = self._cells.read(projection, _FILTER)
            if (stored[1] if stored else plain_of(Filter())) == plain:
                return _filter_of(version, stored)
            if self._cells.put_next(projection, _FILTER, version, [plain, plain]):
                return VersionedFilter(version + 1, initial)
        raise FilterChangedError(projection, version, self.read(projection).version)

    def change(self, projection: str, expected: int, wanted: Filter) -> VersionedFilter:
        """See FilterStore."""
        version, stored = self._cells.read(projection, _FILTER)
        initial = stored[1] if stored else plain_of(Filter())
        value = [plain_of(wanted), initial]
        if version != expected or not self._cells.put_next(projection, _FILTER, version, value):
            raise FilterChangedError(projection, expected, self.read(projection).version)
        return VersionedFilter(expected + 1, wanted)


def _filter_of(version: int, stored: Any) -> VersionedFilter:
    return UNFILTERED if not version else VersionedFilter(version, filter_from(stored[0]))

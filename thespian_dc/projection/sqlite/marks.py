"""What a projection remembers of entities, in a consumer's SQLite database: marks, debts, and under
which filters each slice was evaluated.

All writes but `skip` and `forget` are part of the transaction that moves the position.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from thespian_dc.model.criteria import Filter, filter_from, plain_of
from thespian_dc.projection.memory import Changes, Debt, Mark, SliceMemory, Start, StoredMemory
from thespian_dc.projection.sqlite.database import SqliteDatabase

_SCHEMA = """
create table if not exists thespian_dc_memory(
    projection text not null, slice integer not null, baseline integer not null,
    began integer not null, primary key (projection, slice)) without rowid;
create table if not exists thespian_dc_filter_starts(
    projection text not null, slice integer not null, offset integer not null,
    version integer not null, primary key (projection, slice, offset)) without rowid;
create table if not exists thespian_dc_filters_used(
    projection text not null, version integer not null, filter text not null,
    primary key (projection, version)) without rowid;
create table if not exists thespian_dc_marks(
    projection text not null, slice integer not null, entity_id text not null,
    seq_nr integer not null, offset integer not null,
    primary key (projection, slice, entity_id)) without rowid;
create table if not exists thespian_dc_debts(
    projection text not null, slice integer not null, entity_id text not null,
    through integer not null, offset integer not null, below_offset integer not null,
    from_seq_nr integer not null, primary key (projection, slice, entity_id)) without rowid;
create table if not exists thespian_dc_skips(
    projection text not null, slice integer not null, offset integer not null,
    primary key (projection, slice, offset)) without rowid;
"""
_OF_SLICE = ("memory", "filter_starts", "marks", "debts", "skips")
_HERE = "where projection = ? and slice in (select value from json_each(?))"
_MARKS = (
    "select entity_id, seq_nr, offset from thespian_dc_marks "
    "where projection = ? and slice = ? and entity_id in (select value from json_each(?))"
)
_OWED_MARKS = (
    "select entity_id, m.seq_nr, m.offset from thespian_dc_marks m "
    f"join thespian_dc_debts using (projection, slice, entity_id) {_HERE}"
)
_DROP_FILTERS = (
    "delete from thespian_dc_filters_used where projection = ?1 and version not in "
    "(select version from thespian_dc_filter_starts where projection = ?1)"
)


class SqliteMarks:
    """Implements projection.store.MarkStore."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database, self._execute = database, database.execute
        self._executemany = database.executemany
        with database.named():
            database.run_script(_SCHEMA)

    def load(self, projection: str, slices: Iterable[int]) -> StoredMemory:
        """See MarkStore."""
        here = projection, json.dumps(sorted(slices))
        with self._database.named():
            memories = {
                slice_: SliceMemory(baseline, began)
                for slice_, baseline, began in self._execute(
                    f"select slice, baseline, began from thespian_dc_memory {_HERE}", here
                )
            }
            for slice_, *start in self._execute(
                f"select slice, offset, version from thespian_dc_filter_starts {_HERE} "
                "order by slice, offset",
                here,
            ):
                memories[slice_].starts.append(Start(*start))
            debts = {
                entity_id: (slice_, Debt(*debt))
                for entity_id, slice_, *debt in self._execute(
                    "select entity_id, slice, through, offset, below_offset, from_seq_nr "
                    f"from thespian_dc_debts {_HERE}",
                    here,
                )
            }
            marks = {one: Mark(*mark) for one, *mark in self._execute(_OWED_MARKS, here)}
            skips: dict[int, set[int]] = {}
            for slice_, offset in self._execute(
                f"select slice, offset from thespian_dc_skips {_HERE}", here
            ):
                skips.setdefault(slice_, set()).add(offset)
        frozen = {slice_: frozenset(offsets) for slice_, offsets in skips.items()}
        return StoredMemory(memories, self._filters(projection), debts, marks, frozen)

    def _filters(self, projection: str) -> dict[int, Filter]:
        with self._database.named():
            rows = self._execute(
                "select version, filter from thespian_dc_filters_used where projection = ?",
                (projection,),
            ).fetchall()
        return {version: filter_from(json.loads(stored)) for version, stored in rows}

    def marks(self, projection: str, slice_: int, entity_ids: Sequence[str]) -> Mapping[str, Mark]:
        """See MarkStore."""
        asked = projection, slice_, json.dumps(entity_ids)
        with self._database.named():
            return {one: Mark(*mark) for one, *mark in self._execute(_MARKS, asked)}

    def write(self, projection: str, changes: Changes) -> None:
        """See MarkStore."""
        if not changes:
            return
        with self._database.named():
            for slice_, memory in changes.slices.items():
                self._write_slice(projection, slice_, memory)
            if changes.slices:
                self._write_filters(projection, changes.filters)
            self._executemany(
                "insert or replace into thespian_dc_marks values (?, ?, ?, ?, ?)",
                [(projection, slice_, one, *mark) for slice_, one, mark in changes.marks],
            )
            self._executemany(
                "insert or replace into thespian_dc_debts values (?, ?, ?, ?, ?, ?, ?)",
                [(projection, slice_, one, *debt) for slice_, one, debt in changes.debts if debt],
            )
            self._executemany(
                "delete from thespian_dc_debts "
                "where projection = ? and slice = ? and entity_id = ?",
                [(projection, slice_, one) for slice_, one, debt in changes.debts if debt is None],
            )

    def begin_at(self, projection: str, baselines: Mapping[int, int]) -> None:
        """See MarkStore."""
        with self._database.named():
            self._executemany(
                "insert or replace into thespian_dc_memory values (?, ?, ?, -1)",
                [(projection, slice_, offset) for slice_, offset in baselines.items()],
            )

    def forget(self, projection: str, slice_: int, baseline: int) -> None:
        """See MarkStore."""
        with self._database.named():
            for table in _OF_SLICE:
                self._execute(
                    f"delete from thespian_dc_{table} where projection = ? and slice = ?",
                    (projection, slice_),
                )
            self._execute(_DROP_FILTERS, (projection,))
        self.begin_at(projection, {slice_: baseline})

    def skip(self, projection: str, slice_: int, offset: int) -> None:
        """See MarkStore."""
        with self._database.named():
            self._execute(
                "insert or ignore into thespian_dc_skips values (?, ?, ?)",
                (projection, slice_, offset),
            )

    def _write_slice(self, projection: str, slice_: int, memory: SliceMemory) -> None:
        self._execute(
            "insert or replace into thespian_dc_memory values (?, ?, ?, ?)",
            (projection, slice_, memory.baseline, memory.began),
        )
        self._execute(
            "delete from thespian_dc_filter_starts where projection = ? and slice = ?",
            (projection, slice_),
        )
        self._executemany(
            "insert into thespian_dc_filter_starts values (?, ?, ?, ?)",
            [(projection, slice_, *start) for start in memory.starts],
        )

    def _write_filters(self, projection: str, filters: Mapping[int, Filter]) -> None:
        self._execute(_DROP_FILTERS, (projection,))
        self._executemany(
            "insert or ignore into thespian_dc_filters_used values (?, ?, ?)",
            [
                (projection, version, json.dumps(plain_of(filter_)))
                for version, filter_ in filters.items()
            ],
        )

"""The entity index in SQLite: which commits hold an entity's records. `append` writes it.

What it holds are *runs*: an entity's records of one commit, (base_offset, last seq_nr, how many)
and a CRC-32 of these. The row in `entity` keeps the latest, its tail; once these are
`runs_in_tail`, they move together to a row in `chunk`. With a row for each record an append would
touch as many pages as it has entities; this way it touches the few that hold all tails.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import groupby, islice
from typing import NamedTuple
from zlib import crc32

from thespian_dc.journal.reading import IndexRow, damage_of
from thespian_dc.journal.sqlite.slice_row import SliceRow
from thespian_dc.model.errors import CorruptRecordError, TrimmedError
from thespian_dc.model.record import Commit, seq_nr_runs

RUNS_IN_TAIL = 16
NAMES_MAX = 200_000
_RUN, _CHECKED_RUN = struct.Struct(">QQI"), struct.Struct(">20sI")
_NO_END = (1 << 63) - 1
_EXTEND = (  # the second fence: no record with this or a later seq_nr is there
    "insert into entity(slice, entity_id, last_seq_nr, tail) values (?1, ?2, ?3, ?4)"
    " on conflict do update set last_seq_nr = excluded.last_seq_nr,"
    " tail = cast(tail || excluded.tail as blob) where last_seq_nr < ?5"
)
_LONG = "where slice = ? and entity_id = ? and length(tail) >= ?"
_MOVE = (
    f"insert into chunk select slice, entity_id, last_seq_nr, tail from entity {_LONG}",
    f"update entity set tail = x'' {_LONG}",
)


class Run(NamedTuple):
    """An entity's records of one commit: `records` of them, the last one with seq_nr `last`."""

    base_offset: int
    last: int
    records: int

    @property
    def first(self) -> int:
        return self.last - self.records + 1


def packed_run(base_offset: int, last: int, records: int) -> bytes:
    """The bytes of a run; those of several, one after the other, are a tail or a chunk."""
    run = _RUN.pack(base_offset, last, records)
    return run + crc32(run).to_bytes(4, "big")


class EntityIndex:
    """Writes the index, and knows about how many runs are in the tails that this process wrote to.

    A count that is wrong (a transaction was rolled back, another process wrote) makes a chunk
    longer than others, no more: at its first touch a tail is measured.
    """

    def __init__(self, runs_in_tail: int = RUNS_IN_TAIL) -> None:
        self._runs_in_tail = runs_in_tail
        self._tails: dict[tuple[int, str], int] = {}

    def add(self, connection: sqlite3.Connection, placed: Sequence[tuple[int, Commit]]) -> None:
        """Index commits by slice id; IntegrityError where an (entity, seq_nr) is there already."""
        rows: list[tuple[int, str, int, bytes, int]] = []
        long: list[tuple[int, str, int]] = []
        tails, most = self._tails, self._runs_in_tail
        if len(tails) > NAMES_MAX:
            tails.clear()
        for slice_id, commit in placed:
            base = commit.base_offset
            for entity_id, (first, last) in seq_nr_runs(commit).items():
                run = packed_run(base, last, last - first + 1)
                rows.append((slice_id, entity_id, last, run, first))
                name = (slice_id, entity_id)
                count = tails.get(name, most) + 1
                if count > most:
                    long.append((*name, most * _CHECKED_RUN.size))
                    count = 1
                tails[name] = count
        rows.sort()  # neighbours in the table one after the other
        if connection.executemany(_EXTEND, rows).rowcount != len(rows):
            raise sqlite3.IntegrityError("an entity has a record with this or a later seq_nr")
        for statement in _MOVE if long else ():
            connection.executemany(statement, long)


def indexed(
    connection: sqlite3.Connection, row: SliceRow, entity_id: str, from_seq_nr: int,
    until_seq_nr: int | None = None,
) -> list[Run]:  # fmt: skip
    """Runs with the entity's records with from_seq_nr <= seq_nr < until_seq_nr, in order."""
    found = connection.execute(
        "select last_seq_nr, tail from entity where slice = ? and entity_id = ?",
        (row.id, entity_id),
    ).fetchone()
    if found is None:
        return []
    last_seq_nr, _ = found
    latest = _latest(connection, row, entity_id, *found)
    until = _NO_END if until_seq_nr is None else until_seq_nr
    last = min(last_seq_nr, until - 1)
    if last < from_seq_nr:
        return []
    runs: list[Run] = []
    chunks = _chunks(connection, row, entity_id, from_seq_nr)
    for ends_with, packed in chunks:
        runs += _runs_in(row, entity_id, packed, ends_with)
        if ends_with >= last:
            break
    else:
        runs += latest
    chunks.close()
    runs = [run for run in runs if run.last >= from_seq_nr and run.first < until]
    where = f"{row.entity_type}|{entity_id}"
    if runs and runs[0].base_offset < row.trimmed_to:
        raise TrimmedError(where, runs[0].base_offset, row.trimmed_to)
    if not runs and last < last_seq_nr and row.trimmed_to:
        raise TrimmedError(where, 0, row.trimmed_to)
    if not runs or runs[-1].last < last:
        there = runs[-1].base_offset if runs else row.head
        raise damage_of(row.key, there, entity_id, f"the index does not reach its seq_nr {last}")
    return runs


def _chunks(
    connection: sqlite3.Connection, row: SliceRow, entity_id: str, from_seq_nr: int
) -> sqlite3.Cursor:
    """(last seq_nr, packed runs) of chunks that end with from_seq_nr or later, in order."""
    return connection.execute(
        "select last_seq_nr, runs from chunk"
        " where slice = ? and entity_id = ? and last_seq_nr >= ? order by last_seq_nr",
        (row.id, entity_id, from_seq_nr),
    )


def _latest(
    connection: sqlite3.Connection, row: SliceRow, entity_id: str, last_seq_nr: int, tail: bytes
) -> list[Run]:
    """The runs of the tail. Where it has none, the last chunk must lead up to the last seq_nr."""
    if tail:
        return _runs_in(row, entity_id, tail, last_seq_nr)
    select = "select max(last_seq_nr) from chunk where slice = ? and entity_id = ?"
    (ends_with,) = connection.execute(select, (row.id, entity_id)).fetchone()
    if ends_with != last_seq_nr:
        raise _no_end(row, entity_id, ends_with, last_seq_nr)
    return []


def _runs_in(row: SliceRow, entity_id: str, packed: bytes, last_seq_nr: int) -> list[Run]:
    """The runs of a tail or a chunk; damage unless they end with the seq_nr that stands beside."""
    reason = f"its runs in the index do not end with seq_nr {last_seq_nr}"
    runs: list[Run] = []
    with suppress(struct.error, TypeError):
        for fields, crc in _CHECKED_RUN.iter_unpack(packed):
            if crc32(fields) != crc:
                reason = "a run of it in the index does not match its checksum"
                break
            runs.append(Run(*_RUN.unpack(fields)))
        else:
            if runs and runs[-1].last == last_seq_nr:
                return runs
    there = runs[-1].base_offset if runs else row.head
    raise damage_of(row.key, there, entity_id, reason)


def drop_trimmed(connection: sqlite3.Connection, row: SliceRow, commits: Sequence[Commit]) -> None:
    """Forget chunks of these alone, but each entity's last: it tells trimmed from never there."""
    gone: dict[str, int] = {}
    for commit in commits:
        gone.update((name, last) for name, (_, last) in seq_nr_runs(commit).items())
    connection.executemany(
        "delete from chunk where slice = ?1 and entity_id = ?2 and last_seq_nr <= ?3"
        " and last_seq_nr < (select last_seq_nr from entity where slice = ?1 and entity_id = ?2)",
        [(row.id, name, last) for name, last in gone.items()],
    )


def list_entity_ids(
    connection: sqlite3.Connection, slice_ids: Sequence[int], after: str, limit: int
) -> list[str]:
    """Ids greater than `after`, in order, at most `limit`, over these slices."""
    select = "select entity_id from entity where slice = ? and entity_id > ? order by 1 limit ?"
    pages = [connection.execute(select, (number, after, limit)).fetchall() for number in slice_ids]
    return [name for (name,) in islice(merge(*pages), limit)]


def all_rows(connection: sqlite3.Connection, row: SliceRow) -> Iterator[IndexRow | Exception]:
    """The whole index of a slice: one row per entity and commit, or what is wrong with it."""
    rows = connection.execute(
        "select e.entity_id, e.last_seq_nr, e.tail, c.last_seq_nr, c.runs"
        " from entity e left join chunk c on c.slice = e.slice and c.entity_id = e.entity_id"
        " where e.slice = ? order by e.entity_id, c.last_seq_nr",
        (row.id,),
    )
    for (entity_id, last_seq_nr, tail), chunks in groupby(rows, key=lambda found: found[:3]):
        parts = [chunk[3:] for chunk in chunks if chunk[3] is not None]
        if tail:
            parts.append((last_seq_nr, tail))
        elif not parts or parts[-1][0] != last_seq_nr:
            yield _no_end(row, entity_id, parts[-1][0] if parts else None, last_seq_nr)
        for ends_with, packed in parts:
            try:
                for run in _runs_in(row, entity_id, packed, ends_with):
                    yield IndexRow(entity_id, run.base_offset, run.first, run.last)
            except CorruptRecordError as damage:
                yield damage


def _no_end(
    row: SliceRow, entity_id: str, ends_with: int | None, last_seq_nr: int
) -> CorruptRecordError:
    reason = f"the index ends with {ends_with}, its last seq_nr is {last_seq_nr}"
    return damage_of(row.key, row.head, entity_id, reason)

"""The entity index in SQLite: which commits hold an entity's records. `append` writes it.

`entity` gives a name its integer id and keeps the last seq_nr; `entry` has one row per record. Two
tables that must agree are what makes a lost or moved row visible, and the primary key of `entry` is
the second fence.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby, islice

import msgpack

from thespian_dc.journal.reading import IndexRow, damage_of
from thespian_dc.journal.sqlite.slice_row import SliceRow
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.record import Commit

Ids = dict[tuple[int, str], int]
IDS_MAX = 200_000
_NO_END = (1 << 63) - 1
_NEED_ID = (
    "insert into entity(slice, entity_id, last_seq_nr) values (?, ?, 0)"
    " on conflict(slice, entity_id) do update set last_seq_nr = last_seq_nr returning id"
)


class EntityIndex:
    """Ids of entities seen by this process. An id never changes: what is remembered stays true."""

    def __init__(self) -> None:
        self._known: Ids = {}

    def add(self, connection: sqlite3.Connection, placed: Sequence[tuple[int, Commit]]) -> Ids:
        """Index commits by slice id; IntegrityError where an (entity, seq_nr) is there already.

        Returns the ids found on the way: `remember` them once the transaction is committed, not
        before.
        """
        known, fresh = self._known, Ids()
        entries: list[tuple[int, int, int]] = []
        last: dict[int, int] = {}
        for slice_id, commit in placed:
            base = commit.base_offset
            for fields in msgpack.unpackb(commit.body):
                name, seq_nr = (slice_id, fields[1]), fields[2]
                entity = known.get(name) or fresh.get(name)
                if entity is None:
                    entity = fresh[name] = _need_id(connection, name)
                entries.append((entity, seq_nr, base))
                last[entity] = seq_nr
        entries.sort()  # neighbours in the table one after the other
        connection.executemany("insert into entry values (?, ?, ?)", entries)
        connection.executemany(
            "update entity set last_seq_nr = ? where id = ?",
            [(n, e) for e, n in sorted(last.items())],
        )
        return fresh

    def remember(self, fresh: Ids) -> None:
        if len(self._known) > IDS_MAX:
            self._known = {}
        self._known.update(fresh)


def _need_id(connection: sqlite3.Connection, name: tuple[int, str]) -> int:
    cursor = connection.execute(_NEED_ID, name)
    (entity,) = cursor.fetchone()
    cursor.close()
    return int(entity)


def indexed(
    connection: sqlite3.Connection, row: SliceRow, entity_id: str, from_seq_nr: int,
    until_seq_nr: int | None = None,
) -> dict[int, list[int]]:  # fmt: skip
    """{base_offset: seq_nrs} of the entity's records with from_seq_nr <= seq_nr < until_seq_nr, in
    order."""
    found = connection.execute(
        "select id, last_seq_nr from entity where slice = ? and entity_id = ?", (row.id, entity_id)
    ).fetchone()
    if found is None or found[1] < from_seq_nr:
        _check_no_more(connection, row, entity_id, found)
        return {}
    until = _NO_END if until_seq_nr is None else until_seq_nr
    last = min(found[1], until - 1)
    if last < from_seq_nr:
        return {}
    # Not `<= last`: entries behind it say that it is wrong.
    entries = connection.execute(
        "select base_offset, seq_nr from entry where entity = ? and seq_nr >= ? and seq_nr < ?"
        " order by seq_nr",
        (found[0], from_seq_nr, until),
    ).fetchall()
    if entries and entries[0][0] < row.trimmed_to:  # the last one of an earlier trimming, or more
        raise TrimmedError(f"{row.entity_type}|{entity_id}", entries[0][0], row.trimmed_to)
    if not entries or entries[-1][1] != last:
        there = entries[-1][0] if entries else row.head
        if entries or last == found[1] or not row.trimmed_to:
            reason = f"the index does not end with its seq_nr {last}"
            raise damage_of(row.key, there, entity_id, reason)
        raise TrimmedError(f"{row.entity_type}|{entity_id}", 0, row.trimmed_to)
    return {
        base: [n for _, n in some] for base, some in groupby(entries, key=lambda entry: entry[0])
    }


def _check_no_more(
    connection: sqlite3.Connection, row: SliceRow, entity_id: str, found: tuple[int, int] | None
) -> None:
    """The entity's last seq_nr says there is nothing; its entries must say so too."""
    last = (
        found
        and connection.execute(
            "select max(seq_nr) from entry where entity = ?", (found[0],)
        ).fetchone()[0]
    )
    if found and (last or 0) != found[1]:
        raise damage_of(
            row.key, row.head, entity_id, f"its last seq_nr {found[1]} is not the index's"
        )


def drop_trimmed(connection: sqlite3.Connection, row: SliceRow, commits: Sequence[Commit]) -> None:
    """Forget where these were, but each entity's last: it tells trimmed from never there."""
    names = [
        (row.id, fields[1], fields[2])
        for commit in commits
        for fields in msgpack.unpackb(commit.body)
    ]
    connection.executemany(
        "delete from entry where entity ="
        " (select id from entity where slice = ?1 and entity_id = ?2 and last_seq_nr > ?3)"
        " and seq_nr = ?3",
        names,
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
        "select e.entity_id, e.last_seq_nr, i.base_offset,"
        " min(i.seq_nr), max(i.seq_nr), count(i.seq_nr)"
        " from entity e left join entry i on i.entity = e.id where e.slice = ?"
        " group by e.id, i.base_offset order by e.id, max(i.seq_nr)",
        (row.id,),
    )
    for entity_id, of_entity in groupby(rows, key=lambda found: found[0]):
        last_of_entries = 0
        for _, last_seq_nr, base, first, last, count in of_entity:  # noqa: B007  # used after
            if base is None:
                yield damage_of(row.key, row.head, entity_id, "it has no entry in the index")
                continue
            last_of_entries = last
            if count != last - first + 1:
                yield damage_of(row.key, base, entity_id, "its entries in the index have a hole")
            yield IndexRow(entity_id, base, first, last)
        if last_of_entries and last_of_entries != last_seq_nr:
            reason = f"the index ends with {last_of_entries}, its last seq_nr is {last_seq_nr}"
            yield damage_of(row.key, row.head, entity_id, reason)

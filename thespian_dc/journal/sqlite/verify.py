"""Read the whole file and name everything that is wrong in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from thespian_dc.journal.reading import damage_of
from thespian_dc.journal.seal import seal
from thespian_dc.journal.sqlite.entities import all_rows
from thespian_dc.journal.sqlite.log import commits_from
from thespian_dc.journal.sqlite.slice_row import SliceRow, load_slices
from thespian_dc.journal.verify import SliceRows, verify_slice
from thespian_dc.model.errors import CorruptJournalError
from thespian_dc.model.ids import SliceKey

_PAGES_REPORTED_MAX = 20
_ORPHANS = {
    "commits": "select slice, base_offset from commits where slice not in (select id from slice)",
    "entity": "select slice, entity_id from entity where slice not in (select id from slice)",
    "chunk": "select slice, entity_id from chunk where (slice, entity_id) not in"
    " (select slice, entity_id from entity)",
    "state": "select slice, entity_id from state where slice not in (select id from slice)",
}


def verify_file(
    connection: sqlite3.Connection, url: str, entity_type: str | None
) -> list[Exception]:
    """What is wrong with the slices of a type (None: all), rows nobody owns, the file's pages."""
    found: list[Exception] = []
    for row, sound in load_slices(connection, entity_type):
        if not sound:
            reason = "the row of the slice does not match its checksum"
            found.append(damage_of(row.key, row.head, "", reason))
            continue
        commits = (
            (commit.base_offset, commit) for commit in commits_from(connection, row, 0, None)
        )
        rows = SliceRows(row.at, row.trimmed, row.head, commits, all_rows(connection, row))
        found += verify_slice(row.key, rows)
        found += _verify_states(connection, row)
    found += _missing_slices(connection, entity_type)
    for table, select in _ORPHANS.items():
        for owner, key in connection.execute(select):
            what = f"row {key!r} of table {table}"
            found.append(
                CorruptJournalError(url, what, f"it belongs to number {owner}, which is not there")
            )
    for (line,) in connection.execute(f"pragma integrity_check({_PAGES_REPORTED_MAX})"):
        if line != "ok":
            found.append(CorruptJournalError(url, "the file", line))
    return found


def _verify_states(connection: sqlite3.Connection, row: SliceRow) -> Iterator[Exception]:
    select = "select entity_id, seq_nr, offset, body, crc from state where slice = ?"
    for *columns, crc in connection.execute(select, (row.id,)):
        if crc != seal(*row.key, *columns):
            reason = "its stored state does not match its checksum"
            yield damage_of(row.key, columns[2], columns[0], reason)


def _missing_slices(connection: sqlite3.Connection, entity_type: str | None) -> Iterator[Exception]:
    """Slices of recorded types without a row."""
    from thespian_dc.journal.cells import Cell

    there = {row.key for row, _ in load_slices(connection, entity_type)}
    cells = connection.execute(
        "select name, version, value, crc from cell where name like 'slices/%'"
    )
    for cell in (Cell(*columns) for columns in cells.fetchall()):
        recorded = cell.name.removeprefix("slices/")
        if cell.sound and entity_type in (None, recorded):
            for number in range(cell.content):
                if SliceKey(recorded, number) not in there:
                    yield damage_of(
                        SliceKey(recorded, number), 0, "", "the row of the slice is missing"
                    )

"""Positions of projections in a consumer's SQLite database.

A position is written by compare-and-set on (epoch, expected offset). Zero rows: everything of the
transaction is rolled back and PositionConflictError tells the consumer to stop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from thespian_dc.model.errors import JournalDivergedError, PositionConflictError
from thespian_dc.model.position import Position
from thespian_dc.projection.api import StoredPosition, StoredPositions
from thespian_dc.projection.committing import own_transaction
from thespian_dc.projection.core import Move
from thespian_dc.projection.sqlite.database import SqliteDatabase, sqlite_path
from thespian_dc.projection.sqlite.marks import SqliteMarks

_SCHEMA = """
create table if not exists thespian_dc_positions(
    projection text not null, slice integer not null, journal_id text not null,
    epoch integer not null, offset integer not null, write_id blob not null,
    primary key (projection, slice)) without rowid
"""
_CHECK = (
    "select 1 from thespian_dc_positions "
    "where projection = ? and slice = ? and epoch = ? and offset = ?"
)
_MOVE = (
    "update thespian_dc_positions set offset = ?, write_id = ? "
    "where projection = ? and slice = ? and epoch = ? and offset = ?"
)
_PLACE = (
    "insert into thespian_dc_positions values (?, ?, ?, 1, ?, ?) on conflict (projection, slice) "
    "do update set epoch = epoch + 1, offset = excluded.offset, write_id = excluded.write_id"
)


def are_there(url: str) -> bool:
    """Whether a projection ever ran in that file. It is only read: it may be another program's."""
    path = Path(sqlite_path(url)).absolute()
    if not path.exists():
        return False
    named = "select 1 from sqlite_master where name = 'thespian_dc_positions'"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(named).fetchone() is not None
    except sqlite3.Error:
        return True  # who opens it is told what is wrong


class SqlitePositions:
    """Positions of any number of projections. Moves happen in the database's open transaction."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database, self._execute = database, database.execute
        with database.named():
            self._execute(_SCHEMA)

    def load(self, projection: str) -> StoredPositions:
        """Every row of the projection."""
        with self._database.named():
            rows = self._execute(
                "select slice, journal_id, epoch, offset, write_id from thespian_dc_positions "
                "where projection = ? order by slice",
                (projection,),
            ).fetchall()
        journal_ids = {row[1] for row in rows}
        positions = {
            slice_: StoredPosition(epoch, Position(offset, write_id))
            for slice_, _, epoch, offset, write_id in rows
        }
        return StoredPositions(journal_ids.pop() if journal_ids else "", positions)

    def claim(self, projection: str, slices: Sequence[int], journal_id: str) -> StoredPositions:
        """Raise the epoch of each slice by one, all or none; JournalDivergedError for other
        rows."""
        with own_transaction(self._database):
            _check_journal(projection, self.load(projection), journal_id)
            with self._database.named():
                self._database.executemany(
                    "insert into thespian_dc_positions values (?, ?, ?, 1, 0, x'') "
                    "on conflict (projection, slice) do update set epoch = epoch + 1",
                    [(projection, slice_, journal_id) for slice_ in slices],
                )
            claimed = self.load(projection)
        mine = {slice_: row for slice_, row in claimed.slices.items() if slice_ in set(slices)}
        return StoredPositions(journal_id, mine)

    def place(
        self, projection: str, journal_id: str, positions: Mapping[int, Position], *, moves: bool
    ) -> None:
        """See PositionStore."""
        marks = SqliteMarks(self._database)
        with own_transaction(self._database):
            stored = self.load(projection)
            _check_journal(projection, stored, journal_id)
            for slice_, position in positions.items():
                if slice_ in stored.slices and not moves:
                    continue
                row = (projection, slice_, journal_id, position.offset, position.write_id)
                with self._database.named():
                    self._execute(_PLACE, row)
                marks.forget(projection, slice_, position.offset)

    def check(self, projection: str, slice_: int, epoch: int, offset: int) -> None:
        """PositionConflictError unless the row is ours still; in a transaction it stays so.

        Without this a consumer that was fenced would show its handler what another has handled.
        """
        with self._database.named():
            found = self._execute(_CHECK, (projection, slice_, epoch, offset)).fetchone()
        if found is None:
            raise self._conflict(projection, slice_, epoch, offset)

    def move(self, projection: str, moves: Sequence[Move]) -> None:
        """Write positions in the open transaction; PositionConflictError rolled it back."""
        self._database.lock()
        with self._database.named():
            for slice_, epoch, expected, position in moves:
                row = (position.offset, position.write_id, projection, slice_, epoch, expected)
                if self._execute(_MOVE, row).rowcount != 1:
                    self._database.rollback()
                    raise self._conflict(projection, slice_, epoch, expected)

    def _conflict(
        self, projection: str, slice_: int, epoch: int, expected: int
    ) -> PositionConflictError:
        row = self.load(projection).slices.get(slice_)
        found = "no row" if row is None else f"{row.position.offset} under epoch {row.epoch}"
        return PositionConflictError(projection, slice_, expected, f"{found}, not epoch {epoch}")


def _check_journal(projection: str, stored: StoredPositions, journal_id: str) -> None:
    if stored.slices and stored.journal_id != journal_id:
        reason = f"its id is {journal_id}, the positions are of {stored.journal_id}"
        raise JournalDivergedError(f"projection {projection}", 0, reason)

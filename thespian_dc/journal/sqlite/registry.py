"""Cells and claims in SQLite. A claim is part of the slice's row."""

from __future__ import annotations

import sqlite3

from thespian_dc.journal.api import Owner
from thespian_dc.journal.cells import Cell, CellRegistry
from thespian_dc.journal.sqlite.database import Database
from thespian_dc.journal.sqlite.slice_row import load_slice, load_slices, need_slice, store_slice
from thespian_dc.model.ids import SliceKey

_AFTER_ALL = "\U0010ffff"


class SqliteRegistry(CellRegistry):
    """The registry part of `Journal`."""

    _db: Database

    def _cell(self, name: str) -> Cell | None:
        return self._db.read(lambda connection: _cell(connection, name))

    def _cells(self, prefix: str) -> list[Cell]:
        def work(connection: sqlite3.Connection) -> list[Cell]:
            found = connection.execute(
                "select name, version, value, crc from cell"
                " where name >= ? and name < ? order by name",
                (prefix, prefix + _AFTER_ALL),
            )
            return [Cell(*row) for row in found.fetchall()]

        return self._db.read(work)

    def _put_cell(self, cell: Cell, expected_version: int | None) -> bool:
        return self._db.write(lambda connection: _put_cell(connection, cell, expected_version))

    def _put_lightly(self, cell: Cell, expected_version: int | None) -> bool:
        return self._db.write_lightly(
            lambda connection: _put_cell(connection, cell, expected_version)
        )

    def _remove_cell(self, name: str) -> None:
        self._db.write(
            lambda connection: connection.execute("delete from cell where name = ?", (name,))
        )

    def _put_slices(self, cell: Cell, entity_type: str, wanted: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            if (
                _cell(connection, cell.name) is None
            ):  # rows first: from the cell on, a missing row is damage
                for number in range(wanted):
                    need_slice(connection, SliceKey(entity_type, number))
                _put_cell(connection, cell, 0)

        self._db.write(work)

    def _has_logs(self, entity_type: str) -> bool:
        return bool(self._db.read(lambda connection: load_slices(connection, entity_type)))

    def claim(
        self, key: SliceKey, member_id: str, token: bytes, seen_epoch: int | None = None
    ) -> Owner:
        def work(connection: sqlite3.Connection) -> Owner:
            row = need_slice(connection, key)
            if seen_epoch is not None and seen_epoch != row.claim_epoch:
                return row.owner or Owner(0, "", b"")
            mine = Owner(row.claim_epoch + 1, member_id, token)
            store_slice(
                connection, row._replace(claim_epoch=mine.epoch, member_id=member_id, token=token)
            )
            return mine

        return self._db.write(work)

    def owner(self, key: SliceKey) -> Owner | None:
        row = self._db.read(lambda connection: load_slice(connection, key))
        return row.owner if row else None

    def owners(self, entity_type: str) -> dict[int, Owner]:
        rows = self._db.read(lambda connection: load_slices(connection, entity_type))
        return {row.slice: row.owner for row, sound in rows if sound and row.owner}


def _cell(connection: sqlite3.Connection, name: str) -> Cell | None:
    found = connection.execute("select name, version, value, crc from cell where name = ?", (name,))
    row = found.fetchone()
    return Cell(*row) if row else None


def _put_cell(connection: sqlite3.Connection, cell: Cell, expected_version: int | None) -> bool:
    stored = _cell(connection, cell.name)
    if expected_version is not None and expected_version != (stored.version if stored else 0):
        return False
    connection.execute("insert or replace into cell values (?, ?, ?, ?)", cell)
    return True

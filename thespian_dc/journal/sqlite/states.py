"""Snapshots and latest states in SQLite. All work inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple

from thespian_dc.journal.api import StateRow
from thespian_dc.journal.seal import seal
from thespian_dc.journal.sqlite.slice_row import SliceRow, need_slice
from thespian_dc.model.ids import SliceKey

_SELECT = "select entity_id, seq_nr, offset, body, crc from state"
_REPLACE = (
    "insert or replace into state(slice, entity_id, seq_nr, offset, body, crc)"
    " values (?, ?, ?, ?, ?, ?)"
)


def write_states(connection: sqlite3.Connection, key: SliceKey, rows: Sequence[StateRow]) -> None:
    """Store each row unless a sound one with the same or a higher offset stands there."""
    row = need_slice(connection, key)
    for state in rows:
        stored = read_state(connection, row, state.entity_id)
        if stored is None or stored.offset < state.offset:
            columns = astuple(state)
            connection.execute(_REPLACE, (row.id, *columns, seal(*key, *columns)))


def read_state(connection: sqlite3.Connection, row: SliceRow, entity_id: str) -> StateRow | None:
    """The stored state, None where there is none or it does not match its seal."""
    found = connection.execute(
        f"{_SELECT} where slice = ? and entity_id = ?", (row.id, entity_id)
    ).fetchone()
    return StateRow(*found[:-1]) if found and found[-1] == seal(*row.key, *found[:-1]) else None

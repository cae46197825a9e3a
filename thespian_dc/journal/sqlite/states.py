"""Snapshots and latest states in SQLite. All work inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import astuple
from itertools import islice
from typing import Any

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
    return _sound(row, found) if found else None


def read_states(
    connection: sqlite3.Connection, row: SliceRow, entity_ids: Collection[str]
) -> dict[str, StateRow]:
    """The stored states of these entities, as far as there are sound ones."""
    found = {entity_id: read_state(connection, row, entity_id) for entity_id in entity_ids}
    return {entity_id: state for entity_id, state in found.items() if state is not None}


def list_states(
    connection: sqlite3.Connection, row: SliceRow, after: str, limit: int
) -> list[StateRow]:
    """Sound states of a slice in the order of their entities' ids, from behind `after` on."""
    stored = connection.execute(
        f"{_SELECT} where slice = ? and entity_id > ? order by entity_id", (row.id, after)
    )
    return list(islice((state for one in stored if (state := _sound(row, one))), limit))


def _sound(row: SliceRow, stored: Any) -> StateRow | None:
    return StateRow(*stored[:-1]) if stored[-1] == seal(*row.key, *stored[:-1]) else None

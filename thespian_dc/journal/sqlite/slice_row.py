"""The row of a slice: head, epoch, trim mark and claim, sealed as one. Used in transactions."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from thespian_dc.journal.api import Head, Owner
from thespian_dc.journal.reading import damage_of
from thespian_dc.journal.seal import seal
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position

_SELECT = (
    "select id, entity_type, slice, head, epoch, trimmed_to, trimmed_write_id, claim_epoch,"
    " member_id, token, crc from slice"
)


class SliceRow(NamedTuple):
    """`id` stands for the slice in all other tables. claim_epoch 0: nobody claimed it yet."""

    id: int
    entity_type: str
    slice: int
    head: int = 0
    epoch: int = 0
    trimmed_to: int = 0
    trimmed_write_id: bytes = b""
    claim_epoch: int = 0
    member_id: str = ""
    token: bytes = b""

    @property
    def key(self) -> SliceKey:
        return SliceKey(self.entity_type, self.slice)

    @property
    def at(self) -> Head:
        return Head(self.head, self.epoch)

    @property
    def trimmed(self) -> Position:
        return Position(self.trimmed_to, self.trimmed_write_id)

    @property
    def owner(self) -> Owner | None:
        return Owner(self.claim_epoch, self.member_id, self.token) if self.claim_epoch else None


def load_slice(connection: sqlite3.Connection, key: SliceKey) -> SliceRow | None:
    """The slice's row, or None where there is none; CorruptRecordError where it is damaged."""
    found = connection.execute(f"{_SELECT} where entity_type = ? and slice = ?", key).fetchone()
    if found is not None:
        return _checked(found, key)
    recorded = connection.execute(
        "select 1 from cell where name = ?", (f"slices/{key.entity_type}",)
    )
    if recorded.fetchone() is not None:  # recording a type makes the rows of all its slices
        raise damage_of(key, 0, "", "the row of the slice is missing")
    return None


def load_slices(
    connection: sqlite3.Connection, entity_type: str | None
) -> list[tuple[SliceRow, bool]]:
    """All rows of a type (None: of all types), each with whether its seal matches."""
    where, values = ("", ()) if entity_type is None else (" where entity_type = ?", (entity_type,))
    rows = connection.execute(f"{_SELECT}{where} order by entity_type, slice", values).fetchall()
    return [(SliceRow(*row[:-1]), row[-1] == seal(*row[:-1])) for row in rows]


def need_slice(connection: sqlite3.Connection, key: SliceKey) -> SliceRow:
    """The slice's row, made now where there is none."""
    found = load_slice(connection, key)
    if found is not None:
        return found
    (last,) = connection.execute("select coalesce(max(id), 0) from slice").fetchone()
    fresh = SliceRow(last + 1, *key)
    connection.execute(
        "insert into slice values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*fresh, seal(*fresh))
    )
    return fresh


def store_slice(connection: sqlite3.Connection, row: SliceRow) -> None:
    """Overwrite the row."""
    connection.execute(
        "update slice set head = ?, epoch = ?, trimmed_to = ?, trimmed_write_id = ?,"
        " claim_epoch = ?, member_id = ?, token = ?, crc = ? where id = ?",
        (*row[3:], seal(*row), row.id),
    )


def _checked(found: tuple[object, ...], key: SliceKey) -> SliceRow:
    row = SliceRow(*found[:-1])  # type: ignore[arg-type]  # the seal says they fit
    if found[-1] != seal(*row) or row.key != key:
        raise damage_of(key, row.head, "", "the row of the slice does not match its checksum")
    return row

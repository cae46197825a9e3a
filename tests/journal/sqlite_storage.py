"""The journal in SQLite under the suite: flips go through a raw connection, into any column of
any table."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from tests.journal.memory_storage import flip_value
from thespian_dc.journal.api import Journal
from thespian_dc.journal.sqlite.entities import EntityIndex
from thespian_dc.journal.sqlite.open import open_sqlite
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.journal_kit import Flip

# Columns that rows are looked up by: a flip there takes the row away from its place.
_KEYS = {
    "cell": {"name"}, "slice": {"id", "entity_type", "slice"}, "commits": {"slice", "base_offset"},
    "entity": {"slice", "entity_id"}, "chunk": {"slice", "entity_id", "last_seq_nr"},
    "state": {"slice", "entity_id"},
}  # fmt: skip


def _bound(value: Any) -> tuple[str, Any]:
    """(SQL, parameter) for a value; text goes as bytes, because a flip may have made it no
    UTF-8."""
    if isinstance(value, str):
        return "cast(? as text)", value.encode(errors="surrogateescape")
    return "?", value


class SqliteUnderTest:
    """One file, opened as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self.race_url = f"sqlite:///{self.path}"
        self._raw: sqlite3.Connection | None = None

    def open(self) -> Journal:
        journal = open_sqlite(self.race_url)
        journal._entities = EntityIndex(runs_in_tail=2)  # so that there are chunks, too
        return journal

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()

    @property
    def raw(self) -> sqlite3.Connection:
        if self._raw is None:
            self._raw = sqlite3.connect(self.path, isolation_level=None)
            self._raw.text_factory = lambda stored: stored.decode(errors="surrogateescape")
            self._raw.execute("pragma synchronous = off")
            self._raw.execute("pragma ignore_check_constraints = on")
        return self._raw

    def flip(self, rng: random.Random, only_states: bool = False) -> Flip:
        tables = ["state"] if only_states else list(_KEYS)
        while True:
            table = rng.choice(tables)
            names = [row[1] for row in self.raw.execute(f"pragma table_info({table})")]
            rows = self.raw.execute(f"select * from {table} order by 1, 2").fetchall()
            column = rng.choice(names)
            if not rows:
                continue
            old = dict(zip(names, rng.choice(rows), strict=True))
            if old[column] in ("", b""):
                continue
            new = {**old, column: flip_value(old[column], rng)}
            hurt = self._hurt(table, old, new)
            try:
                self._replace(table, old, new, column)
            except (
                sqlite3.IntegrityError
            ):  # another row stands there already; disks flip no bits that way
                continue
            undo = self._undo(table, old, new, column)
            key, base, ids = hurt
            where = f"{table}.{column} {old[column]!r} -> {new[column]!r} of {old!r}"
            return Flip(where, undo, key, base, ids, column in _KEYS[table])

    def columns(self) -> set[str]:
        self.raw.row_factory = sqlite3.Row
        try:
            return {
                f"{table}.{name}"
                for table in _KEYS
                for row in self.raw.execute(f"select * from {table}").fetchall()
                for name in row.keys()  # noqa: SIM118  a Row iterates over its values
                if row[name] not in ("", b"")
            }
        finally:
            self.raw.row_factory = None

    def _undo(
        self, table: str, old: dict[str, Any], new: dict[str, Any], column: str
    ) -> Callable[[], None]:
        return lambda: self._replace(table, new, old, column)

    def _replace(self, table: str, old: dict[str, Any], new: dict[str, Any], column: str) -> None:
        value, parameter = _bound(new[column])
        where = [(name, *_bound(content)) for name, content in old.items()]
        condition = " and ".join(f"{name} is {sql}" for name, sql, _ in where)
        changed = self.raw.execute(
            f"update {table} set {column} = {value} where {condition}",
            (parameter, *(content for _, _, content in where)),
        )
        assert changed.rowcount == 1

    def _hurt(
        self, table: str, old: dict[str, Any], new: dict[str, Any]
    ) -> tuple[SliceKey | None, int | None, frozenset[str]]:
        """The slice, the row of the log and the entities this row is about."""
        if table == "cell":
            return None, None, frozenset()
        if table == "slice":
            return SliceKey(old["entity_type"], old["slice"]), None, frozenset()
        if table == "commits":
            names = {name for name, *_ in msgpack.unpackb(old["heads"])}
            return self._key(old["slice"]), old["base_offset"], frozenset(names)
        return self._key(old["slice"]), None, frozenset([old["entity_id"]])

    def _key(self, number: int) -> SliceKey:
        return SliceKey(
            *self.raw.execute(
                "select entity_type, slice from slice where id = ?", (number,)
            ).fetchone()
        )

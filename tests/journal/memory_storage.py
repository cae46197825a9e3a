"""The journal in memory under the suite: flips hit its rows as they lie in their tables."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable
from typing import Any

from thespian_dc.journal.cells import Cell
from thespian_dc.journal.memory import MemoryJournal, MemoryStorage
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, entities_of
from thespian_dc.testkit.journal_kit import Flip

SEGMENT_RECORDS = 16
_COMMIT_COLUMNS = (
    "key", "base_offset", "count", "write_id", "epoch", "time_us", "heads", "body", "checksum",
)  # fmt: skip
_EMPTY = ("", b"")


def flip_value(value: Any, rng: random.Random) -> Any:
    """The value with one bit flipped. Text may cease to be UTF-8. Of numbers it is one of the
    lowest four bits half of the time: those make numbers that could be true."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value ^ 1 << rng.randrange(rng.choice((4, 48)))
    if isinstance(value, str):
        changed = bytearray(value.encode(errors="surrogateescape"))
    else:
        changed = bytearray(value)
    where = rng.randrange(len(changed) * 8)
    changed[where // 8] ^= 1 << where % 8
    if isinstance(value, str):
        return changed.decode(errors="surrogateescape")
    return bytes(changed)


class MemoryUnderTest:
    """One storage, opened as often as wanted."""

    race_url = None
    _numbers = itertools.count()

    def __init__(self) -> None:
        self.storage = MemoryStorage(SEGMENT_RECORDS)

    def open(self) -> MemoryJournal:
        return MemoryJournal("memory:under-test", self.storage)

    def flip(self, rng: random.Random, only_states: bool = False) -> Flip:
        tables = ["states"] if only_states else [
            "cells", "claims", "statics", "commits", "trims", "marks", "index", "states",
        ]  # fmt: skip
        while True:
            table = rng.choice(tables)
            found: Flip | None = getattr(self, f"_flip_{table}")(rng)
            if found is not None:
                return dataclasses.replace(found, where=f"{table}.{found.where}")

    def columns(self) -> set[str]:
        one = self.storage
        rows: dict[str, list[Any]] = {
            name: [*getattr(one, name).values()]
            for name in ("cells", "claims", "statics", "trims", "marks", "states")
        }
        rows["index"] = [row for some in one.index.values() for row in some.values()]
        found = {f"commits.{column}" for column in _COMMIT_COLUMNS}
        for table, some in rows.items():
            found |= {
                f"{table}.{n}" for row in some for n, value in enumerate(row) if value not in _EMPTY
            }
        return found

    def _flip_row(
        self, table: dict[Any, Any], at: Any, rng: random.Random
    ) -> tuple[str, Callable[[], None]]:
        row = table[at]
        columns = [n for n, value in enumerate(row) if value not in _EMPTY]
        column = rng.choice(columns)
        changed = [*row]
        changed[column] = flip_value(row[column], rng)
        table[at] = Cell(*changed) if isinstance(row, Cell) else tuple(changed)
        return f"{column} of {row!r}", lambda: table.__setitem__(at, row)

    def _flip_cells(self, rng: random.Random) -> Flip | None:
        names = sorted(self.storage.cells)
        where, undo = self._flip_row(self.storage.cells, rng.choice(names), rng)
        return Flip(where, undo)

    def _flip_by_key(self, table: dict[SliceKey, Any], rng: random.Random) -> Flip | None:
        if not table:
            return None
        key = rng.choice(sorted(table))
        where, undo = self._flip_row(table, key, rng)
        return Flip(where, undo, key)

    def _flip_claims(self, rng: random.Random) -> Flip | None:
        return self._flip_by_key(self.storage.claims, rng)

    def _flip_trims(self, rng: random.Random) -> Flip | None:
        return self._flip_by_key(self.storage.trims, rng)

    def _flip_marks(self, rng: random.Random) -> Flip | None:
        return self._flip_by_key(self.storage.marks, rng)

    def _flip_statics(self, rng: random.Random) -> Flip | None:
        at = rng.choice(sorted(self.storage.statics))
        where, undo = self._flip_row(self.storage.statics, at, rng)
        return Flip(where, undo, at[0])

    def _flip_states(self, rng: random.Random) -> Flip | None:
        at = rng.choice(sorted(self.storage.states))
        where, undo = self._flip_row(self.storage.states, at, rng)
        return Flip(where, undo, at[0], entity_ids=frozenset([at[1]]))

    def _flip_index(self, rng: random.Random) -> Flip | None:
        at = rng.choice(sorted(self.storage.index))
        rows = self.storage.index[at]
        where, undo = self._flip_row(rows, rng.choice(sorted(rows)), rng)
        return Flip(where, undo, at[0], entity_ids=frozenset([at[1]]))

    def _flip_commits(self, rng: random.Random) -> Flip | None:
        key = rng.choice(sorted(k for k, rows in self.storage.commits.items() if rows))
        rows = self.storage.commits[key]
        base = rng.choice(sorted(rows))
        commit, column = rows[base], rng.choice(_COMMIT_COLUMNS)
        if column == "key":
            changed: Any = SliceKey(flip_value(key.entity_type, rng), key.slice)
        else:
            changed = flip_value(getattr(commit, column), rng)
        rows[base] = dataclasses.replace(commit, **{column: changed})
        ids = frozenset(entities_of(commit))
        return Flip(
            f"{column} of {_place(commit)}", lambda: rows.__setitem__(base, commit), key, base, ids
        )


def _place(commit: Commit) -> str:
    return f"{commit.key} {commit.base_offset}..{commit.end_offset}"

"""The journal in Cassandra under the suite: flips go through a session of their own.

One keyspace serves many tests: between them its tables are emptied, which is ten times faster than
making them.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.query import dict_factory

from tests.journal.memory_storage import flip_value
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.journal.cassandra.open import apply_schema
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.journal_kit import Flip

SEGMENT_RECORDS = 8
Row = dict[str, Any]

# table: (partition key, clustering key, static columns, other columns)
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "slice_log": (
        ("entity_type", "slice", "segment"),
        ("base_offset",),
        ("head", "epoch", "head_crc"),
        (
            "records",
            "write_id",
            "commit_epoch",
            "time_us",
            "size_bytes",
            "heads",
            "body",
            "checksum",
        ),
    ),
    "owners": (("entity_type",), ("slice",), (), ("epoch", "sealed")),
    "cells": (("kind",), ("name",), (), ("version", "value", "crc")),
    "members": (("kind",), ("name",), (), ("version", "value", "crc")),
    "entity_index": (("entity_type", "slice", "entity_id"), ("first_seq_nr",), (), ("sealed",)),
    "index_marks": (("entity_type", "slice"), (), (), ("sealed",)),
    "trim_marks": (("entity_type", "slice"), (), (), ("sealed",)),
    "states": (("entity_type", "slice", "entity_id"), (), (), ("sealed",)),
}
BY_OFFSET = ("entity_index", "index_marks", "trim_marks", "states")  # their write times are offsets
INT_BITS = {"slice": 10, "records": 31, "size_bytes": 31}  # others are bigint


class CassandraKeyspace:
    """A keyspace of the server under test, with a session that the journal does not know of."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}?segment_records={SEGMENT_RECORDS}"
        apply_schema(self.url)
        place = url.removeprefix("cassandra://")
        hosts, port = place.split("/")[0].split(":")
        self.name = place.split("/")[1]
        profile = ExecutionProfile(
            consistency_level=ConsistencyLevel.LOCAL_QUORUM, row_factory=dict_factory
        )
        self._cluster = Cluster(
            hosts.split(","), port=int(port), protocol_version=5,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        )  # fmt: skip
        self.session: Session = self._cluster.connect(self.name)
        self._facts = self.rows("cells")
        self.steps = self._counters()

    def _counters(self) -> dict[tuple[str, int], Iterator[int]]:
        return defaultdict(lambda: itertools.count(1))

    def rows(self, table: str) -> list[Row]:
        times = ", writetime(sealed) as time" if table in BY_OFFSET else ""
        partition, clustering, static, others = TABLES[table]
        names = ", ".join((*partition, *clustering, *static, *others))
        return list(self.session.execute(f"select {names}{times} from {table}"))

    def empty(self) -> None:
        """As it was after `schema apply`."""
        self.steps = self._counters()
        for table in TABLES:
            # A deleted state leaves a tombstone in a table that looks empty.
            filled = self.session.execute(f"select * from {table} limit 1").one() is not None
            if filled or table == "states":
                self.session.execute(f"truncate {table}", timeout=30.0)
        for row in self._facts:
            names = ", ".join(row)
            marks = ", ".join("%s" for _ in row)
            statement = f"insert into cells ({names}) values ({marks}) if not exists"
            self.session.execute(statement, tuple(row.values()))

    def close(self) -> None:
        self.session.execute(f"drop keyspace {self.name}", timeout=30.0)
        self._cluster.shutdown()


class CassandraUnderTest:
    """The emptied keyspace as one test's storage."""

    def __init__(self, keyspace: CassandraKeyspace) -> None:
        self._keyspace, self.race_url = keyspace, keyspace.url

    def open(self) -> Journal:
        return open_journal(self.race_url)

    def flip(self, rng: random.Random, only_states: bool = False) -> Flip:
        for _ in range(1000):
            table = "states" if only_states else rng.choice(list(TABLES))
            rows = sorted(self._keyspace.rows(table), key=repr)
            if not rows:
                continue
            row = rng.choice(rows)
            # A row that is moved leaves a tombstone, as no disk does; it would hide a new state.
            found = self._flip(table, row, rng, moving=not only_states)
            if found is not None:
                return found
        raise AssertionError("nothing is stored that a bit could be flipped in")

    def _flip(self, table: str, row: Row, rng: random.Random, moving: bool) -> Flip | None:
        keys, others = _columns(table)
        column = rng.choice((*(keys if moving else ()), *others))
        old = row[column]
        if old in (None, "", b""):
            return None
        new = _flipped(column, old, rng)
        if new is None:
            return None
        moves = column in keys
        if moves and self._stands(table, {**row, column: new}):
            return None  # another row is there already; disks flip no bits that way
        replace = self._move if moves else self._overwrite
        replace(table, row, {**row, column: new}, column)
        return Flip(
            f"{table}.{column} {old!r} -> {new!r} of {row!r}",
            self._undo(replace, table, {**row, column: new}, row, column),
            *self._hurt(table, row, column),
            moves,
        )

    def columns(self) -> set[str]:
        return {
            f"{table}.{column}"
            for table in TABLES
            for row in self._keyspace.rows(table)
            for columns in _columns(table)
            for column in columns
            if row[column] not in (None, "", b"")
        }

    def _stands(self, table: str, row: Row) -> bool:
        keys = (*TABLES[table][0], *TABLES[table][1])
        where = " and ".join(f"{name} = %s" for name in keys)
        found = self._keyspace.session.execute(
            f"select * from {table} where {where}", tuple(row[name] for name in keys)
        )
        return found.one() is not None

    def _undo(
        self, replace: Callable[..., None], table: str, new: Row, old: Row, column: str
    ) -> Callable[[], None]:
        return lambda: replace(table, new, old, column)

    def _overwrite(self, table: str, old: Row, new: Row, column: str) -> None:
        partition, clustering, static, _ = TABLES[table]
        keys = partition if column in static else (*partition, *clustering)
        where = " and ".join(f"{name} = %s" for name in keys)
        self._keyspace.session.execute(
            f"update {table} {self._time(table, new)} set {column} = %s where {where}",
            (new[column], *(new[name] for name in keys)),
        )

    def _move(self, table: str, old: Row, new: Row, _column: str) -> None:
        partition, clustering, _, others = TABLES[table]
        keys = (*partition, *clustering)
        where = " and ".join(f"{name} = %s" for name in keys)
        self._keyspace.session.execute(
            f"delete from {table} {self._time(table, old)} where {where}",
            tuple(old[name] for name in keys),
        )
        names = [name for name in (*keys, *others) if new[name] is not None]
        marks = ", ".join("%s" for _ in names)
        self._keyspace.session.execute(
            f"insert into {table} ({', '.join(names)}) values ({marks}) {self._time(table, new)}",
            tuple(new[name] for name in names),
        )

    def _time(self, table: str, row: Row) -> str:
        """A write time above all that came before, and below that of the next offset's rows."""
        if table not in BY_OFFSET:
            return ""
        block = row["time"] // 1024 * 1024
        return f"using timestamp {block + next(self._keyspace.steps[table, block])}"

    def _hurt(
        self, table: str, row: Row, column: str
    ) -> tuple[SliceKey | None, int | None, frozenset[str]]:
        if table in ("cells", "members"):
            return None, None, frozenset()
        key = SliceKey(row["entity_type"], row["slice"])
        if table in ("entity_index", "states"):
            return key, None, frozenset([row["entity_id"]])
        # A row that lost its place leaves a hole: nobody can tell whose records are missing.
        if table == "slice_log" and column in TABLES[table][3]:
            import msgpack

            names = frozenset(owner for owner, _, _ in msgpack.unpackb(row["heads"]))
            return key, row["base_offset"], names
        return key, None, frozenset()


def _columns(table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(keys by which a row is moved, all others that a bit is flipped in). Keys of a whole
    partition move only where the partition is one row."""
    partition, clustering, static, others = TABLES[table]
    keys = clustering if table in ("slice_log", "entity_index") else (*partition, *clustering)
    return keys, (*static, *others)


def _flipped(column: str, old: Any, rng: random.Random) -> Any | None:
    """The value with one bit flipped, or None where Cassandra cannot hold the result."""
    if isinstance(old, int):
        bits = INT_BITS.get(column, 48) - 1
        return old ^ 1 << rng.randrange(rng.choice((4, bits)))
    new = flip_value(old, rng)
    if isinstance(new, str):
        try:
            new.encode()
        except UnicodeEncodeError:
            return None
    return new

"""The handler's side of a transaction in Cassandra: rows beside the position (`Partition`), or
upserts anywhere (`Upserts`). What one event did is taken back alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgpack
from cassandra.query import BatchStatement, BatchType

from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.handler_errors import SinkError
from thespian_dc.model.stream_errors import PositionStoreError

if TYPE_CHECKING:
    from thespian_dc.projection.cassandra.database import CassandraDatabase

SINK = "sink"
ROWS_MAX = 1_000
BYTES_MAX = 1 << 20
"""A transaction takes no further event beyond so many rows, or bytes."""
CACHE_ROWS = 10_000
OFFSET_BITS = 39
"""Of a write time; the epoch stands above: 2^39 offsets per slice, 2^24 epochs."""
_ABSENT = object()


def write_time(epoch: int, offset: int) -> int:
    """Later events win over earlier ones, and whoever claimed the slice later over all before."""
    if not (0 <= offset < 1 << OFFSET_BITS and 0 < epoch < 1 << 63 - OFFSET_BITS):
        raise SinkError("an upsert", f"epoch {epoch} and offset {offset} make no write time")
    return epoch << OFFSET_BITS | offset


class CassandraTransaction:
    """Implements handlers.Partition and handlers.Upserts."""

    def __init__(self, database: CassandraDatabase) -> None:
        self._database = database
        self.fresh = True
        """The projection sets it before each event."""
        self._place = ("", 0)
        self._offset = 0
        self._known: dict[tuple[tuple[str, int], str], Any] = {}  # bounded by CACHE_ROWS
        self._rows: dict[Any, Any] = {}  # (place, key): bytes, None to delete
        self._undo: list[tuple[Any, Any]] = []  # of the present event: what stood there before
        self._size_bytes = 0
        self._upserts: dict[Any, Any] = {}  # (table, key, time): (table, row or None, time)
        self._undo_upserts: list[tuple[Any, Any]] = []
        self._tables: dict[str, tuple[str, ...]] = {}  # their primary keys
        self._columns: dict[str, set[str]] = {}
        self._prepared: dict[tuple[str, ...], Any] = {}

    def at(self, projection: str, slice_: int, offset: int) -> None:
        """The event that is handled now."""
        self._place, self._offset = (projection, slice_), offset

    @property
    def full(self) -> bool:
        """Whether the transaction is to end behind this event."""
        many = len(self._rows) + len(self._upserts) >= ROWS_MAX
        return many or self._size_bytes >= BYTES_MAX

    def began(self) -> None:
        """A new transaction: nothing is gathered."""
        self._rows.clear()
        self._upserts.clear()
        self._undo.clear()
        self._undo_upserts.clear()
        self.fresh, self._size_bytes = True, 0

    def undo_event(self) -> None:
        """Take back what the present event did."""
        if not self.fresh:
            for gathered, undo in ((self._rows, self._undo), (self._upserts, self._undo_upserts)):
                for key, before in reversed(undo):
                    if before is _ABSENT:
                        gathered.pop(key, None)
                    else:
                        gathered[key] = before
            self._begin_event()
            self.fresh = True

    def committed(self) -> None:
        """What was gathered is stored."""
        self._remember(self._rows)

    def _remember(self, rows: Mapping[Any, Any]) -> None:
        if len(self._known) + len(rows) > CACHE_ROWS:
            self._known.clear()
        self._known.update(rows)

    def _begin_event(self) -> None:
        self._undo.clear()
        self._undo_upserts.clear()
        self.fresh = False

    # --- rows beside the position ---

    def get(self, key: str) -> Any:
        """See handlers.Partition."""
        place = self._place, key
        found = self._rows.get(place, _ABSENT)
        if found is _ABSENT:
            found = self._known.get(place, _ABSENT)
        if found is _ABSENT:
            rows = self._database.rows("row", *self._place, SINK, key)
            found = rows[0][0] if rows else None
            self._remember({place: found})
        return None if found is None else msgpack.unpackb(found)

    def put(self, key: str, value: Any) -> None:
        """See handlers.Partition."""
        try:
            packed: bytes = msgpack.packb(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise SinkError(f"row {key!r}", f"{type(error).__name__}: {error}") from error
        self._set(key, packed)
        self._size_bytes += len(packed) + len(key)

    def delete(self, key: Any, row: Any = None) -> None:
        """See handlers.Partition (one argument) and handlers.Upserts (two)."""
        if row is None:
            self._set(key, None)
        else:
            self._upsert(key, dict(row), delete=True)

    def _set(self, key: str, packed: bytes | None) -> None:
        if self.fresh:
            self._begin_event()
        place = self._place, key
        self._undo.append((place, self._rows.get(place, _ABSENT)))
        self._rows[place] = packed

    def stage_rows(self) -> None:
        """Into the conditional batch of their slice."""
        for (place, key), packed in self._rows.items():
            self._database.stage_packed(place, SINK, key, packed)

    # --- upserts ---

    def upsert(self, table: str, row: Mapping[str, Any]) -> None:
        """See handlers.Upserts."""
        self._upsert(table, dict(row), delete=False)

    def _upsert(self, table: str, row: dict[str, Any], delete: bool) -> None:
        if self.fresh:
            self._begin_event()
        primary = self._primary_key(table)
        unknown = row.keys() - self._columns[table]
        if unknown:
            raise SinkError(f"a row of {table}", f"it has no column {sorted(unknown)}")
        if any(row.get(name) is None for name in primary) or (delete and len(row) != len(primary)):
            wanted = f"its primary key is ({', '.join(primary)})"
            raise SinkError(
                f"a row of {table}", f"{wanted}, given is {', '.join(row) or 'nothing'}"
            )
        written = write_time(self._database.held[self._place].epoch, self._offset)
        # One write time per event: what an event does twice to one row is done once, the last way.
        place = (table, tuple(row[name] for name in primary), written)
        before = self._upserts.get(place, _ABSENT)
        self._undo_upserts.append((place, before))
        columns = None if delete else row
        if before is not _ABSENT and before[1] is not None and columns is not None:
            columns = {**before[1], **columns}
        self._upserts[place] = (table, columns, written)

    def _primary_key(self, table: str) -> tuple[str, ...]:
        if table not in self._tables:
            access = self._database.access
            keyspace = access.link.cluster.metadata.keyspaces[access.keyspace]
            if table not in keyspace.tables or table.startswith("projection_"):
                known = sorted(one for one in keyspace.tables if not one.startswith("projection_"))
                raise SinkError(
                    f"a row of {table!r}", f"keyspace {access.keyspace} has {known}; make it first"
                )
            self._tables[table] = tuple(one.name for one in keyspace.tables[table].primary_key)
            self._columns[table] = set(keyspace.tables[table].columns)
        return self._tables[table]

    def write_upserts(self) -> None:
        """In logged batches, each below what the server warns of; all are stored when this
        returns."""
        access = self._database.access
        batches: list[BatchStatement] = []
        size = access.batch_bytes_max
        for (table, key, _), (_, columns, written) in self._upserts.items():
            statement = self._bound(table, key, columns, written)
            bytes_ = sum(len(one) for one in statement.values if isinstance(one, bytes)) + 64
            if size + bytes_ > access.batch_bytes_max:
                batches.append(BatchStatement(BatchType.LOGGED))
                size = 0
            batches[-1].add(statement)
            size += bytes_
        try:
            access.all(batches)
        except JournalUnavailableError as error:
            raise PositionStoreError(self._database.url, error.reason) from error

    def _bound(
        self, table: str, key: tuple[Any, ...], columns: dict[str, Any] | None, written: int
    ) -> Any:
        if columns is None:
            names = self._primary_key(table)
            where = " and ".join(f"{name} = ?" for name in names)
            cql = f"delete from {{ks}}.{table} using timestamp ? where {where}"
            return self._statement(("delete", table), cql).bind((written, *key))
        marks = ", ".join("?" for _ in columns)
        cql = (
            f"insert into {{ks}}.{table} ({', '.join(columns)}) values ({marks}) using timestamp ?"
        )
        return self._statement((table, *columns), cql).bind((*columns.values(), written))

    def _statement(self, name: tuple[str, ...], cql: str) -> Any:
        if name not in self._prepared:
            self._prepared[name] = self._database.access.prepare(cql)
        return self._prepared[name]

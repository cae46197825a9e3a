"""Bases of the further kinds of handlers. Those of SQL and of plain handlers stand in api.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from thespian_dc.model.envelope import Envelope
from thespian_dc.projection.api import Transaction


class GroupedSqlHandler:
    """Exactly once, many events per call: effects and position of a group move in one transaction.

    Projection.group says how many events a call has at most, and how long the first of them waits
    for others. A raise takes back the whole group; it is then handed over event by event, as lists
    of one, so that the event to blame is found and the recovery policy applies to it alone.
    """

    tables: str = ""
    """As SqlProjectionHandler.tables."""

    def start(self, tx: Transaction) -> None: ...

    def handle(self, events: Sequence[Envelope[Any]], tx: Transaction) -> None:
        """In seq_nr order per entity."""
        raise NotImplementedError

    def stop(self) -> None: ...


class GroupedHandler:
    """At least once, many events per call; the position is stored behind each group."""

    def start(self) -> None: ...

    def handle(self, events: Sequence[Envelope[Any]]) -> None:
        """In seq_nr order per entity."""
        raise NotImplementedError

    def stop(self) -> None: ...


class Partition(Protocol):
    """The handler's side of a Cassandra transaction: rows (key, value) beside the position, in the
    partition of the event's slice.

    value: anything msgpack can hold. What one event puts is taken back when it raises.
    """

    def get(self, key: str) -> Any:
        """The value as of this transaction; None where there is none."""

    def put(self, key: str, value: Any) -> None: ...

    def delete(self, key: str) -> None: ...


class CassandraProjectionHandler:
    """Exactly once in Cassandra: rows and position of a slice are one conditional batch.

    What belongs to a slice stands in its partition alone: a total over several slices is added up
    by who reads it (`thespian_dc.projection.cassandra.read.rows_of`).
    """

    def start(self) -> None: ...

    def handle(self, event: Envelope[Any], tx: Partition) -> None:
        raise NotImplementedError

    def flush(self, tx: Partition) -> None:
        """Called before the batch is sent, for events of one slice."""

    def stop(self) -> None: ...


class Upserts(Protocol):
    """The handler's side of effects that may be written twice: whole rows of any tables of the
    keyspace. No reads: what a row becomes follows from the event alone."""

    def upsert(self, table: str, row: Mapping[str, Any]) -> None:
        """Write these columns; the primary key's are among them."""

    def delete(self, table: str, key: Mapping[str, Any]) -> None:
        """Delete the row of this whole primary key."""


class CassandraUpsertHandler:
    """At least once in Cassandra, rows anywhere: effects first, in logged batches whose write time
    is made of (epoch, offset), then the position by compare-and-set.

    A repeated or late older write never wins over a newer one, so the rows end as if each event had
    been handled once; a reader may see them ahead of the position, and for a moment go back. Only
    this projection may write the tables, and a row must follow from the events of one entity.
    """

    def start(self) -> None: ...

    def handle(self, event: Envelope[Any], tx: Upserts) -> None:
        raise NotImplementedError

    def stop(self) -> None: ...

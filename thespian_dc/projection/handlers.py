"""Bases of handlers, by what they write to, and their side of its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from thespian_dc.model.envelope import Envelope


class Transaction(Protocol):
    """The handler's side of the sink's transaction: no commit, no rollback, those belong to the
    projection."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any: ...

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Any: ...


class SqlProjectionHandler:
    """Base of exactly-once handlers: effects and position move in one transaction.

    Built in the consumer process without arguments; no I/O in `__init__`. One event at a time, in
    seq_nr order per entity. A raise from `handle` rolls back to the savepoint before that event:
    earlier events of the batch stay handled.
    """

    tables: str = ""
    """DDL run before the first event, each statement `create … if not exists`."""

    def start(self, tx: Transaction) -> None:
        """Called in a transaction before the first event of each run (also after a restart)."""

    def handle(self, event: Envelope[Any], tx: Transaction) -> None:
        raise NotImplementedError

    def flush(self, tx: Transaction) -> None:
        """Called before the batch's transaction commits: handlers that gather effects in memory
        write them here."""

    def rebuild(self, tx: Transaction) -> None:
        """Delete all that this projection wrote: its positions go to zero in the same transaction.
        Without it a rebuild is refused. Called on an object of its own, after `tables`."""
        raise NotImplementedError

    def stop(self) -> None:
        """Called when the projection stops."""


class ProjectionHandler:
    """Base of at-least-once handlers: the position is stored after the batch was handled; make
    effects idempotent."""

    def start(self) -> None: ...

    def handle(self, event: Envelope[Any]) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        """Called before the batch's position is stored."""

    def rebuild(self) -> None:
        """Delete all that this projection wrote, before its positions go to zero; may be called
        again after a crash. Without it a rebuild is refused. Called on an object of its own."""
        raise NotImplementedError

    def stop(self) -> None: ...


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

    def rebuild(self, tx: Transaction) -> None:
        """As SqlProjectionHandler.rebuild."""
        raise NotImplementedError

    def stop(self) -> None: ...


class GroupedHandler:
    """At least once, many events per call; the position is stored behind each group."""

    def start(self) -> None: ...

    def handle(self, events: Sequence[Envelope[Any]]) -> None:
        """In seq_nr order per entity."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """As ProjectionHandler.rebuild."""
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
    by who reads it (`thespian_dc.projection.cassandra.read.SinkReader`). A rebuild needs no code:
    these rows go when the position does.
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

    def rebuild(self) -> None:
        """Empty the tables this projection writes (truncate them: a plain delete of today's clock
        would win over what comes again), before its positions go to zero; may be called again after
        a crash. Without it a rebuild is refused. Called on an object of its own."""
        raise NotImplementedError

    def stop(self) -> None: ...

"""What a run needs of its consumer's database, and the one place that knows which there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thespian_dc.model.errors import SettingsError
from thespian_dc.model.projection_errors import NoPositionsError
from thespian_dc.projection.api import PositionStore
from thespian_dc.projection.attempts import AttemptStore
from thespian_dc.projection.handling import Mark
from thespian_dc.projection.parking import ParkedStore
from thespian_dc.projection.store import ControlStore, FilterStore, MarkStore


class DatabaseTransaction(Mark, Protocol):
    """The handler's side of the transaction, with what its delivery needs."""

    def undo_event(self) -> None:
        """Take back what the present event did."""


class Database(Protocol):
    """A connection with at most one open transaction; used in the thread that opened it.

    sinks: what handlers may write to in its transaction (`kinds.SQL`, …). one_slice: a transaction
    holds events of one slice only.
    """

    url: str
    sinks: Sequence[str]
    one_slice: bool

    @property
    def transaction(self) -> DatabaseTransaction: ...

    @property
    def is_open(self) -> bool:
        """False also when the database itself ended the transaction."""

    def begin(self, on_locked: Callable[[], None] | None = None) -> None:
        """Begin a transaction. With on_locked nothing is locked before it is needed; then on_locked
        is called."""

    def lock(self) -> None:
        """From here on nobody else writes what the transaction depends on, or its commit fails."""

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def run_script(self, statements: str) -> None:
        """A handler's DDL, in the open transaction."""

    def data_version(self) -> int:
        """Another number after somebody else may have written something. Asked before each
        transaction: nearly free."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stores:
    """All that stands in one database, over its one connection."""

    database: Database
    positions: PositionStore
    parked: ParkedStore
    attempts: AttemptStore
    marks: MarkStore
    filters: FilterStore
    control: ControlStore


def open_stores(url: str) -> Stores:
    """Open the database of `positions`. SettingsError, ConsumerSchemaError, PositionStoreError."""
    if url.startswith("cassandra:"):
        from thespian_dc.projection.cassandra.open import open_cassandra

        return open_cassandra(url)
    from thespian_dc.projection.sqlite.database import SqliteDatabase

    return stores_of(SqliteDatabase(url))


def on_a_server(url: str) -> Any:
    """The module with the schema of that kind of server: apply_schema(url), check_schema(url)."""
    if not url.startswith("cassandra:"):
        raise SettingsError(f"{url}: an embedded database makes its tables by itself")
    from thespian_dc.projection.cassandra import schema

    return schema


def open_existing(url: str) -> Stores:
    """As open_stores, but makes nothing: NoPositionsError where no projection ran in a file."""
    if not url.startswith("cassandra:"):
        from thespian_dc.projection.sqlite.positions import are_there

        if not are_there(url):
            raise NoPositionsError(url)
    return open_stores(url)


def check_url(url: str) -> None:
    """SettingsError where it names no database that positions can be kept in."""
    if not url.startswith("cassandra:"):
        from thespian_dc.projection.sqlite.database import sqlite_path

        sqlite_path(url)


def open_control(url: str, busy_timeout_s: float) -> Callable[[], ControlStore]:
    """How a worker opens, in its own thread, what is wished and who works. busy_timeout_s: how long
    it waits for an embedded database that others hold locked."""

    def opened() -> ControlStore:
        if url.startswith("cassandra:"):
            return open_stores(url).control
        from thespian_dc.projection.sqlite.control import SqliteControl
        from thespian_dc.projection.sqlite.database import SqliteDatabase

        return SqliteControl(SqliteDatabase(url, busy_timeout_s))

    return opened


def stores_of(database: Database) -> Stores:
    """Over a SQLite database that is open."""
    from thespian_dc.projection.sqlite.control import SqliteControl
    from thespian_dc.projection.sqlite.database import SqliteDatabase
    from thespian_dc.projection.sqlite.filters import SqliteFilters
    from thespian_dc.projection.sqlite.marks import SqliteMarks
    from thespian_dc.projection.sqlite.parked import SqliteAttempts, SqliteParked
    from thespian_dc.projection.sqlite.positions import SqlitePositions

    assert isinstance(database, SqliteDatabase)
    return Stores(
        database, SqlitePositions(database), SqliteParked(database), SqliteAttempts(database),
        SqliteMarks(database), SqliteFilters(database), SqliteControl(database),
    )  # fmt: skip

"""Open a journal in an SQLite file, and the journal itself, put together from its parts."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from thespian_dc.journal.api import StateRow
from thespian_dc.journal.cells import Cell
from thespian_dc.journal.sqlite.database import Database
from thespian_dc.journal.sqlite.entities import EntityIndex
from thespian_dc.journal.sqlite.log import SqliteLog
from thespian_dc.journal.sqlite.registry import SqliteRegistry
from thespian_dc.journal.sqlite.schema import SCHEMA_VERSION, create_tables, found_version, migrate
from thespian_dc.journal.sqlite.slice_row import load_slice
from thespian_dc.journal.sqlite.states import (
    list_states,
    read_state,
    read_states,
    write_states,
)
from thespian_dc.journal.sqlite.verify import verify_file
from thespian_dc.model.errors import CorruptJournalError, JournalUrlError, SchemaError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit

LOCK_TIMEOUT_S = 30.0


class SqliteJournal(SqliteRegistry, SqliteLog):
    """The contract on one file. Several processes may have it open, and many threads in each."""

    derived_index = False

    def __init__(self, url: str, database: Database) -> None:
        self.url, self._db, self._entities = url, database, EntityIndex()
        identity = self._cell("journal/id")
        if identity is None:
            raise CorruptJournalError(url, "registry cell 'journal/id'", "it is missing")
        self.journal_id: str = self._checked(identity).content

    def index_mark(self, key: SliceKey) -> int:
        """The head: `append` keeps the index."""
        return self.find_head(key).head

    def advance_index(self, key: SliceKey, until_offset: int, recent: Sequence[Commit] = ()) -> int:
        """Nothing to do."""
        return self.index_mark(key)

    def write_states(self, key: SliceKey, rows: Sequence[StateRow]) -> None:
        # They may be lost at any time; who trims what they stand for writes after them.
        self._db.write_lightly(lambda connection: write_states(connection, key, rows))

    def read_state(self, key: SliceKey, entity_id: str) -> StateRow | None:
        def work(connection: sqlite3.Connection) -> StateRow | None:
            row = load_slice(connection, key)
            return read_state(connection, row, entity_id) if row else None

        return self._db.read(work)

    def read_states(self, key: SliceKey, entity_ids: Collection[str]) -> dict[str, StateRow]:
        def work(connection: sqlite3.Connection) -> dict[str, StateRow]:
            row = load_slice(connection, key)
            return read_states(connection, row, entity_ids) if row else {}

        return self._db.read(work)

    def states(self, key: SliceKey, after: str = "", limit: int = 1000) -> list[StateRow]:
        def work(connection: sqlite3.Connection) -> list[StateRow]:
            row = load_slice(connection, key)
            return list_states(connection, row, after, limit) if row else []

        return self._db.read(work)

    def delete_state(self, key: SliceKey, entity_id: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            row = load_slice(connection, key)
            if row is not None:
                where = "delete from state where slice = ? and entity_id = ?"
                connection.execute(where, (row.id, entity_id))

        self._db.write(work)

    def verify(self, entity_type: str | None = None) -> list[Exception]:
        cells = list(self._verify_cells())
        return cells + self._db.read(
            lambda connection: verify_file(connection, self.url, entity_type)
        )

    def close(self) -> None:
        self._db.close()


def open_sqlite(url: str, create: bool = True) -> SqliteJournal:
    """Open `sqlite:///relative/path` or `sqlite:////absolute/path`.

    Parameters: `?synchronous=full|normal` (default full) and `lock_timeout_s` (default 30).

    A file of an older version is migrated, in one transaction; with `create` False it is left as it
    is: nodes of that version may work on it. JournalUrlError: no such directory, not an SQLite
    file, another program's file, an unknown parameter. SchemaError: the file's schema is of a newer
    version, or there is none or an older one and `create` is False.
    """
    path, synchronous, lock_timeout_s = _parse(url)
    where = Path(path)
    if not where.parent.is_dir():
        raise JournalUrlError(url, f"the directory {str(where.parent)!r} does not exist; create it")
    if where.is_dir():
        raise JournalUrlError(url, f"{path!r} is a directory, not a file")
    if not where.exists() and not create:
        raise SchemaError(url, 0, SCHEMA_VERSION)
    database = Database(url, path, synchronous, lock_timeout_s)
    try:
        _prepare(database, url, create)
        return SqliteJournal(url, database)
    except BaseException:
        database.close()
        raise


def _parse(url: str) -> tuple[str, str, float]:
    """(path, synchronous, lock_timeout_s) of a URL."""
    head, _, query = url.partition("?")
    path = unquote(head.removeprefix("sqlite:///"))
    if not head.startswith("sqlite:///") or not path or "\0" in path or path.startswith(":"):
        raise JournalUrlError(url, "an SQLite journal is a file: sqlite:///relative/path")
    given = dict(parse_qsl(query, keep_blank_values=True))
    synchronous = given.pop("synchronous", "full").lower()
    if synchronous not in ("full", "normal"):
        raise JournalUrlError(url, f"synchronous is full or normal, not {synchronous!r}")
    try:
        lock_timeout_s = float(given.pop("lock_timeout_s", LOCK_TIMEOUT_S))
        if not 0 <= lock_timeout_s < float("inf"):
            raise ValueError(lock_timeout_s)
    except ValueError as error:
        raise JournalUrlError(url, "lock_timeout_s is a number of seconds, from 0") from error
    if given or (query and "=" not in query):
        unknown = ", ".join(given) or query
        raise JournalUrlError(
            url, f"unknown parameter {unknown}; there are synchronous, lock_timeout_s"
        )
    return path, synchronous, lock_timeout_s


def _prepare(database: Database, url: str, create: bool) -> None:
    """Check the schema, make it, or migrate it; several processes may do so at the same time."""
    try:
        found = database.read(found_version)
        if found == 0 and create:
            database.use_wal()
            found = database.write(_create_if_empty)
        elif create and 0 < found < SCHEMA_VERSION:
            found = database.write(_migrate_if_older)
    except CorruptJournalError as error:
        raise JournalUrlError(url, f"it is not an SQLite database ({error.reason})") from error
    if found == -1:
        raise JournalUrlError(url, "the file is another program's database")
    if found != SCHEMA_VERSION:
        raise SchemaError(url, found, SCHEMA_VERSION)


def _create_if_empty(connection: sqlite3.Connection) -> int:
    if found_version(connection) == 0:
        create_tables(connection)
        identity = Cell.make("journal/id", 1, uuid.uuid4().hex)
        connection.execute("insert into cell values (?, ?, ?, ?)", identity)
    return found_version(connection)


def _migrate_if_older(connection: sqlite3.Connection) -> int:
    found = found_version(connection)
    if found < SCHEMA_VERSION:
        migrate(connection, found)
    return found_version(connection)

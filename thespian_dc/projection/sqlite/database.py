"""A consumer's SQLite database: one connection, and the transaction that a handler works in.

Laws:
- Opened in the process and thread that uses it. One writer at a time; readers of the tables are not
  held up.
- The write lock is taken at a handler's first statement, or for the writes before the commit: one
  that computes and gathers holds up no other consumer of the database.
- A handler cannot end the transaction: `commit` and `rollback` are refused when they are compiled.
  Ours carry a comment, so that the connection's cache of compiled statements never hands them to a
  handler.

`synchronous=NORMAL`: a power cut may take back the last transactions, effects and position alike;
the events are then handled again. Exactly-once does not need more, and `FULL` costs ten times as
much per batch.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from thespian_dc.journal.api import SQLITE_ID
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.setting_checks import OF_ITS_OWN
from thespian_dc.model.stream_errors import PositionStoreError, TransactionRefusedError
from thespian_dc.projection.store import FILE_REMOVED

_BEGIN, _COMMIT, _ROLLBACK = (
    f"{word} /* projection */" for word in ("begin immediate", "commit", "rollback")
)
_SAVE, _RELEASE, _UNDO = (
    f"{word} thespian_dc_event" for word in ("savepoint", "release", "rollback to")
)
LOCK_POLL_S = 0.001
_DENIED = "not authorized"  # of what `_authorize` denies


def sqlite_path(url: str) -> str:
    """The file of `sqlite:///relative` or `sqlite:////absolute`; SettingsError for anything
    else, a database in memory too: threads and processes with a connection each share it."""
    path = url.removeprefix("sqlite:///")
    if path == url or path in {"", ":memory:"}:
        raise SettingsError(f"positions must be 'sqlite:///path', the path of a file, not {url!r}")
    return path


def file_at(path: str) -> tuple[int, int] | None:
    """Which file a path leads to; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class SqliteTransaction:
    """The handler's side. A savepoint is set at its first statement of an event, not at each
    event."""

    __slots__ = ("_execute", "_executemany", "_lock", "_open", "fresh", "touched")

    def __init__(self, connection: sqlite3.Connection, lock: Callable[[], None]) -> None:
        self._lock = lock
        self._execute, self._executemany = connection.execute, connection.executemany
        self.fresh = True
        """The projection sets it before each event: nothing was done yet that would need
        undoing."""
        self.touched = False
        """A handler did something since the transaction began."""
        self._open = False

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """As sqlite3.Connection.execute: a cursor."""
        if self.fresh:
            self._save()
        try:
            return self._execute(sql, parameters)
        except sqlite3.DatabaseError as error:
            if str(error) == _DENIED:
                raise TransactionRefusedError(sql) from error
            raise

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Any:
        """As sqlite3.Connection.executemany: a cursor."""
        if self.fresh:
            self._save()
        return self._executemany(sql, rows)

    def _save(self) -> None:
        if self._open:
            self._execute(_RELEASE)
        else:
            self._lock()
        self._execute(_SAVE)
        self.fresh, self.touched, self._open = False, True, True

    def undo_event(self) -> None:
        """Take back what the present event did; what earlier events did stays."""
        if not self.fresh:
            self._execute(_UNDO)
            self.fresh = True

    def began(self) -> None:
        """A new transaction: no savepoint, nothing touched."""
        self._open, self.fresh, self.touched = False, True, False


class SqliteDatabase:
    """One connection with at most one open transaction. Implements projection.databases."""

    sinks: Sequence[str] = ("SQL",)
    one_slice = False

    def __init__(self, url: str, busy_timeout_s: float = 10.0) -> None:
        self.url = url
        self._path = os.path.abspath(sqlite_path(url))
        self._busy_timeout_s = busy_timeout_s
        self._wait = f"pragma busy_timeout = {int(busy_timeout_s * 1000)}"
        with self.named():
            self._connection = sqlite3.connect(
                self._path, timeout=busy_timeout_s, isolation_level=None,
                cached_statements=512,
            )  # fmt: skip
            self.execute = self._connection.execute
            self.executemany = self._connection.executemany
            if self.execute("pragma application_id").fetchone() == (SQLITE_ID,):
                self.close()
                raise SettingsError(f"{url} is a journal's file; {OF_ITS_OWN}")
            self._patiently("pragma journal_mode = wal")
            self.execute("pragma synchronous = normal")
            self.execute("pragma temp_store = memory")
        self._file = file_at(self._path)
        self._guarded = self._locked = False
        self._on_locked: Callable[[], None] = _nothing
        self._connection.set_authorizer(self._authorize)
        self.transaction = SqliteTransaction(self._connection, self.lock)

    def data_version(self) -> int:
        """Another number after another connection has committed something; costs microseconds."""
        found: int = self.execute("pragma data_version").fetchone()[0]
        return found

    def close(self) -> None:
        """Roll back what is open and close. Idempotent."""
        self._connection.close()

    # --- the handler's transaction ---

    def begin(self, on_locked: Callable[[], None] | None = None) -> None:
        """Begin a transaction. With on_locked the write lock is not taken before it is needed, and
        on_locked is called then; what it raises comes out of the statement that needed it."""
        self.transaction.began()
        self._locked, self._on_locked = False, on_locked or _nothing
        if on_locked is None:
            self.lock()
        self._guarded = True

    def lock(self) -> None:
        """Take the write lock, unless this transaction has it; PositionStoreError where the
        database ended the transaction meanwhile, or its file is another one by now: what is
        written to the one that was removed nobody sees, and it ends with this process."""
        if self._locked:
            if not self.is_open:
                raise PositionStoreError(self.url, "the database ended the handler's transaction")
            return
        if file_at(self._path) != self._file:
            raise PositionStoreError(self.url, FILE_REMOVED)
        guarded, self._guarded = self._guarded, False
        with self.named():
            self._patiently(_BEGIN)
        self._locked, self._guarded = True, guarded
        self._on_locked()

    def _patiently(self, statement: str) -> None:
        """SQLite's own waiting looks ten times a second, and finds a database that another worker
        locks again at once locked nearly each time; what turns a file into a write-ahead log does
        not wait at all."""
        until = time.monotonic() + self._busy_timeout_s
        self.execute("pragma busy_timeout = 0")
        try:
            while True:
                try:
                    self.execute(statement)
                    return
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
                    if time.monotonic() > until:
                        raise
                time.sleep(LOCK_POLL_S)
        finally:
            self.execute(self._wait)

    def commit(self) -> None:
        """Make effects and positions durable."""
        self._guarded = False
        if self._locked:
            with self.named():
                self.execute(_COMMIT)

    def rollback(self) -> None:
        """Take back the open transaction, if there is one."""
        self._guarded = False
        if self.is_open:
            with self.named():
                self.execute(_ROLLBACK)

    @property
    def is_open(self) -> bool:
        """False also when the database itself ended the transaction (disk full, `or rollback`)."""
        return self._connection.in_transaction

    def run_script(self, statements: str) -> None:
        """Run a handler's DDL, statement by statement, in the open transaction."""
        rest = ""
        for part in statements.split(";"):
            rest += part + ";"
            if sqlite3.complete_statement(rest):
                self.execute(rest)
                rest = ""
        if rest.strip("; \n\t"):
            self.execute(rest)

    def _authorize(self, action: int, *_: str | None) -> int:
        refused = self._guarded and action == sqlite3.SQLITE_TRANSACTION
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Errors of the driver become PositionStoreError with the database's URL."""
        try:
            yield
        except sqlite3.Error as error:
            raise PositionStoreError(self.url, f"{type(error).__name__}: {error}") from error


def _nothing() -> None:
    """Of a transaction that has nothing to check."""

"""Positions in SQLite, and the transaction in which a handler's effects and its position move
together.

Laws:
- Opened in the process and thread that uses it. One writer at a time; readers of the tables are not
  held up.
- A position is written by compare-and-set on (epoch, expected offset). Zero rows: everything of the
  transaction is rolled back and PositionConflictError tells the consumer to stop.
- A handler cannot end the transaction: `commit` and `rollback` are refused when they are compiled.
  Ours carry a comment, so that the connection's cache of compiled statements never hands them to a
  handler.

`synchronous=NORMAL`: a power cut may take back the last transactions, effects and position alike;
the events are then handled again. Exactly-once does not need more, and `FULL` costs ten times as
much per batch.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from thespian_dc.model.errors import JournalDivergedError, PositionConflictError, SettingsError
from thespian_dc.model.position import Position
from thespian_dc.model.stream_errors import PositionStoreError, TransactionRefusedError
from thespian_dc.projection.api import StoredPosition, StoredPositions
from thespian_dc.projection.core import Move

_SCHEMA = """
create table if not exists thespian_dc_positions(
    projection text not null, slice integer not null, journal_id text not null,
    epoch integer not null, offset integer not null, write_id blob not null,
    primary key (projection, slice)) without rowid
"""
_BEGIN, _COMMIT, _ROLLBACK = (
    f"{word} /* projection */" for word in ("begin immediate", "commit", "rollback")
)
_SAVE, _RELEASE, _UNDO = (
    f"{word} thespian_dc_event" for word in ("savepoint", "release", "rollback to")
)
_DENIED = "not authorized"  # of what `_authorize` denies
_CHECK = (
    "select 1 from thespian_dc_positions "
    "where projection = ? and slice = ? and epoch = ? and offset = ?"
)
_MOVE = (
    "update thespian_dc_positions set offset = ?, write_id = ? "
    "where projection = ? and slice = ? and epoch = ? and offset = ?"
)


def sqlite_path(url: str) -> str:
    """The file of `sqlite:///relative` or `sqlite:////absolute`; SettingsError for anything
    else."""
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise SettingsError(f"positions must be 'sqlite:///path', not {url!r}")
    return path


class SqliteTransaction:
    """The handler's side. A savepoint is set at its first statement of an event, not at each
    event."""

    __slots__ = ("_connection", "_execute", "_executemany", "_open", "fresh", "touched")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
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


class SqlitePositionStore:
    """One connection: positions of any number of projections, and one open transaction at a
    time."""

    def __init__(self, url: str, busy_timeout_s: float = 10.0) -> None:
        self._url = url
        with self._named():
            self._connection = sqlite3.connect(
                sqlite_path(url), timeout=busy_timeout_s, isolation_level=None,
                cached_statements=512,
            )  # fmt: skip
            self._execute = self._connection.execute
            self._execute("pragma journal_mode = wal")
            self._execute("pragma synchronous = normal")
            self._execute("pragma temp_store = memory")
            self._execute(_SCHEMA)
        self._guarded = False
        self._connection.set_authorizer(self._authorize)
        self.transaction = SqliteTransaction(self._connection)

    # --- positions ---

    def load(self, projection: str) -> StoredPositions:
        """Every row of the projection."""
        with self._named():
            rows = self._execute(
                "select slice, journal_id, epoch, offset, write_id from thespian_dc_positions "
                "where projection = ? order by slice",
                (projection,),
            ).fetchall()
        journal_ids = {row[1] for row in rows}
        positions = {
            slice_: StoredPosition(epoch, Position(offset, write_id))
            for slice_, _, epoch, offset, write_id in rows
        }
        return StoredPositions(journal_ids.pop() if journal_ids else "", positions)

    def claim(self, projection: str, slices: Sequence[int], journal_id: str) -> StoredPositions:
        """Raise the epoch of each slice by one, all or none; JournalDivergedError for other
        rows."""
        with self._named():
            self.begin()
        try:
            _check_journal(projection, self.load(projection), journal_id)
            with self._named():
                self._connection.executemany(
                    "insert into thespian_dc_positions values (?, ?, ?, 1, 0, x'') "
                    "on conflict (projection, slice) do update set epoch = epoch + 1",
                    [(projection, slice_, journal_id) for slice_ in slices],
                )
            claimed = self.load(projection)
            self.commit()
        except BaseException:
            self.rollback()
            raise
        mine = {slice_: row for slice_, row in claimed.slices.items() if slice_ in set(slices)}
        return StoredPositions(journal_id, mine)

    def close(self) -> None:
        """Roll back what is open and close. Idempotent."""
        self._connection.close()

    # --- the handler's transaction ---

    def begin(self) -> None:
        """Take the write lock now: two consumers of one projection meet here, not half-way."""
        with self._named():
            self._execute(_BEGIN)
        self.transaction.began()
        self._guarded = True

    def check(self, projection: str, slice_: int, epoch: int, offset: int) -> None:
        """PositionConflictError unless the row is ours still; in a transaction it stays so.

        Without this a consumer that was fenced would show its handler what another has handled.
        """
        with self._named():
            found = self._execute(_CHECK, (projection, slice_, epoch, offset)).fetchone()
        if found is None:
            raise self._conflict(projection, slice_, epoch, offset)

    def move(self, projection: str, moves: Sequence[Move]) -> None:
        """Write positions in the open transaction; PositionConflictError rolled it back."""
        if not self.is_open:
            raise PositionStoreError(self._url, "the database ended the handler's transaction")
        with self._named():
            for slice_, epoch, expected, position in moves:
                row = (position.offset, position.write_id, projection, slice_, epoch, expected)
                if self._execute(_MOVE, row).rowcount != 1:
                    self.rollback()
                    raise self._conflict(projection, slice_, epoch, expected)

    def commit(self) -> None:
        """Make effects and positions durable."""
        self._guarded = False
        with self._named():
            self._execute(_COMMIT)

    def rollback(self) -> None:
        """Take back the open transaction, if there is one."""
        self._guarded = False
        if self.is_open:
            with self._named():
                self._execute(_ROLLBACK)

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
                self._execute(rest)
                rest = ""
        if rest.strip("; \n\t"):
            self._execute(rest)

    def _conflict(
        self, projection: str, slice_: int, epoch: int, expected: int
    ) -> PositionConflictError:
        row = self.load(projection).slices.get(slice_)
        found = "no row" if row is None else f"{row.position.offset} under epoch {row.epoch}"
        return PositionConflictError(projection, slice_, expected, f"{found}, not epoch {epoch}")

    def _authorize(self, action: int, *_: str | None) -> int:
        refused = self._guarded and action == sqlite3.SQLITE_TRANSACTION
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise PositionStoreError(self._url, f"{type(error).__name__}: {error}") from error


def _check_journal(projection: str, stored: StoredPositions, journal_id: str) -> None:
    if stored.slices and stored.journal_id != journal_id:
        reason = f"its id is {journal_id}, the positions are of {stored.journal_id}"
        raise JournalDivergedError(f"projection {projection}", 0, reason)

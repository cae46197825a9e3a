"""Connections to one file and the transactions on them. Knows SQLite and nothing of journals.

A connection belongs to one thread of one process: it is opened when that thread first needs it.
After a fork the child opens its own; the ones it inherited are kept and never touched, because
closing them would drop the parent's file locks. Waiting for the write lock is ours (a short random
pause), not SQLite's, whose fixed steps let the process that just had the lock have it again.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

from thespian_dc.model.errors import CorruptJournalError, JournalUnavailableError

T = TypeVar("T")
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PAUSE_S_MAX = 0.004
_CACHE_KIB = 16_384
_WAL_PAGES = 4_000  # checkpoint at 16 MB: large commits would meet the default's 4 MB all the time
_WAL_BYTES_KEPT = 32 << 20
_inherited: list[sqlite3.Connection] = []


class UnknownOutcomeError(JournalUnavailableError):
    """COMMIT failed and may yet show as done after a crash. `append` answers it as UNKNOWN."""


class _Held(NamedTuple):
    """A connection, and the only process and thread that may use it."""

    pid: int
    thread: threading.Thread
    connection: sqlite3.Connection


class BusyError(Exception):
    """Another connection writes."""


class Database:
    """`read` and `write` run a function in one transaction each; from any thread."""

    def __init__(self, url: str, path: str, synchronous: str, lock_timeout_s: float) -> None:
        self.url, self.path = url, path
        self._synchronous, self._lock_timeout_s = synchronous, lock_timeout_s
        self._local = threading.local()
        self._lock = threading.Lock()
        self._held: list[_Held] = []
        self._closed = False

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one consistent view of the file; it may be run again: no other effect."""
        return self._patiently(lambda: _in_transaction(self.connection(), "begin", work))

    def write_lightly(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`write` what a loss of power may take back: no fsync, neither for this nor in the way of
        others. The next `write` of anybody makes it last."""
        connection = self.connection()
        connection.execute("pragma synchronous = normal")
        try:
            return self.write(work)
        finally:
            with suppress(sqlite3.Error):  # the connection was given up
                connection.execute(f"pragma synchronous = {self._synchronous}")

    def write(self, work: Callable[[sqlite3.Connection], T], at_once: bool = False) -> T:
        """Run `work` as the only writer and commit; what it raises rolls back and passes through.

        at_once: BusyError, with nothing done, where another one writes just now.
        JournalUnavailableError: certainly nothing was written. UnknownOutcomeError: perhaps it was.
        """
        begin = "begin immediate"
        try:
            return self._patiently(lambda: _in_transaction(self.connection(), begin, work), at_once)
        except UnknownOutcomeError:
            self._discard()
            raise

    def use_wal(self) -> None:
        """Switch the file to a write-ahead log (a property of the file; once is enough)."""
        switch = "pragma journal_mode = wal"
        (mode,) = self._patiently(lambda: self.connection().execute(switch).fetchone())
        if mode != "wal":
            reason = f"its journal mode is {mode}; a write-ahead log cannot be kept there"
            raise JournalUnavailableError(self.url, reason)

    def _patiently(self, work: Callable[[], T], at_once: bool = False) -> T:
        """Run `work`, again while another holds the lock it needs; name every other error."""
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                return work()
            except sqlite3.IntegrityError:
                raise  # the second fence, for `append`
            except sqlite3.DatabaseError as error:
                if _code(error) not in _BUSY:
                    raise self.unavailable(error) from error
                if at_once:
                    raise BusyError from error
                if time.monotonic() > deadline:
                    reason = f"another process held its lock for {self._lock_timeout_s:g} s"
                    raise JournalUnavailableError(self.url, reason) from error
            time.sleep(random.uniform(0, _PAUSE_S_MAX))

    def unavailable(self, error: sqlite3.Error) -> JournalUnavailableError | CorruptJournalError:
        """The named error for what SQLite says."""
        if _code(error) in _DAMAGED:
            return CorruptJournalError(self.url, "the file", str(error))
        return JournalUnavailableError(self.url, str(error))

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if self._closed:
            raise JournalUnavailableError(self.url, "this journal was closed; open it again")
        held: _Held | None = getattr(self._local, "held", None)
        if held is None or held.pid != os.getpid():
            held = self._local.held = _Held(
                os.getpid(), threading.current_thread(), self._connect()
            )
            with self._lock:
                self._drop_unused()
                self._held.append(held)
        return held.connection

    def _discard(self) -> None:
        """Close this thread's connection: after a failed write or fsync its view is not trusted."""
        held: _Held = self._local.held
        del self._local.held
        with self._lock:
            self._held.remove(held)
        held.connection.close()

    def _drop_unused(self) -> None:
        """Close what ended threads left; keep untouched what this process inherited."""
        for held in self._held:
            if held.pid != os.getpid():
                _inherited.append(held.connection)
            elif not held.thread.is_alive():
                held.connection.close()
        self._held = [h for h in self._held if h.pid == os.getpid() and h.thread.is_alive()]

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.text_factory = _text
        try:
            connection.execute(f"pragma synchronous = {self._synchronous}")
            connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
            connection.execute(f"pragma wal_autocheckpoint = {_WAL_PAGES}")
            connection.execute(f"pragma journal_size_limit = {_WAL_BYTES_KEPT}")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the connections of all threads of this process. Idempotent."""
        self._closed = True
        with self._lock:
            self._drop_unused()
            for held in self._held:
                held.connection.close()
            self._held.clear()


def _in_transaction(
    connection: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], T]
) -> T:
    connection.execute(begin)
    try:
        result = work(connection)
    except BaseException:
        _roll_back(connection)
        raise
    try:
        connection.execute("commit")
    except sqlite3.Error as error:
        _roll_back(connection)
        # A full disk keeps the last page from being written whole; anything else is not certain.
        if begin == "begin" or _code(error) in (*_BUSY, sqlite3.SQLITE_FULL):
            raise
        raise UnknownOutcomeError("the file", str(error)) from error
    return result


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("rollback")
        except sqlite3.Error:  # SQLite rolled back by itself; what it raised first is what matters
            return


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 where the error is the module's own."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _text(stored: bytes) -> str:
    """Text as stored; bytes that are no UTF-8 (damage) stay visible, the read goes on."""
    return stored.decode(errors="surrogateescape")

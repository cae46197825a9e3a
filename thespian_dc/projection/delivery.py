"""How a batch of handled events and their position become durable together: exactly once, or at
least once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import PositionConflictError, SettingsError
from thespian_dc.model.settings import Projection
from thespian_dc.model.stream_errors import FlushError, PositionStoreError
from thespian_dc.projection.api import ProjectionHandler, SqlProjectionHandler
from thespian_dc.projection.handling import Mark
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.sqlite.positions import SqlitePositions


class Delivery(Protocol):
    """One run of a handler with its position store. Used on one thread.

    begin, `check` each slice, events through `handle`, `commit` or `roll_back`; `undo_event` after
    one that raised. commit: flushes, calls `write` (positions and all else that is kept, in the
    transaction) and makes it durable; whatever raises, nothing is kept.
    """

    handle: Callable[[Envelope[Any], Any], Any]
    mark: Mark

    def start(self) -> None: ...
    def begin(self) -> None: ...
    def check(self, slice_: int, epoch: int, offset: int) -> None: ...
    def undo_event(self) -> None: ...
    def commit(self, write: Callable[[], None]) -> None: ...
    def roll_back(self) -> None: ...
    def stop(self) -> None: ...


class ExactlyOnce:
    """Effects and position in one SQL transaction."""

    def __init__(
        self, projection: str, handler: SqlProjectionHandler, database: SqliteDatabase
    ) -> None:
        self._projection, self._handler, self._database = projection, handler, database
        self._positions = SqlitePositions(database)
        self._checked: list[tuple[int, int, int]] = []
        self.handle: Callable[[Envelope[Any], Any], Any] = handler.handle
        self.mark: Mark = database.transaction

    def start(self) -> None:
        """Make the handler's tables and start it, in a transaction of their own."""
        self._database.begin()
        try:
            self._database.run_script(self._handler.tables)
            self._handler.start(self._database.transaction)
        except BaseException:
            self._database.rollback()
            raise
        self._database.commit()

    def begin(self) -> None:
        self._checked.clear()
        self._database.begin(self._check_again)

    def check(self, slice_: int, epoch: int, offset: int) -> None:
        """Now, and again once nobody else can write: then it stays so until the commit."""
        self._positions.check(self._projection, slice_, epoch, offset)
        self._checked.append((slice_, epoch, offset))

    def _check_again(self) -> None:
        for slice_, epoch, offset in self._checked:
            self._positions.check(self._projection, slice_, epoch, offset)

    def undo_event(self) -> None:
        if self._database.is_open:  # the database itself may have ended it: then `commit` says so
            self._database.transaction.undo_event()

    def commit(self, write: Callable[[], None]) -> None:
        try:
            _flush(self._projection, lambda: self._handler.flush(self._database.transaction))
            self._database.lock()
            write()
            self._database.commit()
        except BaseException:
            self._database.rollback()
            raise

    def roll_back(self) -> None:
        self._database.rollback()

    def stop(self) -> None:
        self._handler.stop()


class _NoTransaction:
    """The mark where there is nothing to undo."""

    __slots__ = ("fresh",)

    def __init__(self) -> None:
        self.fresh = True


class AtLeastOnce:
    """The position is stored after the handler handled and flushed; a crash between repeats
    events."""

    def __init__(
        self, projection: str, handler: ProjectionHandler, database: SqliteDatabase
    ) -> None:
        self._projection, self._handler, self._database = projection, handler, database
        self._positions = SqlitePositions(database)
        handle = handler.handle
        self.handle: Callable[[Envelope[Any], Any], Any] = lambda event, _: handle(event)
        self.mark: Mark = _NoTransaction()

    def start(self) -> None:
        self._handler.start()

    def begin(self) -> None:
        """Nothing: a transaction open while the handler works could lock it out of its own
        database."""

    def check(self, slice_: int, epoch: int, offset: int) -> None:
        self._positions.check(self._projection, slice_, epoch, offset)

    def undo_event(self) -> None:
        """Nothing to undo: effects are the handler's own affair."""

    def commit(self, write: Callable[[], None]) -> None:
        _flush(self._projection, self._handler.flush)
        self._database.begin()
        try:
            write()
            self._database.commit()
        except BaseException:
            self._database.rollback()
            raise

    def roll_back(self) -> None:
        """Nothing is open."""

    def stop(self) -> None:
        self._handler.stop()


def _flush(projection: str, flush: Callable[[], None]) -> None:
    try:
        flush()
    except (PositionConflictError, PositionStoreError):  # at its first statement: not its own
        raise
    except Exception as error:
        raise FlushError(projection, f"{type(error).__name__}: {error}") from error


def deliver(projection: Projection, database: SqliteDatabase) -> Delivery:
    """Build the handler and what carries it; SettingsError where handler and delivery do not
    fit."""
    handler, who = projection.handler(), f"projection {projection.name}"
    what = projection.handler.__qualname__
    if isinstance(handler, SqlProjectionHandler):
        if projection.delivery != "exactly-once":
            raise SettingsError(f"{who}: {what} is an SQL handler, its delivery is 'exactly-once'")
        return ExactlyOnce(projection.name, handler, database)
    if not isinstance(handler, ProjectionHandler):
        raise SettingsError(
            f"{who}: {what} must be a subclass of SqlProjectionHandler or ProjectionHandler"
        )
    if projection.delivery != "at-least-once":
        raise SettingsError(
            f"{who}: {what} has effects outside the position's transaction: say "
            "delivery='at-least-once', or make it an SqlProjectionHandler"
        )
    return AtLeastOnce(projection.name, handler, database)

"""How events and their position become durable: together, position last, or position first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.handler_errors import EventLostError
from thespian_dc.model.settings import Projection
from thespian_dc.projection.actors import Courier
from thespian_dc.projection.committing import own_transaction
from thespian_dc.projection.databases import Stores
from thespian_dc.projection.handling import Mark, not_of_the_event
from thespian_dc.projection.kinds import AT_MOST, NOTHING, Kind, before_events, kind_of


class Delivery(Protocol):
    """One run of a handler with its database. Used on one thread, but for `abort`.

    begin, `check` each slice, events through `handle` (through `alone` where that was begun),
    `commit` or `roll_back`; `undo_event` after one that raised. commit: flushes, calls `write`
    (positions and all else that is kept, in the transaction) and makes it durable; whatever raises,
    nothing is kept.
    """

    handle: Callable[[Envelope[Any], Any], Any]
    alone: Callable[[Envelope[Any], Any], Any]
    """One event of a transaction that is begun for it: a raise is its own, whoever raises it."""
    mark: Mark
    single: bool
    """Each transaction takes one event."""
    one_slice: bool
    """Each transaction takes events of one slice."""
    within_s: float
    """How long a transaction at the tail waits for more events."""

    def start(self) -> None: ...
    def begin(self, *, alone: bool = False) -> None: ...
    def check(self, slice_: int, epoch: int, offset: int) -> None: ...
    def undo_event(self) -> None: ...
    def commit(self, write: Callable[[], None]) -> None: ...
    def roll_back(self) -> None: ...
    def stop(self) -> None: ...
    def abort(self) -> None: ...


class _Delivery:
    """What all of them share."""

    single = False

    def __init__(self, projection: str, kind: Kind, stores: Stores) -> None:
        self._projection, self._kind = projection, kind
        self._database, self._positions = stores.database, stores.positions
        self.one_slice, self.within_s = stores.database.one_slice, kind.within_s
        self.handle, self.alone = kind.handle, kind.alone
        self._alone = False
        self.stop, self.abort = kind.stop, kind.abort

    def _start(self, tx: Any) -> None:
        with before_events(self._projection, f"{self._kind.what}.start"):
            self._kind.start(tx)


class Transactional(_Delivery):
    """Effects and position in one transaction of the sink: exactly once."""

    def __init__(self, projection: str, kind: Kind, stores: Stores) -> None:
        super().__init__(projection, kind, stores)
        self._checked: list[tuple[int, int, int]] = []
        self.mark: Mark = stores.database.transaction

    def start(self) -> None:
        """Make the handler's tables and start it, in a transaction of their own."""
        with own_transaction(self._database):
            with before_events(self._projection, f"making the tables of {self._kind.what}"):
                self._database.run_script(self._kind.tables)
            self._start(self._database.transaction)

    def begin(self, *, alone: bool = False) -> None:
        self._alone = alone
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
            if not self._alone:
                self._kind.flush(self._database.transaction)
            self._database.lock()
            write()
            self._database.commit()
        except BaseException:
            self._database.rollback()
            raise

    def roll_back(self) -> None:
        self._database.rollback()


class _NoTransaction:
    """The mark where there is nothing to undo."""

    __slots__ = ("fresh",)

    def __init__(self) -> None:
        self.fresh = True


class AtLeastOnce(_Delivery):
    """The position is stored after the handler handled and flushed; a crash between repeats
    events."""

    def __init__(self, projection: str, kind: Kind, stores: Stores) -> None:
        super().__init__(projection, kind, stores)
        self.mark: Mark = _NoTransaction()

    def start(self) -> None:
        self._start(None)

    def begin(self, *, alone: bool = False) -> None:
        """Nothing of the database: a transaction open while the handler works could lock it out of
        its own."""
        self._alone = alone

    def check(self, slice_: int, epoch: int, offset: int) -> None:
        self._positions.check(self._projection, slice_, epoch, offset)

    def undo_event(self) -> None:
        """Nothing to undo: effects are the handler's own affair."""

    def commit(self, write: Callable[[], None]) -> None:
        if not self._alone:
            self._kind.flush(None)
        self._store(write)

    def _store(self, write: Callable[[], None]) -> None:
        with own_transaction(self._database):
            write()

    def roll_back(self) -> None:
        """Nothing is open."""


class AtMostOnce(AtLeastOnce):
    """The position passes an event before the handler gets it, one event at a time: a crash loses
    one at most."""

    single = True

    def __init__(
        self, projection: str, kind: Kind, stores: Stores, on_lost: Callable[[EventLostError], bool]
    ) -> None:
        super().__init__(projection, kind, stores)
        self._on_lost = on_lost
        self._taken: list[Envelope[Any]] = []  # at most one
        self.handle = self.alone = self._take

    def _take(self, event: Envelope[Any], _: Any) -> None:
        self._taken.append(event)

    def commit(self, write: Callable[[], None]) -> None:
        self._store(write)
        while self._taken:
            event = self._taken.pop()
            try:
                self._kind.alone(event, None)
            except BaseException as error:
                if not_of_the_event(error):
                    raise
                cause = f"{type(error).__name__}: {error}"
                where = (event.slice, event.offset, event.entity_id, event.seq_nr)
                lost = EventLostError(self._projection, *where, cause)
                if not self._on_lost(lost):
                    raise lost from error

    def roll_back(self) -> None:
        self._taken.clear()


def deliver(
    projection: Projection,
    stores: Stores,
    courier: Courier | None = None,
    on_lost: Callable[[EventLostError], bool] = lambda _: False,
) -> Delivery:
    """Build the handler and what carries it; SettingsError where handler, delivery and database do
    not fit. on_lost: whether to go on behind an event that at-most-once passed and lost."""
    kind, database = kind_of(projection, courier), stores.database
    if kind.sink not in (*database.sinks, NOTHING):
        raise SettingsError(
            f"projection {projection.name}: {kind.what} writes {kind.sink}, which is not to be had "
            f"in {database.url}; see docs/delivery.md for what goes where"
        )
    if projection.delivery == AT_MOST:
        return AtMostOnce(projection.name, kind, stores, on_lost)
    if kind.sink == NOTHING:
        return AtLeastOnce(projection.name, kind, stores)
    return Transactional(projection.name, kind, stores)

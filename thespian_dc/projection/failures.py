"""What a run does where a handler raises, or died: tries again, skips, parks; and what it does for
entities that are parked.

A shell: recovery.py decides, parking.py says who waits, this keeps both true with what the
database holds. Used on the projection's thread; `waiting` from any.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from thespian_dc.model.delivery_settings import Recovery
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.handler_errors import (
    EventLostError,
    GroupError,
    HandlerCrashedError,
    ParkedFullError,
)
from thespian_dc.model.projection_errors import HistoryLostError
from thespian_dc.model.record import CONTROL
from thespian_dc.model.settings import Projection
from thespian_dc.model.stream_errors import FlushError, PositionStoreError
from thespian_dc.projection.api import Lookup, SourceBatch
from thespian_dc.projection.committing import own_transaction
from thespian_dc.projection.core import Move
from thespian_dc.projection.crashes import Crashes, Extent, Refuse, Try
from thespian_dc.projection.databases import Stores
from thespian_dc.projection.handling import Fields, Gate, Raised, TransactionFull
from thespian_dc.projection.parking import (
    LOST,
    PAGE,
    RETRY,
    TRYING,
    ParkedEvent,
    ParkedMost,
    ParkedWish,
    Parking,
    record_of,
)
from thespian_dc.projection.recovery import Fail, Park, RecoveryCore, Retry, Skip, decide
from thespian_dc.shell.clock import now_us

log = logging.getLogger(__name__)

WISHES_EVERY_S = 0.1
RELEASES_S = 1.0
"""Parked entities are released one after the other for so long, then batches are taken again."""
TRANSACTIONS_EVENTS = 21
"""Batches of events that a transaction has at most, so that many may have been under way when a
process died."""


class Care:
    """What outlives runs, but not the process. until: by slice, events below this offset are
    handled one by one, since a raise there could not be blamed on one of them. owed: the same of
    what is looked up, by entity, until it is paid. epochs: of each slice, as this process claimed
    it last."""

    def __init__(self, policy: Recovery) -> None:
        self.core = RecoveryCore(policy)
        self.until: dict[int, int] = {}
        self.owed: dict[str, int] = {}  # of entities that are owed something, one more in a run
        self.epochs: dict[int, int] = {}
        self.skipped = 0
        """Events that were left out since this process began."""


class Failures:
    """Implements run.Recovery for one run. lost: see delivery.deliver."""

    def __init__(self, projection: Projection, stores: Stores, care: Care) -> None:
        policy = projection.recovery
        self._projection, self._policy = projection.name, policy
        self._core, self._parking, self._care = care.core, Parking(), care
        self._parked, self._attempts = stores.parked, stores.attempts
        self._database = stores.database
        self._most = ParkedMost(policy.parked_events_max, policy.parked_bytes_max)
        reach = projection.batch_events_max * TRANSACTIONS_EVENTS
        self._crashes = Crashes(policy.crashes_max, reach)
        self._epochs: dict[int, int] = {}
        self._killer: tuple[int, int] | None = None  # (slice, deaths)
        self._to_park: list[ParkedEvent] = []  # bounded by _most
        self._total: ParkedMost | None = None  # of the projection, with _to_park
        self._skips: list[Raised] = []  # of the open transaction
        self._look_s = self._releasing_s = 0.0
        self.pause_s = 0.0
        self.renews = False
        """The handler's memory holds what was not written: the run begins anew after this
        transaction."""

    # --- the run begins and ends ---

    def claimed(self, rows: Mapping[int, tuple[int, int]]) -> None:
        """The run has these slices now: (epoch, stored offset) of each."""
        epochs = {slice_: epoch for slice_, (epoch, _) in rows.items()}
        self._epochs.update(epochs)
        # The run before this one was of this process, which lives: it ended, noted or not.
        ours = {s for s, epoch in epochs.items() if self._care.epochs.get(s) == epoch - 1}
        self._care.epochs |= epochs
        self._parking.load(self._parked.held(self._projection, list(rows)))
        for slice_, attempt in self._attempts.began(self._projection, epochs).items():
            if slice_ not in ours:
                self._crashes.on_began(slice_, rows[slice_][1], attempt)
        if self._crashes.slices:
            self._drop_deadly_wishes()
            facts = {"projection": self._projection, "slices": self._crashes.slices}
            log.warning("projection_ended_uncleanly", extra=facts)

    def ended(self, error: BaseException | None) -> None:
        """The run ended by itself."""
        forget = not isinstance(error, HandlerCrashedError)
        try:
            self._attempts.ended(self._projection, self._epochs, forget=forget)
        except PositionStoreError as lost:  # another process takes more care than it would need to
            facts = {"projection": self._projection, "error": str(lost)}
            log.warning("end_not_noted", extra=facts)

    # --- around a transaction ---

    def extent(self, batch: SourceBatch, offset: int) -> Extent:
        """How much the transaction takes that begins with this batch, at `offset` of its slice.
        Called while none is open; where a process died, the try is durable when this returns."""
        slice_ = batch.slice
        extent, note = self._crashes.step(slice_, offset, batch.next_offset, batch.head)
        self._note(slice_, note, owed=False)
        if offset < self._care.until.get(slice_, 0):
            return Extent.EVENT
        self._care.until.pop(slice_, None)
        return extent

    def notes(self, slice_: int) -> bool:
        """See Crashes."""
        return self._crashes.notes(slice_)

    def owing(self, owing: Mapping[str, int]) -> None:
        """See Crashes.on_owing."""
        self._crashes.on_owing(owing)

    def doubts(self, entity_id: str) -> bool:
        """Whether what is looked up for it is to be handled with care: see `extent_owed`."""
        return entity_id in self._care.owed or self._crashes.notes_owed(entity_id)

    def extent_owed(self, entity_id: str, slice_: int, offset: int, until: int) -> Extent:
        """As `extent`, of a transaction that begins with what was looked up for the entity."""
        extent = Extent.USUAL
        if self._crashes.notes_owed(entity_id):
            extent, note = self._crashes.step_owed(slice_, offset, until)
            self._note(slice_, note, owed=True)
        return Extent.EVENT if offset < self._care.owed.get(entity_id, 0) else extent

    def paid(self, entity_id: str) -> None:
        """All that the entity was owed is handled."""
        self._care.owed.pop(entity_id, None)
        self._crashes.on_paid(entity_id)

    def _note(self, slice_: int, note: Try | Refuse | None, *, owed: bool) -> None:
        if isinstance(note, Try):
            self._attempts.trying(self._projection, slice_, *note, owed=owed)
        elif isinstance(note, Refuse):
            self._killer = (slice_, note.deaths)

    def failed_owed(self, entity_id: str, until: int) -> None:
        """As `failed`, of what was looked up for the entity, its events below `until`; no single
        event is to blame."""
        self._care.owed[entity_id] = until

    def failed(self, error: BaseException, moves: list[Move]) -> None:
        """The transaction is about to be rolled back. Where no single event is to blame, its events
        are handled one by one next time."""
        if isinstance(error, FlushError | GroupError):
            for move in moves:
                self._care.until[move.slice] = move.position.offset

    def write(self) -> None:
        """In the transaction, before its commit."""
        for event in self._to_park:
            self._parked.park(self._projection, event, self._most)

    def committed(self) -> None:
        for raised in self._skips:
            self._count_skip(raised)
        self._parking.committed()
        self._forget()

    def rolled_back(self) -> None:
        self._parking.rolled_back()
        self.renews = False
        self._forget()

    def _forget(self) -> None:
        self._skips.clear()
        self._to_park.clear()
        self._killer = self._total = None

    # --- events ---

    @property
    def takes(self) -> Gate | None:
        """See run.Recovery."""
        return self._takes if self._parking.entities or self._killer else None

    def holds(self, entity_id: str) -> bool:
        """See run.Recovery."""
        return entity_id in self._parking.entities

    def on_raised(self, raised: Raised) -> Retry | Skip | Park | Exception:
        """What becomes of the event: Retry (`pause_s` is set), Skip or Park (it is passed), or the
        error that ends the run at it."""
        error = raised.error
        verdict = self._core.on_raise(raised.slice, raised.offset, error, now_us())
        if isinstance(verdict, Retry):
            self.pause_s = max(0, verdict.at_us - now_us()) / 1e6
        elif isinstance(verdict, Skip):
            self._skips.append(raised)
        elif isinstance(verdict, Park):
            try:
                self._park(*raised[:4], cause_of(error), verdict.attempts)
            except ParkedFullError as full:
                return full
        # What flush did not write is still in the handler's memory.
        self.renews = self.renews or isinstance(error.__cause__, FlushError)
        return error if isinstance(verdict, Fail) else verdict

    def on_lost(self, lookup: Lookup, below: int, error: HistoryLostError) -> bool:
        """In the open transaction: what an entity is owed was trimmed below this offset. True: it
        is passed over; False: the entity is parked; else the error is raised."""
        verdict = decide(self._policy, error, 1, 0)
        where = (lookup.slice, below, lookup.entity_id, lookup.from_seq_nr)
        if isinstance(verdict, Skip):
            self._skips.append(Raised(*where[:2], 0, (0, *where[2:]), error))
            return True
        if not isinstance(verdict, Park):
            raise error
        self._store(ParkedEvent(*where, 0, LOST, cause_of(error), 1, now_us()))
        return False

    def lost(self, error: EventLostError) -> bool:
        """At most once: whether to go on behind an event that was passed and then failed."""
        if self._policy.strategy != "skip":
            return False
        where = (error.slice, error.offset, 0, (0, error.entity_id, error.seq_nr))
        self._count_skip(Raised(*where, error))
        return True

    def _takes(self, slice_: int, offset: int, time_us: int, fields: Fields) -> bool:
        if fields[0] == CONTROL:
            return False
        if fields[1] in self._parking.entities:
            self._park(slice_, offset, time_us, fields)
            return True
        killer = self._killer
        if killer is None or killer[0] != slice_:
            return False
        where = (slice_, offset, fields[1], fields[2])
        error = HandlerCrashedError(self._projection, *where, killer[1])
        verdict = decide(self._policy, error, killer[1], 0)
        if isinstance(verdict, Park):
            self._park(slice_, offset, time_us, fields, cause_of(error), killer[1])
        elif isinstance(verdict, Skip):
            self._skips.append(Raised(slice_, offset, time_us, fields, error))
        else:
            raise error
        raise TransactionFull  # what comes behind it may kill too, and is not noted

    # --- parked entities ---

    def due_wish(self) -> ParkedWish | None:
        """What is wished of an entity that is parked here; looked for now and then. Where there is
        more it comes next: the batch behind it may be what fails."""
        now_s = time.monotonic()
        if not self._parking.entities or now_s < self._look_s:
            return None
        wishes = self._parked.wishes(self._projection, list(self._epochs))
        self._releasing_s = self._releasing_s or now_s
        if not wishes or now_s > self._releasing_s + RELEASES_S:
            self._look_s, self._releasing_s = now_s + WISHES_EVERY_S, 0.0
        return wishes[0] if wishes else None

    def trying(self, wish: ParkedWish) -> ParkedWish:
        """The same wish, noted as under way: durable before the handler is called."""
        under_way = wish._replace(what=wish.what.rstrip(TRYING) + TRYING)
        if under_way != wish:
            with own_transaction(self._database):
                self._parked.change_wish(self._projection, wish, under_way)
        return under_way

    def _drop_deadly_wishes(self) -> None:
        """Of entities whose events were being handed over again when the process died."""
        for wish in self._parked.wishes(self._projection, self._crashes.slices):
            if wish.what.endswith(TRYING):
                with own_transaction(self._database):
                    self._drop(wish)

    def _drop(self, wish: ParkedWish) -> None:
        for event in self._parked.events(self._projection, wish.entity_id, limit=1):
            cause = "the process died while it was handed over again"
            failed = event._replace(cause=cause, attempts=event.attempts + 1)
            self._parked.tried(self._projection, failed)
        self._parked.change_wish(self._projection, wish, None)

    def events_of(self, wish: ParkedWish) -> list[ParkedEvent]:
        """The first of the entity's parked events; empty where the wish is for another state of
        it."""
        events = self._parked.events(self._projection, wish.entity_id, limit=PAGE)
        return events if events and wish.seq_nr in (0, events[0].seq_nr) else []

    def fulfil(
        self, wish: ParkedWish, gone: list[ParkedEvent], failed: ParkedEvent | None, rest: bool
    ) -> None:
        """In the transaction: these events are handled or left out; `failed` was tried again and
        raised. rest: there is more to hand over, soon."""
        for event in gone:
            self._parked.remove(self._projection, event)
            self._parking.add(event.entity_id, -1)
        if failed is not None:
            self._parked.tried(self._projection, failed)
        following = wish._replace(seq_nr=0, what=RETRY) if rest else None
        self._parked.change_wish(self._projection, wish, following)

    def left_out(self) -> None:
        """A parked event was skipped."""
        self._care.skipped += 1

    def _park(
        self, slice_: int, offset: int, time_us: int, fields: Fields, cause: str = "",
        attempts: int = 0,
    ) -> None:  # fmt: skip
        where = (slice_, offset, fields[1], fields[2], time_us)
        self._store(ParkedEvent(*where, record_of(fields), cause, attempts, now_us()))

    def _store(self, event: ParkedEvent) -> None:
        entity_id, seq_nr = event.entity_id, event.seq_nr
        self._check_room(entity_id, seq_nr, len(event.record))
        self._to_park.append(event)
        self._parking.add(entity_id)
        if event.cause:
            facts = {"projection": self._projection, "entity": entity_id, "seq_nr": seq_nr}
            facts |= {"cause": event.cause, "attempts": event.attempts}
            log.error("entity_parked", extra=facts)

    def _check_room(self, entity_id: str, seq_nr: int, size_bytes: int) -> None:
        """ParkedFullError where one more event would be too much. What other workers park while
        this transaction is open is counted when it is written."""
        if self._total is None:
            self._total = self._parked.total(self._projection)
        self._total = ParkedMost(self._total.events + 1, self._total.size_bytes + size_bytes)
        for what, found, limit in zip(("events", "bytes"), self._total, self._most, strict=True):
            if found > limit:
                self._total = None
                raise ParkedFullError(self._projection, what, limit, entity_id, seq_nr)

    @property
    def waiting(self) -> int:
        """Parked events of this run's slices."""
        return sum(list(self._parking.entities.values()))

    def _count_skip(self, raised: Raised) -> None:
        self._care.skipped += 1
        _, entity_id, seq_nr, *_ = raised.fields
        facts = {"projection": self._projection, "entity": entity_id, "seq_nr": seq_nr}
        log.error("event_skipped", extra={**facts, "cause": cause_of(raised.error)})


def cause_of(error: Exception) -> str:
    """What stands in the list of parked events: the handler's own error, if there is one."""
    shown = error.__cause__ or error
    if isinstance(shown, FlushError) or not isinstance(error, ThespianDcError):
        shown = error
    return f"{type(shown).__name__}: {shown}"[:2000]

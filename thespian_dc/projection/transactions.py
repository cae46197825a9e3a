"""The transactions of a run: what is handled in one, and what becomes durable with it.

Batches that wait while one is handled join its transaction, until that has many events or is 50 ms
old: far behind, one commit serves many batches; at the tail each batch commits at once. Where a
handler raised, `Failures` say what becomes of the event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from thespian_dc.model.handler_errors import GroupError
from thespian_dc.model.stream_errors import FlushError
from thespian_dc.projection.api import LookedUp, PositionStore, SourceBatch
from thespian_dc.projection.core import Drop, ProjectionCore
from thespian_dc.projection.crashes import Extent
from thespian_dc.projection.delivery import Delivery
from thespian_dc.projection.failures import Failures
from thespian_dc.projection.handling import BatchHandler, Gate, Prepare
from thespian_dc.projection.healer import Healer, Included, Lost
from thespian_dc.projection.inbox import Inbox
from thespian_dc.projection.recovery import Retry
from thespian_dc.shell.clock import now_us

TRANSACTION_BATCHES_MAX = 20
TRANSACTION_MS_MAX = 50

Gates = Callable[[], tuple[Gate | None, Prepare | None]]
"""What is asked about events as things stand now (BatchHandler.handle)."""


class Outcome(NamedTuple):
    """Of a transaction that is committed. done: batches of which nothing is left. failed: what ends
    the run there. pause_s: before the event at which it stopped is handed over again."""

    done: Sequence[SourceBatch] = ()
    failed: Exception | None = None
    pause_s: float = 0.0


class Transactions:
    """Of one run. handler, alone: for usual transactions and for those of one event."""

    def __init__(
        self,
        projection: str,
        core: ProjectionCore,
        positions: PositionStore,
        delivery: Delivery,
        recovery: Failures,
        healer: Healer,
        inbox: Inbox,
        events_max: int,
    ) -> None:
        self._projection, self._core, self._positions = projection, core, positions
        self._delivery, self._recovery, self._healer = delivery, recovery, healer
        self._inbox, self._events_max = inbox, events_max
        self._pause_s = 0.0
        self._paid = False
        self.entity_type = ""
        """The source's, once it has started."""
        self.handler: BatchHandler | None = None
        self.alone: BatchHandler | None = None
        self.handling_since_us = 0
        """When the transaction at hand began; 0 between two."""

    # --- the kinds ---

    def batch(self, first: SourceBatch) -> Outcome:
        """Handle `first` and what already waits behind it."""
        done: list[SourceBatch] = []
        offset = self._core.expects(first.slice)[1]
        extent = self._recovery.extent(first, offset)
        fill = partial(self._fill, first, done, extent)
        return self._commit(fill, extent is Extent.EVENT)._replace(done=done)

    def pay(self, answer: LookedUp) -> Outcome:
        """Handle an answer's events, or some of them and the rest in the next transaction. A group
        is not kept waiting for lookups: what was looked up comes one by one."""
        alone = bool(self._delivery.within_s) or self._extent_owed(answer) is Extent.EVENT
        self._paid = False
        try:
            outcome = self._commit(partial(self._pay, answer, alone), alone)
        except (FlushError, GroupError):
            self._recovery.failed_owed(answer.lookup.entity_id, answer.commits[-1].end_offset)
            raise
        if self._paid and self._healer.answered(answer):
            self._recovery.paid(answer.lookup.entity_id)
        return outcome

    def _extent_owed(self, answer: LookedUp) -> Extent:
        """EVENT where a process died that may have handled it, or nobody knows which event flush
        raised for."""
        entity_id = answer.lookup.entity_id
        if not self._recovery.doubts(entity_id):
            return Extent.USUAL
        first = self._healer.first_owed(answer, self.entity_type)
        if first is None:
            return Extent.USUAL
        end = answer.commits[-1].end_offset
        return self._recovery.extent_owed(entity_id, answer.lookup.slice, first, end)

    def lose(self, lost: Lost) -> Outcome:
        """What is owed to an entity was trimmed: pass over it or park the entity, as the recovery
        policy says; else HistoryLostError."""
        outcome = self._commit(partial(self._lose, lost), alone=False)
        self._healer.lost(lost)
        return outcome

    def include(self, included: Sequence[Included]) -> Outcome:
        """Store since when a filter is in force in these slices, and what ids are owed."""
        return self._commit(partial(self._include, included), alone=False)

    def _commit(self, fill: Callable[[], Exception | None], alone: bool) -> Outcome:
        """All that `fill` does, or nothing of it."""
        self.handling_since_us = now_us()
        self._pause_s = 0.0
        self._delivery.begin(alone=alone)
        try:
            failed = fill()
            self._delivery.commit(self._write)
        except BaseException as error:
            self._recovery.failed(error, self._core.moves())
            self._delivery.roll_back()
            self._core.on_rolled_back()
            self._recovery.rolled_back()
            self._healer.rolled_back()
            raise
        self._core.on_committed()
        self._recovery.committed()
        self._healer.committed()
        self.handling_since_us = 0
        return Outcome((), failed, self._pause_s)

    def _write(self) -> None:
        self._positions.move(self._projection, self._core.moves())
        self._recovery.write()
        self._healer.write()

    def _fill(
        self, first: SourceBatch, done: list[SourceBatch], extent: Extent
    ) -> Exception | None:
        """Handle until the time is over, nothing more waits, the extent is reached, or an error
        that ends the run."""
        alone = extent is Extent.EVENT
        handler = self.alone if alone else self.handler
        assert handler is not None, "a source sends no batch before its description"
        deadline, events, batch, full = self._deadline(alone), 0, first, False
        checked: set[int] = set()
        while True:
            action = self._core.on_batch(batch)
            if not isinstance(action, Drop):
                if batch.slice not in checked:
                    self.check(batch.slice)
                    checked.add(batch.slice)
                gates = self._gates(batch, action.from_offset)
                until, full, failed = self._handle(
                    handler, batch, action.from_offset, deadline, gates
                )
                self._core.on_handled(batch, until)
                if failed is not None:
                    return failed
                if until < batch.next_offset:
                    self._inbox.hold(batch)
                    return None
            done.append(batch)
            events += batch.next_offset - batch.base_offset
            if full or events >= self._events_max or time.monotonic() >= deadline:
                return None
            if extent is not Extent.USUAL:
                return None
            following = self._inbox.take_batch(self._delivery.within_s and deadline)
            if following is None:
                return None
            apart = self._delivery.one_slice and following.slice != first.slice
            if apart or self._recovery.notes(following.slice):
                self._inbox.hold(following)
                return None
            batch = following

    def _deadline(self, alone: bool) -> float:
        """Of a transaction that begins now: one event, or the usual time, or a group's."""
        if alone or self._delivery.single:
            return 0.0
        return time.monotonic() + max(TRANSACTION_MS_MAX / 1000, self._delivery.within_s)

    def check(self, slice_: int) -> None:
        self._delivery.check(slice_, *self._core.expects(slice_))

    def _gates(self, batch: SourceBatch, reached: int) -> Gates:
        return lambda: self._healer.gate(batch, reached, self._recovery.takes)

    def _handle(
        self,
        handler: BatchHandler,
        batch: SourceBatch,
        from_offset: int,
        deadline: float,
        gates: Gates,
    ) -> tuple[int, bool, Exception | None]:
        """Handle the batch as far as the time and the recovery policy let it: how far, whether the
        transaction ends there, and what ends the run there."""
        while from_offset < batch.next_offset:
            stopped = handler.handle(batch, from_offset, deadline, *gates())
            if stopped is None:
                break
            if stopped.raised is None:
                self._healer.settle(True)
                return stopped.offset, True, None
            self._delivery.undo_event()
            if isinstance(stopped.raised.error, GroupError):  # what came before it is not handled
                self._core.on_handled(batch, stopped.offset + 1)
                raise stopped.raised.error
            verdict = self._recovery.on_raised(stopped.raised)
            self._healer.settle(not isinstance(verdict, Exception | Retry))
            if isinstance(verdict, Exception):
                return stopped.offset, True, verdict
            if isinstance(verdict, Retry):
                self._pause_s = self._recovery.pause_s
                return stopped.offset, True, None
            from_offset = stopped.offset + 1
            if self._recovery.renews:  # the next event would be blamed for what this one left
                return from_offset, True, None
        return batch.next_offset, False, None

    # --- lookups and filters ---

    def _lose(self, lost: Lost) -> None:
        slice_, entity_id = lost.lookup.slice, lost.lookup.entity_id
        self.check(slice_)
        if self._recovery.on_lost(lost.lookup, lost.below, lost.error):
            self._healer.give_up(slice_, entity_id, lost.below)

    def _include(self, included: Sequence[Included]) -> None:
        for one in included:
            self.check(one.slice)
            self._healer.include(one, self._core.expects(one.slice)[1])

    def _pay(self, answer: LookedUp, alone: bool) -> Exception | None:
        """Handle an answer's events, or some of them and the rest in the next transaction."""
        handler = self.alone if alone else self.handler
        assert handler is not None, "nothing is looked up before the source has started"
        slice_, commits = answer.lookup.slice, answer.commits
        end = commits[-1].end_offset if commits else 0
        batch = SourceBatch(slice_, 0, end, end, commits)
        self.check(slice_)
        until, _, failed = self._handle(
            handler, batch, 0, self._deadline(alone),
            lambda: (self._healer.gate_of(answer, self._recovery.takes), None),
        )  # fmt: skip
        if failed is None and until == end and not self._pause_s:
            self._healer.on_paid(answer)
            self._paid = True
        return failed

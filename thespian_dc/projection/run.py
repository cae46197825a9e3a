"""One run of a projection: from one start of its handler to whatever ends it.

A shell: the cores decide, this performs. Batches that wait while one is handled join its
transaction, until that has many events or is 50 ms old: far behind, one commit serves many batches;
at the tail each batch commits at once.

Between two transactions the run asks its `Wishes` how to go on, at least every WISHES_S; where a
handler raised, its `Failures` say what becomes of the event.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

from thespian_dc.codec.api import Registry
from thespian_dc.model.handler_errors import GroupError
from thespian_dc.model.settings import Projection
from thespian_dc.projection.api import (
    FilterInForce,
    LookedUp,
    Source,
    SourceBatch,
    SourceDescription,
    SourceEvents,
)
from thespian_dc.projection.core import Claim, Drop, ProjectionCore, StartSource
from thespian_dc.projection.databases import Stores
from thespian_dc.projection.delivery import Delivery
from thespian_dc.projection.failures import Failures
from thespian_dc.projection.handling import BatchHandler, Gate, Prepare
from thespian_dc.projection.healer import Healer, Included
from thespian_dc.projection.observe import ProjectionHooks, hooked
from thespian_dc.projection.recovery import Retry
from thespian_dc.projection.releasing import release
from thespian_dc.shell.clock import now_us

TRANSACTION_BATCHES_MAX = 20
TRANSACTION_MS_MAX = 50
WISHES_S = 0.025
FULL_S = 0.005
"""Pause while so much is owed that no more batches are taken."""

Gates = Callable[[], tuple[Gate | None, Prepare | None]]
"""What is asked about events as things stand now (BatchHandler.handle)."""


class Course(enum.Enum):
    """GO_ON: take what comes. RESTART: end this run cleanly and begin another at once, from what
    is stored then."""

    GO_ON = "go on"
    RESTART = "restart"


class Wishes(Protocol):
    """What people want of a running projection. `between` is called on the projection's thread
    while no transaction is open, at least every WISHES_S; it may block as long as nothing is to be
    handled, and `Run.wake` may be called from any thread."""

    def between(self, run: Run) -> Course: ...

    def share(self, slices: int) -> Sequence[int]:
        """Which of the source's slices this run is to serve, where nobody knew how many there are
        when it began."""


class NoWishes:
    """Nobody wants anything."""

    def between(self, run: Run) -> Course:
        return Course.GO_ON

    def share(self, slices: int) -> Sequence[int]:
        return range(slices)


class Parts(NamedTuple):
    """What a run is made of, all over one database; built anew for each run."""

    stores: Stores
    delivery: Delivery
    recovery: Failures
    wishes: Wishes


class Run:
    """`serve` on the projection's thread; `end` and `trouble` from any."""

    def __init__(
        self,
        projection: Projection,
        core: ProjectionCore,
        parts: Parts,
        make_source: Callable[[], Source],
        stopping: threading.Event,
        slices: Sequence[int] | None = None,
        hooks: ProjectionHooks | None = None,
    ) -> None:
        self._stopping, self._slices, self._hooks = stopping, slices, hooks
        self._projection, self._core = projection, core
        self._stores, self._delivery, self._recovery, self._wishes = parts
        self._positions = parts.stores.positions
        self._make_source = make_source
        self._registry = Registry(projection.events)
        self._source: Source | None = None
        self._handler: BatchHandler | None = None
        self._alone: BatchHandler | None = None  # for transactions of one event
        self._events_max = projection.batch_events_max * TRANSACTION_BATCHES_MAX
        self._inbox: SimpleQueue[Any] = SimpleQueue()  # bounded by the source's credit
        self._pause_s = 0.0
        self._held: list[Any] = []  # at most one item, taken from the inbox too early
        self.heads: dict[int, int] = {}
        """Of each slice, as its last batch told it."""
        self.events = 0
        """Offsets passed in this run."""
        self.times_us: dict[int, int] = {}
        """Of each slice, when the last commit that was handled was written."""
        self.handling_since_us = 0
        """When the transaction at hand began; 0 between two."""
        self.busy_since_us = 0
        """Since when there was always something to handle; 0 where nothing waits."""

    @property
    def trouble(self) -> str:
        """Of the source, where it has started."""
        source = self._source
        return source.trouble if source is not None else ""

    def wake(self) -> None:
        """Let the thread look around soon: it is to stop, or something is wished."""
        self._inbox.put(None)
        if self._stopping.is_set():
            self._delivery.abort()

    def serve(self, on_started: Callable[[], None]) -> None:
        """Handle until told to stop or to restart; whatever ends the run otherwise is raised."""
        self._delivery.start()
        ended_by: BaseException | None = None
        try:
            self._healer = Healer(self._projection.name, self._projection.filter, self._stores,
                                  self.wake)  # fmt: skip
            self._begin()
            while not self._stopping.is_set():
                if self._wishes.between(self) is Course.RESTART or self._recovery.renews:
                    return
                if (wish := self._recovery.due_wish()) is not None and self._alone is not None:
                    release(wish, self._recovery, self._delivery, self._alone, self._check)
                    continue
                if self._heal():
                    continue
                item = self._next()
                if isinstance(item, SourceBatch):
                    self._transact(item)
                elif isinstance(item, FilterInForce):
                    self._on_in_force(item)
                elif isinstance(item, SourceDescription):
                    if not self._on_source_started(item):
                        return
                    on_started()
                elif isinstance(item, Exception):
                    raise item
                else:
                    self.busy_since_us = 0
        except BaseException as error:
            ended_by = error
            raise
        finally:
            if self._source is not None:
                self._source.stop()
            self._delivery.stop()
            self._recovery.ended(ended_by)

    # --- starting ---

    def _begin(self) -> None:
        stored = self._positions.load(self._projection.name)
        action = self._core.on_loaded(stored, self._slices)
        if isinstance(action, Claim):
            self._claim(action)
        else:
            self._start_source(action)

    def _on_source_started(self, description: SourceDescription) -> bool:
        """False where this run is to serve only a part of what it asked for."""
        self._handler = BatchHandler(
            self._projection.name, description.entity_type, self._registry,
            hooked(self._hooks, self._delivery.handle), self._delivery.mark,
        )  # fmt: skip
        self._alone = BatchHandler(
            self._projection.name, description.entity_type, self._registry,
            hooked(self._hooks, self._delivery.alone), self._delivery.mark,
        )  # fmt: skip
        self._healer.on_started(description.slices)
        claims = self._core.on_started(description)  # first: it may be another journal
        if (
            self._slices is None
            and len(self._wishes.share(description.slices)) < description.slices
        ):
            return False
        for claim in claims:
            self._claim(claim)
        return True

    def _claim(self, action: Claim) -> None:
        claimed = self._positions.claim(self._projection.name, action.slices, action.journal_id)
        self._recovery.claimed(
            {slice_: (row.epoch, row.position.offset) for slice_, row in claimed.slices.items()}
        )
        self._healer.on_claimed(list(claimed.slices))
        for start in self._core.on_claimed(claimed):
            self._start_source(start)

    def _start_source(self, action: StartSource) -> None:
        if self._source is not None:
            self._source.stop()
            self._forget_waiting()
            self._healer.on_source_lost()
        self._source = self._make_source()
        put, wanted = self._inbox.put, self._healer.wanted
        events = SourceEvents(put, put, put, put)
        self._source.start(action.journal_id, action.positions, wanted, self._slices, events)

    def _forget_waiting(self) -> None:
        """Drop what a stopped source left behind."""
        while not self._inbox.empty():
            self._inbox.get()

    # --- transactions ---

    def _transact(self, first: SourceBatch) -> None:
        """Handle `first` and what already waits behind it in one transaction."""
        done: list[SourceBatch] = []
        if self._hooks is not None:
            self._hooks.before_batch(first.slice, first.base_offset)
        alone = self._recovery.alone(first.slice, self._core.expects(first.slice)[1])
        failed = self._in_transaction(lambda: self._fill(first, done, alone), alone)
        assert self._source is not None
        for batch in done:
            self._source.handled(batch)
            if batch.commits:
                self.times_us[batch.slice] = batch.commits[-1].time_us
            self.events += batch.next_offset - batch.base_offset
        if self._hooks is not None:
            self._tell_positions(self._hooks, done)
        self._end_transaction(failed)

    def _in_transaction(
        self, fill: Callable[[], Exception | None], alone: bool
    ) -> Exception | None:
        """All that `fill` does, or nothing of it; what it returns is raised after the commit."""
        self.busy_since_us = now_us()
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
        self.busy_since_us = 0
        return failed

    def _end_transaction(self, failed: Exception | None) -> None:
        if failed is not None:
            raise failed
        if self._pause_s:
            self._stopping.wait(self._pause_s)
            self._pause_s = 0.0

    def _tell_positions(self, hooks: ProjectionHooks, done: list[SourceBatch]) -> None:
        positions = self._core.positions()
        moved = {batch.slice: positions[batch.slice].offset for batch in done}
        events = sum(batch.next_offset - batch.base_offset for batch in done)
        hooks.positions(self._projection.name, moved, events)

    def _write(self) -> None:
        self._positions.move(self._projection.name, self._core.moves())
        self._recovery.write()
        self._healer.write()

    def _fill(self, first: SourceBatch, done: list[SourceBatch], alone: bool) -> Exception | None:
        """Handle until the time is over, nothing more waits, or an error that ends the run. alone:
        one event."""
        handler = self._alone if alone else self._handler
        assert handler is not None, "a source sends no batch before its description"
        deadline, events, batch, full = self._deadline(alone), 0, first, False
        checked: set[int] = set()
        while True:
            self.heads[batch.slice] = batch.head
            action = self._core.on_batch(batch)
            if not isinstance(action, Drop):
                if batch.slice not in checked:
                    self._check(batch.slice)
                    checked.add(batch.slice)
                gates = self._gates(batch, action.from_offset)
                until, full, failed = self._handle(
                    handler, batch, action.from_offset, deadline, gates
                )
                self._core.on_handled(batch, until)
                if failed is not None:
                    return failed
                if until < batch.next_offset:
                    self._held = [batch]
                    return None
            done.append(batch)
            events += batch.next_offset - batch.base_offset
            if full or events >= self._events_max or time.monotonic() >= deadline:
                return None
            following = self._next_batch(self._delivery.within_s and deadline)
            if following is None:
                return None
            if self._delivery.one_slice and following.slice != first.slice:
                self._held = [following]
                return None
            batch = following

    def _deadline(self, alone: bool) -> float:
        """Of a transaction that begins now: one event, or the usual time, or a group's."""
        if alone or self._delivery.single:
            return 0.0
        return time.monotonic() + max(TRANSACTION_MS_MAX / 1000, self._delivery.within_s)

    def _check(self, slice_: int) -> None:
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
        return batch.next_offset, False, None

    # --- filters ---

    def _on_in_force(self, said: FilterInForce) -> None:
        """Store since when it is, and what ids that it includes are owed."""
        rest = self._healer.on_in_force(said, self._core.positions())
        while rest:
            now, rest = (rest[:1], rest[1:]) if self._delivery.one_slice else (rest, [])
            self._end_transaction(self._in_transaction(partial(self._include, now), alone=False))

    def _include(self, included: Sequence[Included]) -> None:
        for one in included:
            self._check(one.slice)
            self._healer.include(one, self._core.expects(one.slice)[1])

    def _heal(self) -> bool:
        """Tell the source of another filter, look up what is owed, handle what was. True: nothing
        else is to be taken now."""
        if self._source is None:
            return False
        self._healer.turn(self._source, self._recovery.holds)
        answer = self._healer.next_answer()
        if answer is None:
            if self._healer.is_full:
                self._stopping.wait(FULL_S)
            return self._healer.is_full
        # A group is not kept waiting for lookups: what was looked up comes one by one.
        alone = bool(self._delivery.within_s)
        self._end_transaction(self._in_transaction(partial(self._pay, answer, alone), alone))
        return self._healer.is_full or (self._inbox.empty() and not self._held)

    def _pay(self, answer: LookedUp, alone: bool) -> Exception | None:
        """Handle an answer's events, or some of them and the rest in the next transaction."""
        handler = self._alone if alone else self._handler
        assert handler is not None, "nothing is looked up before the source has started"
        slice_, commits = answer.lookup.slice, answer.commits
        end = commits[-1].end_offset if commits else 0
        batch = SourceBatch(slice_, 0, end, end, commits)
        self._check(slice_)
        until, _, failed = self._handle(
            handler, batch, 0, self._deadline(alone),
            lambda: (self._healer.gate_of(answer, self._recovery.takes), None),
        )  # fmt: skip
        if failed is None and until == end and not self._pause_s:
            self._healer.on_paid(answer)
        return failed

    # --- what waits ---

    def _next_batch(self, until_s: float) -> SourceBatch | None:
        """The next item if it is a batch and waits, or comes in time; anything else is held back
        until the commit."""
        item = None
        while item is None:
            try:
                item = self._inbox.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                return None
            if self._stopping.is_set():
                return None
        if isinstance(item, SourceBatch):
            return item
        self._held = [item]
        return None

    def _next(self) -> Any:
        """What waits, or None after WISHES_S."""
        if self._held:
            return self._held.pop()
        try:
            return self._inbox.get(timeout=WISHES_S)
        except Empty:
            return None

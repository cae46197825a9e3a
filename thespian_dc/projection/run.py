"""One run of a projection: from one start of its handler to whatever ends it.

A shell: the cores decide, this performs. Between two transactions (transactions.py) the run asks
its `Wishes` how to go on, at least every WISHES_S.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from thespian_dc.codec.api import Registry
from thespian_dc.model.settings import Projection
from thespian_dc.projection.api import (
    FilterInForce,
    Source,
    SourceBatch,
    SourceDescription,
    SourceEvents,
    StoredPositions,
)
from thespian_dc.projection.core import Claim, ProjectionCore, StartSource
from thespian_dc.projection.databases import Stores
from thespian_dc.projection.delivery import Delivery
from thespian_dc.projection.failures import Failures
from thespian_dc.projection.handling import BatchHandler
from thespian_dc.projection.healer import Healer, Lost
from thespian_dc.projection.inbox import Inbox
from thespian_dc.projection.observe import ProjectionHooks, hooked
from thespian_dc.projection.releasing import release
from thespian_dc.projection.starts import Ask, Put, Starts
from thespian_dc.projection.transactions import TRANSACTION_BATCHES_MAX, Outcome, Transactions
from thespian_dc.shell.clock import now_us

WISHES_S = 0.01
FULL_S = 0.005
"""Pause while so much is owed that no more batches are taken."""


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
        starts: Starts,
        slices: Sequence[int] | None = None,
        hooks: ProjectionHooks | None = None,
    ) -> None:
        self._stopping, self._slices, self._hooks = stopping, slices, hooks
        self._starts = starts
        self._projection, self._core = projection, core
        stores, self._delivery, self._recovery, self._wishes = parts
        self._positions = stores.positions
        self._make_source = make_source
        self._registry = Registry(projection.events)
        self._source: Source | None = None
        self._inbox = Inbox(stopping)
        self._healer = Healer(projection.name, projection.filter, stores, self.wake)
        self._transactions = Transactions(
            projection.name, core, self._positions, self._delivery, self._recovery, self._healer,
            self._inbox, projection.batch_events_max * TRANSACTION_BATCHES_MAX,
        )  # fmt: skip
        self.heads: dict[int, int] = {}
        """Of each slice, as last known; written on the source's thread."""
        self.events = 0
        """Offsets passed in this run."""
        self.times_us: dict[int, int] = {}
        """Of each slice, when the last commit that was handled was written."""
        self.busy_since_us = 0
        """Since when there was always something to handle; 0 where nothing waits."""

    @property
    def filter_version(self) -> int:
        """Of the filter that the source was told last."""
        return self._healer.wanted.version

    @property
    def handling_since_us(self) -> int:
        """When the transaction at hand began; 0 between two."""
        return self._transactions.handling_since_us

    @property
    def trouble(self) -> str:
        """Of the source, where it has started."""
        source = self._source
        return source.trouble if source is not None else ""

    def continues(self, heads: dict[int, int], times_us: dict[int, int]) -> None:
        """Keep these up to date, which an earlier run began."""
        self.heads = heads
        self.times_us = times_us

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
            self._begin()
            while not self._stopping.is_set():
                if self._wishes.between(self) is Course.RESTART or self._recovery.renews:
                    return
                if self._release() or self._heal():
                    continue
                item = self._inbox.take(WISHES_S)
                if item is None:
                    self.busy_since_us = 0
                elif not isinstance(item, SourceDescription):
                    self._take(item)
                elif self._on_source_started(item):
                    on_started()
                else:
                    return
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
        stored = self._placed(self._positions.load(self._projection.name))
        action = self._core.on_loaded(stored, self._slices)
        if isinstance(action, Claim):
            self._claim(action)
        else:
            self._start_source(action)

    def _placed(self, stored: StoredPositions) -> StoredPositions:
        """What is stored once the projection has begun where its settings say."""
        name, rows = self._projection.name, {s: row.position for s, row in stored.slices.items()}
        todo = self._starts.decide(rows, now_us())
        if isinstance(todo, Put):
            self._positions.place(name, stored.journal_id, todo.positions, moves=True)
        elif isinstance(todo, Ask):
            source = self._make_source()
            found = source.heads() if todo.time_us is None else source.positions_at(todo.time_us)
            self._positions.place(name, *found, moves=todo.moves)
        self._starts.on_placed()
        return self._positions.load(name) if todo is not None else stored

    def _on_source_started(self, description: SourceDescription) -> bool:
        """False where this run is to serve only a part of what it asked for."""
        self._transactions.entity_type = description.entity_type
        self._transactions.handler = BatchHandler(
            self._projection.name, description.entity_type, self._registry,
            hooked(self._hooks, self._delivery.handle), self._delivery.mark,
        )  # fmt: skip
        self._transactions.alone = BatchHandler(
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
        self._recovery.owing(self._healer.on_claimed(list(claimed.slices)))
        for start in self._core.on_claimed(claimed):
            self._start_source(start)

    def _start_source(self, action: StartSource) -> None:
        if self._source is not None:
            self._source.stop()
            self._inbox.forget()
            self._healer.on_source_lost()
        self._source = self._make_source()
        put, wanted = self._inbox.put, self._healer.wanted
        events = SourceEvents(put, self._on_batch, put, put, self._on_heads)
        self._source.start(action.journal_id, action.positions, wanted, self._slices, events)

    def _on_batch(self, batch: SourceBatch) -> None:
        """Its head is known though it may wait here for long."""
        self._on_heads({batch.slice: batch.head})
        self._inbox.put(batch)

    def _on_heads(self, heads: Mapping[int, int]) -> None:
        for slice_, head in heads.items():
            self.heads[slice_] = max(head, self.heads.get(slice_, 0))

    def _release(self) -> bool:
        """Do what is wished of a parked entity, if anything is."""
        alone, wish = self._transactions.alone, self._recovery.due_wish()
        if wish is None or alone is None:
            return False
        release(wish, self._recovery, self._healer, self._delivery, alone, self._transactions.check)
        return True

    # --- transactions ---

    def _take(self, item: Any) -> None:
        """Do what the source says."""
        if isinstance(item, SourceBatch):
            if self._hooks is not None:
                self._hooks.before_batch(item.slice, item.base_offset)
            self._on_committed(self._transactions.batch(item))
        elif isinstance(item, FilterInForce):
            rest = self._healer.on_in_force(item, self._core.positions())
            while rest:
                now, rest = (rest[:1], rest[1:]) if self._delivery.one_slice else (rest, [])
                self._on_committed(self._transactions.include(now))
        elif isinstance(item, Exception):
            raise item

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
        if isinstance(answer, Lost):
            self._on_committed(self._transactions.lose(answer))
        else:
            self._on_committed(self._transactions.pay(answer))
        return self._healer.is_full or self._inbox.is_empty

    def _on_committed(self, outcome: Outcome) -> None:
        assert self._source is not None
        self.busy_since_us = self.busy_since_us or now_us()
        for batch in outcome.done:
            self._source.handled(batch)
            if batch.commits:
                self.times_us[batch.slice] = batch.commits[-1].time_us
            self.events += batch.next_offset - batch.base_offset
        if self._hooks is not None and outcome.done:
            self._tell_positions(self._hooks, outcome.done)
        if outcome.failed is not None:
            raise outcome.failed
        if outcome.pause_s:
            self._stopping.wait(outcome.pause_s)

    def _tell_positions(self, hooks: ProjectionHooks, done: Sequence[SourceBatch]) -> None:
        positions = self._core.positions()
        moved = {batch.slice: positions[batch.slice].offset for batch in done}
        events = sum(batch.next_offset - batch.base_offset for batch in done)
        hooks.positions(self._projection.name, moved, events)

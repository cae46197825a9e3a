"""The thread of one projection: takes batches from its source, handles them, stores positions,
restarts.

A shell: the core decides, this performs. Batches that wait while one is handled join its
transaction, until that has many events or is 50 ms old: far behind, one commit serves many batches;
at the tail each batch commits at once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from thespian_dc.codec.api import Registry
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.settings import Projection
from thespian_dc.projection.api import (
    ProjectionStatus,
    Source,
    SourceBatch,
    SourceDescription,
)
from thespian_dc.projection.core import Claim, Drop, Halt, ProjectionCore, StartSource
from thespian_dc.projection.delivery import Delivery, deliver
from thespian_dc.projection.handling import BatchHandler
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.sqlite.positions import SqlitePositions

log = logging.getLogger(__name__)

TRANSACTION_BATCHES_MAX = 20
TRANSACTION_MS_MAX = 50


class ProjectionRunner:
    """Runs one projection. `start`, `stop` and `status` may be called from any thread."""

    def __init__(self, projection: Projection, make_source: Callable[[], Source]) -> None:
        self._projection, self._make_source = projection, make_source
        self._core = ProjectionCore(projection.name, projection.restart_backoff_ms)
        self._stopping = threading.Event()
        self._run: _Run | None = None
        self._phase, self._error, self._restarts = "starting", "", 0
        self._events = 0
        self._heads: dict[int, int] = {}
        self._thread = threading.Thread(
            target=self._main, name=f"projection {projection.name}", daemon=True
        )

    def start(self) -> None:
        """Begin on a thread of its own; nothing was opened before."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End after the transaction at hand; False where a handler did not return in time."""
        self._stopping.set()
        run = self._run
        if run is not None:
            run.inbox.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> ProjectionStatus:
        """A moment's view, taken without holding anything up."""
        positions = {slice_: at.offset for slice_, at in self._core.positions().items()}
        heads = list(self._heads.items())
        lag = sum(max(0, head - positions.get(slice_, 0)) for slice_, head in heads)
        run = self._run
        return ProjectionStatus(
            self._projection.name, self._phase, self._events, lag, positions, self._restarts,
            (run.trouble if run else "") or self._error,
        )  # fmt: skip

    # --- the thread ---

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                self._run_once()
            except Exception as error:  # noqa: BLE001 - a handler may raise anything
                if not self._goes_on_after(error):
                    return
        self._phase = "stopped"

    def _goes_on_after(self, error: Exception) -> bool:
        now_us = time.monotonic_ns() // 1000
        action = self._core.on_failure(error, now_us, random.random())
        self._error = f"{type(error).__name__}: {error}"
        facts = {"projection": self._projection.name, "error": self._error}
        if isinstance(action, Halt):
            self._phase = "halted"
            log.error("projection_halted", extra=facts)
            return False
        self._restarts += 1
        self._phase = "waiting"
        pause_s = (action.at_us - now_us) / 1e6
        named = isinstance(error, ThespianDcError)
        log.warning("projection_failed", extra={**facts, "retry_in_s": pause_s}, exc_info=not named)
        self._stopping.wait(pause_s)
        return True

    def _run_once(self) -> None:
        self._phase = "starting"
        database = SqliteDatabase(self._projection.positions)
        try:
            delivery = deliver(self._projection, database)
            self._run = _Run(
                self._projection,
                self._core,
                SqlitePositions(database),
                delivery,
                self._make_source,
                self._stopping,
            )
            if not self._stopping.is_set():
                self._run.serve(self._on_started, self._on_transaction)
        finally:
            self._run = None
            database.close()

    def _on_started(self) -> None:
        self._phase = "running"

    def _on_transaction(self, batches: list[SourceBatch]) -> None:
        for batch in batches:
            self._heads[batch.slice] = batch.head
            self._events += batch.next_offset - batch.base_offset


class _Run:
    """From one start of the handler to its end."""

    def __init__(
        self,
        projection: Projection,
        core: ProjectionCore,
        positions: SqlitePositions,
        delivery: Delivery,
        make_source: Callable[[], Source],
        stopping: threading.Event,
    ) -> None:
        self._stopping = stopping
        self._projection, self._core, self._positions = projection, core, positions
        self._delivery, self._make_source = delivery, make_source
        self._registry = Registry(projection.events)
        self._source: Source | None = None
        self._handler: BatchHandler | None = None
        self._events_max = projection.batch_events_max * TRANSACTION_BATCHES_MAX
        self.inbox: SimpleQueue[Any] = SimpleQueue()  # bounded by the source's credit
        self._held: list[Any] = []  # at most one item, taken from the inbox too early

    @property
    def trouble(self) -> str:
        """Of the source, where it has started."""
        source = self._source
        return source.trouble if source is not None else ""

    def serve(
        self, on_started: Callable[[], None], on_transaction: Callable[[list[SourceBatch]], None]
    ) -> None:
        """Handle until None comes; whatever ends the run otherwise is raised."""
        self._delivery.start()
        try:
            self._begin()
            while not self._stopping.is_set() and (item := self._next()) is not None:
                if isinstance(item, SourceBatch):
                    on_transaction(self._transact(item))
                elif isinstance(item, SourceDescription):
                    self._on_source_started(item)
                    on_started()
                else:
                    raise item
        finally:
            if self._source is not None:
                self._source.stop()
            self._delivery.stop()

    def _begin(self) -> None:
        action = self._core.on_loaded(self._positions.load(self._projection.name))
        if isinstance(action, Claim):
            self._claim(action)
        else:
            self._start_source(action)

    def _on_source_started(self, description: SourceDescription) -> None:
        self._handler = BatchHandler(
            self._projection.name, description.entity_type, self._registry,
            self._delivery.handle, self._delivery.mark,
        )  # fmt: skip
        for claim in self._core.on_started(description):
            self._claim(claim)

    def _claim(self, action: Claim) -> None:
        claimed = self._positions.claim(self._projection.name, action.slices, action.journal_id)
        for start in self._core.on_claimed(claimed):
            self._start_source(start)

    def _start_source(self, action: StartSource) -> None:
        if self._source is not None:
            self._source.stop()
            self._forget_waiting()
        self._source = self._make_source()
        put = self.inbox.put
        self._source.start(action.journal_id, action.positions, put, put, put)

    def _forget_waiting(self) -> None:
        """Drop what a stopped source left behind; a request to stop stays."""
        while not self.inbox.empty():
            if self.inbox.get() is None:
                self.inbox.put(None)
                return

    def _transact(self, first: SourceBatch) -> list[SourceBatch]:
        """Handle `first` and what already waits behind it in one transaction; returns what was
        done."""
        done: list[SourceBatch] = []
        self._delivery.begin()
        try:
            failed = self._fill(first, done)
            self._delivery.commit(self._core.moves())
        except BaseException:
            self._delivery.roll_back()
            self._core.on_rolled_back()
            raise
        self._core.on_committed()
        assert self._source is not None
        for batch in done:
            self._source.handled(batch)
        if failed is not None:
            raise failed
        return done

    def _fill(self, first: SourceBatch, done: list[SourceBatch]) -> Exception | None:
        assert self._handler is not None, "a source sends no batch before its description"
        deadline, events, batch = time.monotonic() + TRANSACTION_MS_MAX / 1000, 0, first
        checked: set[int] = set()
        while True:
            action = self._core.on_batch(batch)
            if not isinstance(action, Drop):
                if batch.slice not in checked:
                    self._delivery.check(batch.slice, *self._core.expects(batch.slice))
                    checked.add(batch.slice)
                stopped = self._handler.handle(batch, action.from_offset, deadline)
                until = stopped.offset if stopped else batch.next_offset
                if stopped is not None and stopped.error is not None:
                    self._delivery.undo_event()
                    self._core.on_handled(batch, until)
                    return stopped.error
                self._core.on_handled(batch, until)
                if until < batch.next_offset:
                    self._held = [batch]
                    return None
            done.append(batch)
            events += batch.next_offset - batch.base_offset
            if events >= self._events_max or time.monotonic() >= deadline:
                return None
            following = self._next_batch()
            if following is None:
                return None
            batch = following

    def _next_batch(self) -> SourceBatch | None:
        """The next waiting item if it is a batch; anything else is held back until the commit."""
        try:
            item = self.inbox.get_nowait()
        except Empty:
            return None
        if isinstance(item, SourceBatch):
            return item
        self._held = [item]
        return None

    def _next(self) -> Any:
        return self._held.pop() if self._held else self.inbox.get()

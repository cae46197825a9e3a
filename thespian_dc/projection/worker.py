"""A worker's place among the workers of its projection: a thread with a connection of its own.

Twice a second it beats, reads the others, holds and releases slices as WorkersCore says, and writes
what its run does; every `look_s` of its store it looks whether something new is wished. The run's
thread asks what to serve (`take`), and is told that there is something to ask (`on_news`). A
database that does not answer is tried again: nobody is taken for dead by it, and nothing is held or
released.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.control import Control
from thespian_dc.projection.observe import Activity
from thespian_dc.projection.store import FILE_REMOVED, ControlStore
from thespian_dc.projection.workers import Plan, WorkerRow, WorkersCore
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.processes import lives, machine

log = logging.getLogger(__name__)

LOOK_S = 0.05
BEAT_US = 500_000
ROW_BY_RUN_S = 0.3
LOCKED_US = 5_000_000
LEAVE_US = 1_500_000


class Worker:
    """Start with `start`, end with `stop`. activity, on_news: called on this thread."""

    def __init__(
        self,
        projection: str,
        worker: str,
        open_store: Callable[[], ControlStore],
        activity: Callable[[], Activity],
        on_news: Callable[[], None],
    ) -> None:
        self._projection, self.name = projection, worker
        self._open_store, self._activity, self._on_news = open_store, activity, on_news
        self._core = WorkersCore(projection, worker)
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._row_wanted, self._row_stored = threading.Event(), threading.Event()
        self._stopping = self._halted = False
        self._beat_due_us = 0
        self._answered_us, self._logged = now_us(), ""
        self._stirred = -1
        self._slices_known = 0
        # Under `_changed`:
        self._plan: Plan | None = None
        self._failed: Exception | None = None
        self._served: frozenset[int] = frozenset()
        self._taken = False  # the run knows what to serve
        self._asked = self._told = 0
        self._seen = -1
        self.control = Control()
        """What is wished, as last read."""
        self._thread = threading.Thread(target=self._main, name=f"worker {worker}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float, halted: bool = False) -> None:
        """Work no more, so that others need not wait for this one's death. halted: the row stays,
        to say why."""
        self._halted, self._stopping = halted, True
        self._wake.set()
        self._thread.join(within_s)

    # --- for the run's thread ---

    @property
    def news(self) -> bool:
        """Something is to be looked at between two transactions."""
        plan = self._plan
        return self.control.version != self._seen or (
            plan is not None and plan.serve != self._served
        )

    @property
    def stirred(self) -> int:
        """As of ControlStore, when it was last looked at."""
        return self._stirred

    @property
    def served(self) -> frozenset[int]:
        """What was taken."""
        return self._served

    def must_restart(self) -> bool:
        """The run serves, or served until it failed, other slices than it should."""
        with self._changed:
            return self._taken and self._plan is not None and self._plan.serve != self._served

    def take(self, slices: int = 0) -> frozenset[int] | None:
        """What to serve from now on; a run that served something else has ended. None: nobody knows
        yet how many slices there are, begin without; then ask again with their number.

        Waits until it is known; raises PositionStoreError where the database does not answer.
        """
        with self._changed:
            self._served, self._taken = frozenset(), False
            self._slices_known = slices or self._slices_known
            self._failed = None
            self._asked += 1
            self._beat_due_us = 0
            self._wake.set()
            self._changed.wait_for(self._is_answered)
            if self._failed is not None:
                raise self._failed
            self._taken = True
            if self._plan is None or self._stopping:
                return frozenset()
            if not self.control.slices:
                return None
            self._served = self._plan.serve
            return self._served

    def _is_answered(self) -> bool:
        """By a round that began after the question."""
        return self._stopping or self._failed is not None or self._told >= self._asked

    def acted(self, version: int) -> None:
        """The run did what was wished up to this version; whoever waits for it sees it soon."""
        self._seen = version
        self.report()

    def report(self) -> None:
        """What the run does has changed: write it soon."""
        self._beat_due_us = 0
        self._wake.set()

    def wait_for_news(self, timeout_s: float) -> None:
        """Until `news`, or the time is over, or the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self.news, timeout_s)

    # --- the thread ---

    def _main(self) -> None:
        store: ControlStore | None = None
        while not self._stopping:
            try:
                store = store or self._open_store()
                self._round(store)
                self._answered_us, self._logged = now_us(), ""
            except PositionStoreError as error:
                self._tell_of(error)
                if store is not None and error.reason == FILE_REMOVED:
                    store.close()
                    store = None
            except Exception as error:  # the edge of the thread
                log.exception("worker_failed", extra={"worker": self.name})
                self._tell(error)
            self._wake.wait(store.look_s if store is not None else LOOK_S)
            self._wake.clear()
        self._tell(None)
        if store is not None:
            self._leave(store)

    def _tell_of(self, error: PositionStoreError) -> None:
        """One that others hold locked is tried for a while before anybody hears of it."""
        locked = "locked" in error.reason
        if locked and now_us() - self._answered_us < LOCKED_US:
            return
        if self._logged != str(error):  # not at every look: a disk that is full holds the log, too
            self._logged = str(error)
            log.warning("worker_database", extra={"worker": self.name, "error": self._logged})
        self._tell(error)

    def _round(self, store: ControlStore) -> None:
        with self._changed:
            asked = self._asked
        stirred = store.stirred(self._projection)
        if stirred != self._stirred:
            self._read_control(store)
            self._stirred, self._beat_due_us = stirred, 0
        if self._slices_known and self._slices_known != self.control.slices:
            store.know(self._projection, self._slices_known)
            self._read_control(store)
        if now_us() >= self._beat_due_us:
            due_us = self._beat_due_us = now_us() + BEAT_US
            try:
                self._beat(store, asked)
            except PositionStoreError:
                if self._beat_due_us == due_us:  # with the next look, rather
                    self._beat_due_us = 0
                raise

    def _read_control(self, store: ControlStore) -> None:
        self.control = store.control(self._projection)
        self._tell(None)

    def _beat(self, store: ControlStore, asked: int) -> None:
        served = self._served
        self._store_row(store)
        plan = self._read(store, served)
        if plan.hold:
            store.hold(self._projection, self.name, plan.hold)
            plan = self._read(store, served)
        with self._changed:  # so that nothing is taken in between of what is given back
            release = plan.release - self._served
            if release:
                store.release(self._projection, self.name, sorted(release))
            self._plan, self._told = plan, asked
        for dead in plan.forget:
            store.leave(self._projection, dead, forget=True)
        self._tell(None)

    def _store_row(self, store: ControlStore) -> None:
        """Or have the run do it between two transactions: against one that locks the database for
        most of the time this thread would have to be lucky."""
        try:
            store.beat(self._projection, self._row())
        except PositionStoreError:
            self._row_stored.clear()
            self._row_wanted.set()
            if not self._row_stored.wait(ROW_BY_RUN_S):
                self._row_wanted.clear()
                raise

    def beat_by_run(self, store: ControlStore) -> None:
        """Between two transactions, on the run's thread and connection: store the row, if it is
        due."""
        if self._row_wanted.is_set():
            self._row_wanted.clear()
            store.beat(self._projection, self._row())
            self._row_stored.set()

    def _row(self, leaving: bool = False) -> WorkerRow:
        return WorkerRow(
            self.name, 0, machine(), os.getpid(), leaving, max(self._seen, 0), now_us(),
            self._activity().to_json(),
        )  # fmt: skip

    def _read(self, store: ControlStore, served: frozenset[int]) -> Plan:
        rows, holders = store.workers(self._projection)
        gone = [row.worker for row in rows if row.machine == machine() and not lives(row.pid)]
        return self._core.on_read(
            rows, holders, self.control.slices, self.control.gathers, served, gone, now_us()
        )

    def _tell(self, failed: Exception | None) -> None:
        with self._changed:
            self._failed = failed
            self._changed.notify_all()
        if self.news or self._stopping:
            self._on_news()

    def _leave(self, store: ControlStore) -> None:
        until_us = now_us() + LEAVE_US
        while True:
            try:
                if self._halted:
                    store.beat(self._projection, self._row(leaving=True))
                store.leave(self._projection, self.name, forget=not self._halted)
                break
            except PositionStoreError as error:
                if now_us() > until_us or "locked" not in error.reason:
                    facts = {"worker": self.name, "error": str(error)}
                    log.warning("worker_not_removed", extra=facts)
                    break
        store.close()


def seen_lives(rows: Sequence[WorkerRow]) -> dict[str, bool | None]:
    """By worker, whether its process is there; None where that cannot be seen from here."""
    here = machine()
    return {row.worker: lives(row.pid) if here and row.machine == here else None for row in rows}

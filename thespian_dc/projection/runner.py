"""The thread of one projection: takes slices among its workers, builds the parts of a run, lets it
serve (run.py), and begins another after a failure, when the core says so."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.settings import Projection
from thespian_dc.projection.actors import Courier
from thespian_dc.projection.api import ProjectionStatus, Source
from thespian_dc.projection.core import Halt, ProjectionCore
from thespian_dc.projection.databases import Stores, open_control, open_stores
from thespian_dc.projection.delivery import deliver
from thespian_dc.projection.failures import Care, Failures
from thespian_dc.projection.observe import Activity, ProjectionHooks
from thespian_dc.projection.run import Course, Parts, Run
from thespian_dc.projection.starts import Starts
from thespian_dc.projection.wishes import WorkerWishes
from thespian_dc.projection.worker import Worker
from thespian_dc.shell.clock import now_us

log = logging.getLogger(__name__)

LEAVE_S = 2.0
LOOK_S = 0.05
WORKER_BUSY_S = 0.05
"""What a worker's beat waits for the database, before it asks the run to store it."""


class ProjectionRunner:
    """Runs one projection. `start`, `stop` and `status` may be called from any thread."""

    def __init__(
        self,
        projection: Projection,
        make_source: Callable[[], Source],
        worker: str = "",
        courier: Courier | None = None,
    ) -> None:
        self._projection, self._make_source = projection, make_source
        self._core = ProjectionCore(projection.name, projection.restart_backoff_ms)
        self._starts = Starts(projection)
        self._stopping = threading.Event()
        self._run: Run | None = None
        self._phase, self._error, self._restarts, self._paused = "starting", "", 0, False
        self._events = 0  # of ended runs
        self._heads, self._times_us = dict[int, int](), dict[int, int]()
        self._filter_version = self._stirred = 0  # of the last run; when it began
        self._hooks: ProjectionHooks | None = None
        self._courier, self._care = courier, Care(projection.recovery)
        self._failures: Failures | None = None
        name = worker or f"{os.uname().nodename}-{uuid4().hex[:8]}"
        open_rows = open_control(projection.positions, WORKER_BUSY_S)
        self._worker = Worker(projection.name, name, open_rows, self._activity, self._wake)
        self._thread = threading.Thread(
            target=self._main, name=f"projection {projection.name}", daemon=True
        )

    def start(self) -> None:
        """Begin on a thread of its own; nothing was opened before."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End after the transaction at hand; False where a handler did not return in time."""
        self._stopping.set()
        self._wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> ProjectionStatus:
        """A moment's view, taken without holding anything up."""
        now = self._activity()
        lag = sum(max(0, head - now.positions.get(slice_, 0)) for slice_, head in now.heads.items())
        return ProjectionStatus(
            self._projection.name, now.phase, now.events, lag, now.positions, now.restarts,
            now.error, self._worker.name, now.busy_since_us, now.lag_s,
            self._worker.control.workers, now.skipped, now.parked,
        )  # fmt: skip

    def _activity(self) -> Activity:
        run, now = self._run, now_us()
        positions = {slice_: at.offset for slice_, at in self._core.positions().items()}
        heads = {s: head for s, head in list(self._heads.items()) if s in positions}
        times_us = self._times_us
        lag_s = {
            slice_: max(0, now - times_us[slice_]) / 1e6 if offset < heads.get(slice_, 0) else 0.0
            for slice_, offset in positions.items()
            if slice_ in times_us
        }
        return Activity(
            "paused" if self._paused else self._phase,
            self._events + (run.events if run else 0),
            self._restarts,
            (run.trouble if run else "") or self._error,
            run.busy_since_us if run else 0,
            run.handling_since_us if run else 0,
            positions,
            heads,
            lag_s,
            self._care.skipped,
            self._failures.waiting if self._failures else 0,
        )

    def _wake(self) -> None:
        run = self._run
        if run is not None:
            run.wake()

    # --- the thread ---

    def _main(self) -> None:
        self._worker.start()
        while not self._stopping.is_set():
            try:
                self._run_once()
            except BaseException as error:  # noqa: BLE001 - a handler may raise anything
                if not self._goes_on_after(_ordinary(error)):
                    break
        if self._phase != "halted":
            self._phase = "stopped"
        self._worker.stop(LEAVE_S, halted=self._phase == "halted")

    def _goes_on_after(self, error: Exception) -> bool:
        now = time.monotonic_ns() // 1000
        action = self._core.on_failure(error, now, random.random())
        self._error = f"{type(error).__name__}: {error}"
        facts = {"projection": self._projection.name, "error": self._error}
        if isinstance(action, Halt):
            self._phase = "halted"
            log.error("projection_halted", extra=facts)
            self._tell_failed(error, None)
            return False
        self._restarts += 1
        self._phase = "waiting"
        pause_s = (action.at_us - now) / 1e6
        named = isinstance(error, ThespianDcError)
        log.warning("projection_failed", extra={**facts, "retry_in_s": pause_s}, exc_info=not named)
        self._tell_failed(error, pause_s)
        self._worker.report()
        self._wait(pause_s)
        return True

    def _wait(self, pause_s: float) -> None:
        """Before a restart; cut short by a new wish, also for a parked entity, or another filter,
        which may be what mends it."""
        version, until = self._worker.control.version, time.monotonic() + pause_s
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            if self._worker.control.version != version or self._worker.must_restart():
                return
            stirred, self._stirred = self._stirred, self._worker.stirred
            if self._stirred != stirred and self._has_news():
                return
            self._stopping.wait(min(left, LOOK_S))

    def _has_news(self) -> bool:
        """Another filter is wanted than the last run had (once for each), or something is wished of
        an entity that is parked."""
        known, name = self._filter_version, self._projection.name
        try:
            stores = open_stores(self._projection.positions)
            try:
                self._filter_version = stores.filters.read(name).version
                parked = stores.parked.wishes(name, sorted(self._worker.served))
            finally:
                stores.database.close()
        except ThespianDcError:  # a database that is away: perhaps that is why it waits
            return False
        return self._filter_version != known or bool(parked)

    def _run_once(self) -> None:
        self._phase = "starting"
        slices = self._worker.take()
        if slices is not None and not slices:
            self._core.on_idle()
            self._phase = "idle"
            self._worker.acted(self._worker.control.version)
            self._worker.wait_for_news(LOOK_S)
            return
        self._stirred = self._worker.stirred
        stores = open_stores(self._projection.positions)
        try:
            wishes = WorkerWishes(
                self._projection, self._worker, stores, self._stopping, self._on_paused,
                self._heads,
            )  # fmt: skip
            # Before the handler starts: what makes a run fail at once can be mended by a wish.
            if wishes.look() is Course.GO_ON:
                self._serve(stores, wishes, sorted(slices) if slices else None)
        finally:
            stores.database.close()

    def _serve(self, stores: Stores, wishes: WorkerWishes, slices: Sequence[int] | None) -> None:
        if self._hooks is None and self._projection.hooks is not None:
            self._hooks = self._projection.hooks()
        run = self._run = Run(
            self._projection, self._core, self._parts(stores, wishes), self._make_source,
            self._stopping, self._starts, slices, self._hooks,
        )  # fmt: skip
        run.continues(self._heads, self._times_us)
        try:
            if not self._stopping.is_set():
                run.serve(self._on_started)
        finally:
            self._events += run.events
            self._filter_version = run.filter_version
            self._run = None
            self._tell_stopped()

    def _parts(self, stores: Stores, wishes: WorkerWishes) -> Parts:
        """All that is built anew for each run."""
        projection = self._projection
        failures = self._failures = Failures(projection, stores, self._care)
        delivery = deliver(projection, stores, self._courier, failures.lost)
        return Parts(stores, delivery, failures, wishes)

    def _on_started(self) -> None:
        self._phase = "running"
        if self._hooks is not None:
            self._hooks.started(self._projection.name, sorted(self._core.positions()))

    def _on_paused(self, paused: bool) -> None:
        self._paused = paused

    def _tell_failed(self, error: Exception, retry_in_s: float | None) -> None:
        if self._hooks is not None:
            try:
                self._hooks.failed(self._projection.name, error, retry_in_s)
            except Exception:
                log.exception("hook_failed", extra={"projection": self._projection.name})

    def _tell_stopped(self) -> None:
        if self._hooks is not None and self._phase == "running":
            try:
                self._hooks.stopped(self._projection.name)
            except Exception:
                log.exception("hook_failed", extra={"projection": self._projection.name})


def _ordinary(error: BaseException) -> Exception:
    """What sys.exit and its like raise would end the thread without a word, and nothing else."""
    return error if isinstance(error, Exception) else RuntimeError(f"{error!r}")

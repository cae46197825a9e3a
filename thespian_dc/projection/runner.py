"""The thread of one projection: builds the parts of a run, lets it serve (run.py), and begins
another after a failure, when the core says so."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.settings import Projection
from thespian_dc.projection.api import ProjectionStatus, Source
from thespian_dc.projection.core import Halt, ProjectionCore
from thespian_dc.projection.delivery import deliver
from thespian_dc.projection.run import FailAlways, NoWishes, Parts, Run
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.sqlite.positions import SqlitePositions

log = logging.getLogger(__name__)


class ProjectionRunner:
    """Runs one projection. `start`, `stop` and `status` may be called from any thread."""

    def __init__(
        self,
        projection: Projection,
        make_source: Callable[[], Source],
        slices: Sequence[int] | None = None,
    ) -> None:
        self._projection, self._make_source, self._slices = projection, make_source, slices
        self._core = ProjectionCore(projection.name, projection.restart_backoff_ms)
        self._stopping = threading.Event()
        self._run: Run | None = None
        self._phase, self._error, self._restarts = "starting", "", 0
        self._events, self._heads = 0, dict[int, int]()  # of ended runs
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
            run.wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> ProjectionStatus:
        """A moment's view, taken without holding anything up."""
        positions = {slice_: at.offset for slice_, at in self._core.positions().items()}
        run = self._run
        heads = list((run.heads if run else self._heads).items())
        lag = sum(max(0, head - positions.get(slice_, 0)) for slice_, head in heads)
        events = self._events + (run.events if run else 0)
        return ProjectionStatus(
            self._projection.name, self._phase, events, lag, positions, self._restarts,
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
            run = self._run = Run(
                self._projection, self._core, self._parts(database), self._make_source,
                self._stopping, self._slices,
            )  # fmt: skip
            run.heads = self._heads
            if not self._stopping.is_set():
                run.serve(self._on_started)
        finally:
            if self._run is not None:
                self._events += self._run.events
            self._run = None
            database.close()

    def _parts(self, database: SqliteDatabase) -> Parts:
        """All that is built anew for each run."""
        projection = self._projection
        return Parts(
            SqlitePositions(database), deliver(projection, database), FailAlways(), NoWishes()
        )

    def _on_started(self) -> None:
        self._phase = "running"

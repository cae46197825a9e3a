"""Between two transactions: do what people wish of the projection, pause, or begin another run.

Performs what control.py decides, on the run's thread and over the run's database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from thespian_dc.model.projection_errors import RebuildUnsupportedError
from thespian_dc.model.settings import Projection
from thespian_dc.projection.api import (
    CassandraProjectionHandler,
    CassandraUpsertHandler,
    GroupedHandler,
    GroupedSqlHandler,
    ProjectionHandler,
    SqlProjectionHandler,
    Transaction,
)
from thespian_dc.projection.control import REBUILD, Wish, beyond, mine
from thespian_dc.projection.databases import Database, Stores
from thespian_dc.projection.run import Course, Run
from thespian_dc.projection.worker import Worker

LOOK_S = 0.1
REBUILT = (
    SqlProjectionHandler, GroupedSqlHandler, ProjectionHandler, GroupedHandler,
    CassandraUpsertHandler,
)  # fmt: skip
"""The bases of handlers that have a rebuild of their own."""


class WorkerWishes:
    """Implements run.Wishes for one run of a worker."""

    def __init__(
        self,
        projection: Projection,
        worker: Worker,
        stores: Stores,
        stopping: threading.Event,
        on_paused: Callable[[bool], None],
        heads: Mapping[int, int],
    ) -> None:
        """heads: of slices, as last heard of; read whenever a position is to be set."""
        self._projection, self._worker, self._stores = projection, worker, stores
        self._stopping, self._on_paused, self._heads = stopping, on_paused, heads

    def between(self, run: Run) -> Course:
        """See run.Wishes: blocks while the projection is paused."""
        self._worker.beat_by_run(self._stores.control)
        return self.look() if self._worker.news else Course.GO_ON

    def share(self, slices: int) -> Sequence[int]:
        """See run.Wishes."""
        return sorted(self._worker.take(slices) or ())

    def look(self) -> Course:
        """Do what is wished; blocks while the projection is paused."""
        try:
            return self._look()
        finally:
            self._on_paused(False)

    def _look(self) -> Course:
        worker = self._worker
        while not self._stopping.is_set():
            if worker.must_restart():
                return Course.RESTART
            control = worker.control
            wish = mine(control, worker.served)
            if wish is not None:
                self._perform(wish)
                return Course.RESTART
            self._on_paused(control.paused)
            worker.acted(control.version)
            if not control.paused:
                return Course.GO_ON
            while not (worker.news or self._stopping.is_set()):
                worker.wait_for_news(LOOK_S)
        return Course.RESTART

    def _perform(self, wish: Wish) -> None:
        store, name = self._stores.control, self._projection.name
        if wish.kind != REBUILD:
            stands = store.offsets(name).get(wish.slice, 0)
            if reason := beyond(wish, stands, self._heads.get(wish.slice)):
                store.refuse(name, wish.nr, reason)
            else:
                store.perform(name, wish.nr)
            return
        try:
            store.perform(name, wish.nr, rebuilt(self._projection, self._stores.database))
        except RebuildUnsupportedError as error:
            store.refuse(name, wish.nr, error.reason)
        except Exception as error:
            store.refuse(name, wish.nr, f"the handler's rebuild raised {type(error).__name__}: "
                                        f"{error}")  # fmt: skip
            raise


def rebuilt(projection: Projection, database: Database) -> Callable[[], None]:
    """The handler's part of a rebuild. In SQL it is done in the transaction that sets the positions
    to zero; elsewhere before it, so that a crash between repeats it. Rows beside a position go with
    it, without the handler."""
    handler: Any = projection.handler() if isinstance(projection.handler, type) else None
    if isinstance(handler, CassandraProjectionHandler):
        return _nothing
    for base in REBUILT:
        if isinstance(handler, base) and type(handler).rebuild is not base.rebuild:
            break
    else:
        raise RebuildUnsupportedError(projection.name)
    if not isinstance(handler, SqlProjectionHandler | GroupedSqlHandler):
        handler.rebuild()
        return _nothing

    def rebuild() -> None:
        database.run_script(handler.tables)
        handler.rebuild(cast("Transaction", database.transaction))

    return rebuild


def _nothing() -> None:
    """All was done before the transaction."""

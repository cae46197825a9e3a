"""The projections of one consumer process, each with the source its settings name. No actor
needed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from thespian_dc.model.settings import Projection, Remote
from thespian_dc.projection.api import (
    Courier,
    Listener,
    LocalSource,
    ProjectionStatus,
    RunningProjection,
    Source,
    local_source,
    start_projection,
)
from thespian_dc.shell.doorbell import Bell
from thespian_dc.stream.protocol import StartConsumer

MakeSource = Callable[[], Source]


class RunningProjections:
    """Started with `start`, each on a thread of its own; end them with `stop`."""

    def __init__(
        self, settings: StartConsumer, node_id: str = "", courier: Courier | None = None
    ) -> None:
        """node_id: of a node whose workers keep their names when they are started again. courier:
        for handlers that are actors."""
        self._settings, self._node_id, self._courier = settings, node_id, courier
        self._running: list[RunningProjection] = []
        self._local: dict[str, LocalSource] = {}  # of each projection the last one
        self._listener: Listener | None = None

    def listen_to(self, bell: Bell) -> None:
        """Let local sources look at once when it rings. It is closed with `stop`."""
        self._listener = Listener(bell, self._on_bell)

    def _on_bell(self) -> None:
        for source in list(self._local.values()):
            source.ring()

    def start(self) -> None:
        """Start all. What fails later shows in `status` and is tried again as the projection
        says."""
        worker = f"{self._node_id}/{self._settings.worker}" if self._node_id else ""
        for projection in self._settings.projections:
            source = self._source_of(projection)
            self._running.append(start_projection(projection, source, worker, self._courier))

    def status(self) -> tuple[ProjectionStatus, ...]:
        return tuple(one.status() for one in self._running)

    def workers(self) -> dict[str, int]:
        """How many there are to be in this node, by projection."""
        wished = {one.name: one.workers_wished for one in self.status()}
        return {one.name: wished.get(one.name) or one.workers for one in self._settings.projections}

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End all at once, after their transactions; False where a handler did not return in
        time."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if not self._running:
            return True
        with ThreadPoolExecutor(len(self._running)) as pool:
            return all(list(pool.map(lambda one: one.stop(timeout_s), self._running)))

    def _source_of(self, projection: Projection) -> MakeSource:
        settings, source = self._settings, projection.source

        def make() -> Source:
            if isinstance(source, Remote):
                from thespian_dc.stream.client import RemoteSource  # grpc: on use, after any fork

                return RemoteSource(source, f"{settings.service}/{projection.name}")
            self._local[projection.name] = found = local_source(
                source, settings.journal, f"{settings.service}/{projection.name}"
            )
            return found

        return make

"""What a test runs and what ends with it: projections in this process, and consumers in others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.streams.material import Fuse
from tests.streams.processes import Child, start_consumer
from thespian_dc.model.settings import Projection
from thespian_dc.projection.api import RunningProjection, Source, start_projection

StartProjection = Callable[[Projection, Callable[[], Source]], RunningProjection]


@contextmanager
def projections(stop_s: float = 5.0) -> Iterator[StartProjection]:
    """Start projections; at the end no handler raises any more, and each stops within stop_s."""
    running: list[RunningProjection] = []

    def start(settings: Projection, make_source: Callable[[], Source]) -> RunningProjection:
        running.append(start_projection(settings, make_source))
        return running[-1]

    yield start
    Fuse.blown = set()
    for one in running:
        assert one.stop(stop_s), "a projection did not stop"


@contextmanager
def consumers() -> Iterator[Callable[[Projection], Child]]:
    """Start processes that run a projection; SIGKILL for those that still do at the end."""
    started: list[Child] = []

    def start(settings: Projection) -> Child:
        started.append(start_consumer(settings))
        return started[-1]

    yield start
    for child in started:
        if child.process.poll() is None:
            child.kill()

"""How simulated workers of one projection share its slices: rows and holds as they stand in the
consumer's database, a `WorkersCore` in each worker."""

from __future__ import annotations

from thespian_dc.projection.workers import Timing, WorkerRow, WorkersCore
from thespian_dc.testkit.simulation.positions import SimulatedPositions
from thespian_dc.testkit.simulation.world import World

BEAT_US = 300_000
TIMING = Timing(beat_us=BEAT_US, dead_after_us=1_800_000)


class Sharing:
    """One worker's part. A paused worker is dead to the others after a while, and goes on later as
    if nothing had happened."""

    def __init__(self, world: World, positions: SimulatedPositions, name: str, slices: int) -> None:
        self._world, self._positions = world, positions
        self._name, self._slices, self._beat = name, slices, 0
        self._core = WorkersCore("simulated", name, TIMING)

    def beat(self, leaving: bool, served: frozenset[int]) -> frozenset[int]:
        """Say that this worker lives, take and give back: what it is to serve now."""
        workers, holders = self._positions.workers, self._positions.holders
        self._beat += 1
        workers[self._name] = WorkerRow(self._name, self._beat, leaving=leaving)
        plan = self._core.on_read(
            sorted(workers.values()), dict(holders), self._slices, False, served, (),
            self._world.now_us,
        )  # fmt: skip
        for slice_, dead in plan.hold.items():
            if holders.get(slice_, "") == dead:
                holders[slice_] = self._name
                self._world.hit("projection: slice taken from " + ("the dead" if dead else "none"))
        for slice_ in plan.release:
            if holders.get(slice_) == self._name:
                self._world.hit("projection: slice released")
                del holders[slice_]
        for worker in plan.forget:
            workers.pop(worker, None)
        return plan.serve

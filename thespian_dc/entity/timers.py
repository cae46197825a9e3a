"""The wake-ups that entities of one host asked for. Pure. A timer dies with the instance that set
it: set it again in recovery_completed."""

from __future__ import annotations

from heapq import heappop, heappush

from thespian_dc.entity.effects import Wakeup
from thespian_dc.entity.instance import Instance, Phase


class Timers:
    """Ordered by due time; those of instances that are gone are skipped."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Instance, Wakeup]] = []
        self._count = 0

    def set(self, instance: Instance, wakeup: Wakeup, now_us: int) -> None:
        self._count += 1
        instance.keepers += 1
        heappush(self._heap, (now_us + wakeup.period_us, self._count, instance, wakeup))

    def due_us(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_us: int) -> list[tuple[Instance, Wakeup]]:
        """Those that are due, in order."""
        due = []
        while self._heap and self._heap[0][0] <= now_us:
            _, _, instance, wakeup = heappop(self._heap)
            if instance.phase is not Phase.GONE:
                instance.keepers -= 1
                due.append((instance, wakeup))
        return due

"""What a seed is about beside the faults that it meets: which entities, which filters."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """durable: entities whose records are states; else event-sourced ones. latest: the projection
    wants each entity's last state only."""

    durable: bool = False
    latest: bool = False

    def stored(self, amounts: tuple[int, ...]) -> tuple[int, ...]:
        """Of each record that a command of these amounts makes."""
        return (sum(amounts),) if self.durable and amounts else amounts

    def __str__(self) -> str:
        what = "durable states" if self.durable else "events"
        return f"{what}, the last of each" if self.latest else what


def plan_of(seed: int) -> Plan:
    """Of this seed; from another source of chance than the run's, so that neither changes with the
    other."""
    rng = random.Random(f"plan {seed}")
    durable = rng.random() < 0.35
    return Plan(durable, latest=durable and rng.random() < 0.5)

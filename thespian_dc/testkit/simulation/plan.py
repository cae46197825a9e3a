"""What a seed is about beside the faults that it meets: which entities, which filters."""

from __future__ import annotations

import random
from dataclasses import dataclass

FILTERS = ("ids", "ids", "ids", "tags", "tags", "mixed", "events")


@dataclass(frozen=True, slots=True)
class Plan:
    """durable: entities whose records are states; else event-sourced ones. latest: the projection
    wants each entity's last state only. filters: by "ids"; by ids, "tags" and topics;
    "mixed", with some of single events; or of single "events" alone. asks: entities ask ordinary
    actors. trims: logs are trimmed."""

    durable: bool = False
    latest: bool = False
    filters: str = "ids"
    asks: bool = False
    trims: bool = False

    @property
    def some_have_none(self) -> bool:
        """The projection handles some records never."""
        return self.latest or self.filters in {"mixed", "events"}

    def stored(self, amounts: tuple[int, ...]) -> tuple[int, ...]:
        """Of each record that a command of these amounts makes."""
        return (sum(amounts),) if self.durable and amounts else amounts

    def __str__(self) -> str:
        what = "durable states" if self.durable else "events"
        what += ", the last of each" if self.latest else ""
        what += ", asking actors" if self.asks else ""
        what += ", trimmed logs" if self.trims else ""
        return f"{what}, filters: {self.filters}"


def plan_of(seed: int) -> Plan:
    """Of this seed; from another source of chance than the run's, so that neither changes with the
    other."""
    rng = random.Random(f"plan {seed}")
    durable = rng.random() < 0.35
    latest = durable and rng.random() < 0.5
    filters = rng.choice(("ids", "ids", "tags", "tags") if latest else FILTERS)
    # The tags of a trimmed record are gone: by them nobody says what was to pass.
    trims = latest and filters == "ids"
    return Plan(durable, latest, filters, asks=rng.random() < 0.5, trims=trims)

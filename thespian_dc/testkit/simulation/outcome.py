"""What one seed met and what was found, and what many of them met together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from thespian_dc.testkit.simulation.history import Broken

LEAST = {"actions": 2_000, "entities": 50, "faults": 3, "crashes during an append": 1}
"""What a seed is, whatever it is about."""


@dataclass(slots=True)
class Outcome:
    """What a run met and what was found. entities: those that were changed. plan: what the seed
    drew, for people; "" where the seed says all."""

    seed: int
    steps: int
    entities: int
    commands: int
    records: int
    hits: Counter[str]
    broken: list[Broken]
    trace: list[str] = field(default_factory=list)
    plan: str = ""

    @property
    def unsafe(self) -> list[Broken]:
        """What is broken beyond "it does not get on": a bug that is put in must break one of these;
        that it stops everything is no proof."""
        return [one for one in self.broken if one.invariant != "liveness"]

    @property
    def faults(self) -> int:
        return sum(count for name, count in self.hits.items() if name.startswith("fault: "))

    @property
    def least(self) -> dict[str, int]:
        """What each seed must have so many of (LEAST)."""
        return {
            "actions": self.steps,
            "entities": self.entities,
            "faults": self.faults,
            "crashes during an append": self.hits["fault: crash during an append"],
        }


class Totals:
    """Of all seeds of one call. A run of many seeds in which something of `wanted` never happened
    has proved too little: it fails; so does one with a seed that is smaller than LEAST."""

    wanted: ClassVar[Sequence[str]] = ()

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.seeds = self.steps = self.commands = self.records = 0
        self.least = dict.fromkeys(LEAST, 1 << 30)

    def add(self, outcome: Outcome) -> None:
        self.hits.update(outcome.hits)
        self.seeds += 1
        self.steps += outcome.steps
        self.commands += outcome.commands
        self.records += outcome.records
        self.least = {name: min(n, self.least[name]) for name, n in outcome.least.items()}

    def missing(self) -> list[str]:
        """What should have happened and did not."""
        left = [name for name in self.wanted if not self.hits[name]]
        return left + [
            f"{wanted} {name} in each seed; one had {self.least[name]}"
            for name, wanted in LEAST.items()
            if self.least[name] < wanted
        ]

    def lines(self) -> list[str]:
        """How often each thing was hit."""
        return [f"{self.hits[name]:>10}  {name}" for name in sorted({*self.hits, *self.wanted})]

    def summary(self) -> str:
        """One line."""
        least = ", ".join(f"{n} {name}" for name, n in self.least.items())
        return (
            f"{self.seeds} seeds: {self.steps} actions, {self.commands} commands, "
            f"{self.records} records; each at least {least}"
        )

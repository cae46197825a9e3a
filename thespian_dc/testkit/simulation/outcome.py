"""What one seed met and what was found, and what many of them met together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from thespian_dc.testkit.simulation.history import Broken


@dataclass(slots=True)
class Outcome:
    """What a run met and what was found. plan: what the seed drew, for people; "" where the seed
    says all."""

    seed: int
    steps: int
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


class Totals:
    """Of all seeds of one call. A run of many seeds in which something of `wanted` never happened
    has proved too little: it fails."""

    wanted: ClassVar[Sequence[str]] = ()
    faults_min: ClassVar[int] = 3

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.seeds = self.steps = self.commands = self.records = 0
        self.faults_least = 1 << 30

    def add(self, outcome: Outcome) -> None:
        self.hits.update(outcome.hits)
        self.seeds += 1
        self.steps += outcome.steps
        self.commands += outcome.commands
        self.records += outcome.records
        self.faults_least = min(self.faults_least, outcome.faults)

    def missing(self) -> list[str]:
        """What should have happened and did not."""
        left = [name for name in self.wanted if not self.hits[name]]
        if self.faults_least < self.faults_min:
            left.append(f"{self.faults_min} faults in each seed; one had {self.faults_least}")
        return left

    def lines(self) -> list[str]:
        """How often each thing was hit."""
        return [f"{self.hits[name]:>10}  {name}" for name in sorted({*self.hits, *self.wanted})]

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.seeds} seeds: {self.steps} actions, {self.commands} commands, "
            f"{self.records} records, at least {self.faults_least} faults a seed"
        )

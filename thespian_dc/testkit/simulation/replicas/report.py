"""What many seeds of replicas together must have met, and how it is printed."""

from __future__ import annotations

from collections import Counter

from thespian_dc.testkit.simulation.replicas.run import Outcome

FAULTS_MIN, RECORDS_MIN = 3, 1
FAULTS = (
    "a whole replica crashes", "append met another head or epoch", "append refused, overloaded",
    "call broken", "call half-open", "crash before an action", "crash during an append",
    "journal overloaded", "links crash", "message doubled", "message late", "message lost",
    "partition", "partition, one way", "process paused", "producer crash", "slices dealt again",
    "stream message changed", "stream message cut", "stream message doubled",
    "stream message lost", "stream message overtaken", "stream message shortened",
    "write answer lost", "write applied late",
)  # fmt: skip
REPLICA = (
    "a state waits for trimmed events to be taken", "concurrent event", "filter changed",
    "a peer knows more of a log than there is",
    "forced promotion while the active one is cut off", "joined late",
    "journal put back to an older copy", "late event", "own event fetched",
    "log trimmed", "lost for good", "promotion wished", "promotion wished, forced",
    "retired while it is down", "retirement wished", "state taken over",
    "told while the call is open",
)  # fmt: skip
LINKS = ("EntityIds", "EntityState", "LookUp", "absorbed", "failed", "waits")
WANTED = (
    *(f"fault: {one}" for one in FAULTS),
    *(f"replica: {one}" for one in REPLICA),
    *(f"link: {one}" for one in LINKS),
)
"""A run of many seeds in which one of these never happened has proved too little: it fails."""


class Totals:
    """Of all seeds of one call."""

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
        left = [name for name in WANTED if not self.hits[name]]
        if self.faults_least < FAULTS_MIN:
            left.append(f"{FAULTS_MIN} faults in each seed; one had {self.faults_least}")
        return left

    def lines(self) -> list[str]:
        """How often each thing was hit."""
        return [f"{self.hits[name]:>10}  {name}" for name in sorted({*self.hits, *WANTED})]

    def summary(self) -> str:
        return (
            f"{self.seeds} seeds: {self.steps} actions, {self.commands} commands, "
            f"{self.records} records, at least {self.faults_least} faults a seed"
        )

"""Two hosts that want one slice at the same time, for thousands of conflicts and take-overs.

Each racer does what a host does: claim, find the head, install, append; on a conflict it stands
down, waits for a random moment and claims again. Unknown answers are resolved by reading (head,
epoch) first and the row then. Afterwards the log must be what the two of them were told.
"""

from __future__ import annotations

import multiprocessing
import queue
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from thespian_dc.journal.api import Journal, Outcome, append_wait, open_journal
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import EVENT, Commit, Record, make_commit, pack_record, records_of
from thespian_dc.testkit.journal_cases.storage import TYPE, JournalStorage, Suite, all_commits

KEY = SliceKey(TYPE, 3)


@dataclass
class RaceResult:
    """What one racer saw and was told. `commands`: of acknowledged commits, by write_id."""

    name: str
    conflicts: int = 0
    take_overs: int = 0
    unknown: int = 0
    commands: dict[bytes, list[str]] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        return self.conflicts + self.take_overs


class Racer:
    """One host at one slice. The hot entity's seq_nr is offset + 1, as it has the slice alone."""

    def __init__(self, journal: Journal, name: str, goal: int) -> None:
        self.journal, self.goal = journal, goal
        self.rng, self.result = random.Random(name), RaceResult(name)
        self.commands = 0

    def run(self, deadline_s: float) -> RaceResult:
        """Race until this racer saw `goal` conflicts and take-overs and a tenth as many acks."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            done = len(self.result.commands) >= self.goal // 10
            if self.result.seen >= self.goal and done:
                break
            try:
                self.own()
            except (
                JournalUnavailableError
            ):  # unknown to this racer: it starts again with a new claim
                self.result.unknown += 1
            time.sleep(self.rng.expovariate(1) * 0.001)
        return self.result

    def own(self) -> None:
        """Take the slice over and append until somebody else has it, or for some commits at
        most."""
        epoch = self.claim()
        head = self.journal.find_head(KEY).head
        if epoch is None or not self.journal.install(KEY, head, epoch):
            self.result.conflicts += 1
            return
        self.result.take_overs += 1
        for _ in range(self.rng.randint(1, 4)):
            commit = self.next_commit(head, epoch)
            if not self.append(commit):
                self.result.conflicts += 1
                return
            self.result.commands[commit.write_id] = [r.command_id for r in records_of(commit)]
            head = commit.end_offset

    def claim(self) -> int | None:
        token = self.rng.randbytes(16)
        try:
            owner = self.journal.claim(KEY, self.result.name, token)
        except JournalUnavailableError:
            self.result.unknown += 1
            found = self.journal.owner(KEY)
            return found.epoch if found and found.token == token else None
        return owner.epoch if owner.token == token else None

    def next_commit(self, head: int, epoch: int) -> Commit:
        pairs = []
        for offset in range(head, head + self.rng.randint(1, 2)):
            self.commands += 1
            command_id = f"{self.result.name}-{self.commands}"
            record = Record(EVENT, "hot", offset + 1, "Added:1", b"p", [], command_id)
            pairs.append(("hot", pack_record(record)))
        return make_commit(KEY, head, self.rng.randbytes(16), epoch, head, pairs)

    def append(self, commit: Commit) -> bool:
        """True: it is in the log. False: it never will be."""
        (answer,) = append_wait(self.journal, [commit])
        while answer.outcome is not Outcome.DONE:
            if answer.outcome is Outcome.UNKNOWN:
                self.result.unknown += 1
            at = self.journal.head_at(KEY, commit.base_offset)  # first this, then the row
            if at is not None and at.head > commit.base_offset:
                row = self.journal.commit_at(KEY, commit.base_offset)
                return row is not None and row.write_id == commit.write_id
            if at is not None and at.epoch > commit.epoch:
                return False
            (answer,) = append_wait(self.journal, [commit])
        return True


def race_in_process(url: str, name: str, goal: int, deadline_s: float, results: Any) -> None:
    """A racer in a process of its own; puts its result into the queue."""
    journal = open_journal(url)
    try:
        results.put(Racer(journal, name, goal).run(deadline_s))
    finally:
        journal.close()


class RaceCases(Suite):
    """Races for one slice."""

    race_goal: ClassVar[int] = 5_000
    """Conflicts and take-overs both racers see together, at least."""
    race_deadline_s: ClassVar[float] = 600.0
    """Each racer is done long before; how long it takes says nothing of the journal."""

    @pytest.mark.timeout(1500)
    def test_two_that_race_for_a_slice_lose_and_double_nothing(
        self, journal_factory: JournalStorage, journal: Journal
    ) -> None:
        """Fencing holds under contention, and neither is starved."""
        goal = (self.race_goal + 1) // 2
        url = journal_factory.race_url
        if url is None:
            results = self._in_threads(journal_factory, goal)
        else:
            results = self._in_processes(url, goal)
        for result in results:
            print(
                f"{result.name}: {result.conflicts} conflicts, {result.take_overs} take-overs, "
                f"{result.unknown} unknown, {len(result.commands)} commits acknowledged"
            )
        assert sum(result.seen for result in results) >= self.race_goal
        assert all(len(result.commands) >= goal // 10 for result in results)
        _check_log(journal, results)

    def _in_threads(self, storage: JournalStorage, goal: int) -> list[RaceResult]:
        results: queue.Queue[RaceResult] = queue.Queue(maxsize=2)

        def race(name: str) -> None:
            view = storage.open()
            results.put(Racer(view, name, goal).run(self.race_deadline_s))
            view.close()

        threads = [threading.Thread(target=race, args=(name,)) for name in "AB"]
        return _collect(results, threads, self.race_deadline_s)

    def _in_processes(self, url: str, goal: int) -> list[RaceResult]:
        spawn = multiprocessing.get_context("spawn")
        results = spawn.Queue(maxsize=2)
        racers = [
            spawn.Process(
                target=race_in_process, args=(url, name, goal, self.race_deadline_s, results)
            )
            for name in "AB"
        ]
        try:
            return _collect(results, racers, self.race_deadline_s)
        finally:
            for racer in racers:
                racer.kill()
                racer.join()


def _collect(results: Any, racers: list[Any], within_s: float) -> list[RaceResult]:
    for racer in racers:
        racer.start()
    found = [results.get(timeout=within_s + 60) for _ in racers]  # with time to come up and end
    for racer in racers:
        racer.join()
    return sorted(found, key=lambda result: str(result.name))


def _check_log(journal: Journal, results: list[RaceResult]) -> None:
    """Every acknowledged commit is there once and whole, no command twice, no offset missing."""
    commits = all_commits(journal, KEY)
    told: dict[bytes, list[str]] = {}
    for result in results:
        told |= result.commands
    stored = {c.write_id: [record.command_id for record in records_of(c)] for c in commits}
    assert len(stored) == len(commits), "a write_id is in the log twice"
    assert {write_id: stored.get(write_id) for write_id in told} == told
    commands = [command for some in stored.values() for command in some]
    assert len(commands) == len(set(commands)), "a command is in the log twice"
    numbers = [record.seq_nr for commit in commits for record in records_of(commit)]
    assert numbers == list(range(1, len(numbers) + 1))
    epochs = [commit.epoch for commit in commits]
    assert epochs == sorted(epochs)
    assert journal.find_head(KEY).head == len(numbers)
    assert journal.verify() == []

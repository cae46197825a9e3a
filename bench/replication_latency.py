"""From a command (a Thespian tell) at one replica until its event is persisted at the other one,
100 per second, open loop. Beside it what bench/latency.py takes, a bare tell, a bare pipeline and
the way to a remote handler; and one commit of a journal, which is what comes on top.

When an event is persisted is noted in the thread of the other host that appends, when its commit is
done.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import latency
from bench.entities import TEXT, Add, Added
from bench.harness import Result, interleaved, median, must_equal, percentiles_ms
from bench.latency import ENTITIES, SAMPLES, WARM_UP, open_loop
from bench.replicated import Replica, wait_for
from bench.world import actor_system, folder, serving
from thespian_dc import Client
from thespian_dc.codec.api import Registry
from thespian_dc.journal.api import Outcome, append_wait, open_journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import EVENT, Record, make_commit, pack_record, records_of
from thespian_dc.shell.doorbell import Ringer

STAMP = struct.Struct("=IQq")
GUIDE_P50_MS = 4.0


@contextlib.contextmanager
def noting(path: Path) -> Iterator[None]:
    """Processes that are forked meanwhile note when a commit is done: slice, end, time."""
    ring, files = Ringer.ring, dict[int, int]()

    @functools.wraps(ring)
    def noted(self: Ringer, producers: Any, commits: Any) -> None:
        pid = os.getpid()
        if pid not in files:
            files[pid] = os.open(path / str(pid), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        now = time.monotonic_ns()
        for one in commits:
            os.write(files[pid], STAMP.pack(one.key.slice, one.end_offset, now))
        ring(self, producers, commits)

    Ringer.ring = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Ringer.ring = ring  # type: ignore[method-assign]


class Crossing:
    """a takes commands, b applies what comes of them."""

    def __init__(self, a: Replica, b: Replica, client: Client, noted: Path) -> None:
        self.a, self.b, self.client, self.noted = a, b, client, noted
        self.sent: Counter[str] = Counter()
        self.rounds: list[list[int]] = []

    def once(self) -> float:
        """A round: SAMPLES events, the first time WARM_UP; median age in seconds."""
        count = SAMPLES if self.rounds else WARM_UP
        begins_ns = time.monotonic_ns()
        open_loop(self._tell, count)
        wait_for(lambda: self.b.events() == self.a.events() == self.sent.total(), "all events")
        ages = [at - sent for sent, at in self.persisted() if sent >= begins_ns]
        must_equal("events persisted", count, len(ages))
        self.rounds.append(ages)
        return median(ages) / 1e9

    def _tell(self, number: int, stamp_ns: int) -> None:
        entity_id = f"l-{number % ENTITIES}"
        self.sent[entity_id] += 1
        self.client.entity("account", entity_id).tell(Add(TEXT, stamp_ns))

    def persisted(self) -> Iterator[tuple[int, int]]:
        """Of each event at b, when it was sent and when it was there."""
        done: dict[int, list[tuple[int, int]]] = {}
        for file in self.noted.iterdir():
            for slice_, end, at in STAMP.iter_unpack(file.read_bytes()):
                done.setdefault(slice_, []).append((end, at))
        codec, journal = Registry([Added]), open_journal(self.b.settings.journal)
        for slice_, stamps in done.items():
            stamps.sort()
            for commit in journal.read(SliceKey("account", slice_), 0, 100_000):
                at = next(at for end, at in stamps if end >= commit.end_offset)
                for record in records_of(commit):
                    yield codec.decode(record.manifest, record.payload).amount, at
        journal.close()


class Commits:
    """One record at a time to a journal that has nothing else to do."""

    def __init__(self, url: str) -> None:
        self.journal, self.ages_s = open_journal(url), list[float]()
        self.key, self.at = SliceKey("account", 0), 0
        self.journal.slices("account", 1)
        self.epoch = self.journal.claim(self.key, "bench", os.urandom(16)).epoch
        must_equal("installed", True, self.journal.install(self.key, 0, self.epoch))
        self.body = Registry([Added]).encode(Added(TEXT, 1))

    def once(self) -> float:
        taken: list[float] = []

        def append(number: int, stamp_ns: int) -> None:
            record = Record(EVENT, "l-0", self.at + 1, *self.body)
            commit = make_commit(
                self.key, self.at, os.urandom(16), self.epoch, time.time_ns() // 1000,
                [("l-0", pack_record(record))],
            )  # fmt: skip
            (answer,) = append_wait(self.journal, [commit])
            must_equal("append", Outcome.DONE, answer.outcome)
            self.at += 1
            taken.append((time.monotonic_ns() - stamp_ns) / 1e9)

        open_loop(append, SAMPLES if self.at else WARM_UP)
        if self.at > WARM_UP:
            self.ages_s += taken
        return median(taken)


def run() -> list[Result]:
    with folder() as path, contextlib.ExitStack() as stack:
        noted = path / "noted"
        noted.mkdir()
        system_a = stack.enter_context(actor_system())
        with noting(noted):
            system_b = stack.enter_context(actor_system())
        taken = stack.enter_context(latency.sides())
        a = Replica(path, "a", [("b", "")])
        b = Replica(path, "b", [("a", a.target)])
        client = stack.enter_context(serving(system_a, a.settings))
        stack.enter_context(b.running(system_b))
        crossing, commits = Crossing(a, b, client, noted), Commits(f"sqlite:///{path / 'c.db'}")
        interleaved(
            {
                "ours": crossing.once, "handler": taken.ours, "bare tell": taken.bare_tell,
                "bare pipeline": taken.bare_pipeline, "commit": commits.once,
            }
        )  # fmt: skip
        a.close()
        b.close()
    ages = [age / 1e9 for one in crossing.rounds[1:] for age in one]
    sides = {name: found for name, found in taken.ages_s.items() if name != "ours"}
    sides |= {"ours": ages, "to a handler": taken.ages_s["ours"], "commit": commits.ages_s}
    found = {name: percentiles_ms(taken_s) for name, taken_s in sides.items()}
    p50, p99 = ({name: one[p] for name, one in found.items()} for p in ("p50_ms", "p99_ms"))
    over_ms = p50["ours"] - p50["bare tell"] - p50["bare pipeline"] - p50["commit"]
    bar_ms = 1.3 * (p99["bare tell"] + p99["bare pipeline"]) + p99["commit"]
    against = {**found, "samples": len(ages), "guide_p50_ms": GUIDE_P50_MS}
    return [
        Result("replication_latency_p50", over_ms, 0.7, "ms over both bare and a commit", "lower",
               against),
        Result(
            "replication_latency_p99", p99["ours"] / bar_ms, 1.0,
            "x 1.3 both bare and a commit", "lower", against,
        ),
    ]  # fmt: skip

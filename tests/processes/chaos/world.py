"""Two services, a load and whoever kills them: what the chaos tests set up and what they look at
afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.processes.chaos import checker, history
from tests.processes.chaos.checker import Stored
from tests.processes.chaos.child import Child, listening, send
from tests.processes.chaos.history import ACKNOWLEDGED, Attempt
from tests.processes.chaos.ledger import ENTITY_TYPE
from tests.processes.chaos.load import PATIENCE_S
from tests.processes.running import free_port
from thespian_dc.testkit.eventually import eventually

SERVICE = "ledgers"
RATE_MIN = 1000  # commands/s that are promised to be under way when something is killed
MEASURED = os.environ.get("THESPIAN_DC_SOAK") == "1"
"""By `make soak`, on a machine that does nothing else: how fast things are is asserted. Elsewhere
it is printed, and bounded by what clients put up with: a loaded machine must not fail a run."""
PAUSE_S_MAX = 5.0 if MEASURED else PATIENCE_S


class Kill(NamedTuple):
    """us: monotonic, like the history's times; at_us: since 1970, like the journal's."""

    what: str
    pid: int
    us: int
    at_us: int


@dataclass(slots=True)
class World:
    """One run. journal: its URL; the load begins with `load` and ends with `judge`."""

    folder: Path
    journal: str
    children: list[Child] = field(default_factory=list)
    loads: list[tuple[Child, Path]] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(11))

    # --- setting up ---

    def service(self, **settings: Any) -> Child:
        """A service in an actor system of its own."""
        child = self.actor_system()
        child.ask("start " + json.dumps(settings), "started", 120)
        return child

    def actor_system(self, **environment: str) -> Child:
        """One without a node; its admin port is `admin_port`."""
        port, log = free_port(), self.folder / f"service{len(self.children)}.log"
        child = Child("service", log, str(port), **environment)
        child.latest["admin_port"] = port
        self.children.append(child)
        child.wait_for("up")
        return child

    def ledgers(self, listen: str = "", hosts: int = 2) -> Child:
        """A node that serves ledgers from this world's journal."""
        return self.service(service=SERVICE, journal=self.journal, listen=listen, hosts=hosts)

    def load(self, beside: Child, **plan: Any) -> Child:
        """Commands from a client of that service's actor system, acknowledged from now on."""
        child = self.begin_load(beside, **plan)
        self.progress(child)
        return child

    def begin_load(self, beside: Child, **plan: Any) -> Child:
        """The same, before anything is acknowledged."""
        plan = {"name": f"load{len(self.loads)}", **plan}
        path, log = (self.folder / f"{plan['name']}.{end}" for end in ("history", "log"))
        admin_port = str(beside.latest["admin_port"])
        child = Child("load", log, admin_port, str(path), json.dumps(plan))
        self.children.append(child)
        self.loads.append((child, path))
        return child

    def close(self) -> None:
        for child in reversed(self.children):
            child.end()

    # --- looking and killing ---

    def status(self, service: Child, within_s: float = 60.0) -> dict[str, Any]:
        found: dict[str, Any] = service.ask("status", "status", within_s)
        return found

    def pids(self, service: Child, what: str) -> list[int]:
        """Of "hosts", "producers", "consumers" that are up, or of the "coordinator"; empty where
        that cannot be told now."""
        status = self.status(service)
        if "error" in status:
            return []
        if what != "coordinator":
            return [leaf["pid"] for leaf in status[what] if leaf["state"] == "up"]
        port = int(status["coordinator"].rpartition(":")[2].rstrip(")") or 0)
        return [pid for pid in [listening(port, service.pids())] if pid]

    def kill(self, service: Child, what: str, number: signal.Signals = signal.SIGKILL) -> Kill:
        """One of them, at a random moment of the second that follows."""
        pid = self.rng.choice(eventually(lambda: self.pids(service, what), deadline_s=30))
        self.wait(self.rng.random())
        return self.signal(what, pid, number)

    def signal(self, what: str, pid: int, number: signal.Signals) -> Kill:
        kill = self.note(what, pid)
        send(pid, number)
        return kill

    def note(self, what: str, pid: int = 0) -> Kill:
        """A kill, or something else whose pause is of interest, happens now."""
        kill = Kill(what, pid, time.monotonic_ns() // 1000, time.time_ns() // 1000)
        self.kills.append(kill)
        return kill

    def kill_node(self, service: Child) -> Kill:
        """All its processes at once."""
        kill = self.note("node", service.process.pid)
        service.kill_all()
        return kill

    def wait_until_back(self, service: Child, kill: Kill, count: int = 1) -> None:
        """Until as many of them are up again, the killed one not among them, and the load moves."""

        def back() -> bool:
            pids = self.pids(service, kill.what)
            return len(pids) == count and kill.pid not in pids

        eventually(back, deadline_s=60, every_s=0.1)
        for load, _ in self.loads:
            self.progress(load)

    def wait_until_all_answer(self, since_us: int, within_s: float = 90.0) -> None:
        """Until each slice has acknowledged something that was sent after then."""
        for load, _ in self.loads:
            eventually(
                lambda one=load: one.latest.get("all_answered_us", 0) > since_us,  # it may begin
                deadline_s=within_s,
            )

    def progress(self, load: Child, commands: int = 500, within_s: float = 60.0) -> None:
        """Until so many more are acknowledged."""
        wanted = load.latest.get("acknowledged", 0) + commands
        eventually(lambda: load.latest.get("acknowledged", 0) >= wanted, deadline_s=within_s)

    @staticmethod
    def wait(for_s: float) -> None:
        """Let the load run: the random part of when a kill comes."""
        until = time.monotonic() + for_s
        eventually(lambda: time.monotonic() >= until, deadline_s=for_s + 5, every_s=0.001)

    # --- afterwards ---

    def judge(self, book: Path | None = None) -> Evidence:
        """End the load, wait until the projection has it all, read everything, and check it."""
        for load, _ in self.loads:
            with contextlib.suppress(BrokenPipeError):  # it has ended by itself, and failed
                load.order("end")
        for load, _ in self.loads:
            load.wait_for("done", 120)
        attempts = history.read(*(path for _, path in self.loads))
        records, wrong = checker.stored_in(self.journal, ENTITY_TYPE)
        rows = None
        if book is not None:
            eventually(lambda: len(checker.book_in(book)) >= len(records), deadline_s=60)
            rows = checker.book_in(book)
        wrong += checker.violations(attempts, records, rows)
        assert not wrong, f"{len(wrong)} violations in {self.folder}:\n" + "\n".join(wrong[:20])
        evidence = Evidence(attempts, records, self.kills)
        evidence.show()
        return evidence


@dataclass(frozen=True)
class Evidence:
    """A run that broke no promise. attempts: in the order of their ends."""

    attempts: Sequence[Attempt]
    records: Sequence[Stored]
    kills: Sequence[Kill]

    @cached_property
    def slice_of(self) -> dict[str, int]:
        """Of each entity that has records."""
        return {record.entity_id: record.slice for record in self.records}

    @cached_property
    def slices(self) -> set[int]:
        return set(self.slice_of.values())

    def ended_since(self, us: int) -> Iterator[Attempt]:
        """The attempts that ended then or later."""
        first = bisect_left(self.attempts, us, key=lambda attempt: attempt.done_us)
        return islice(self.attempts, first, None)

    def rate(self) -> float:
        """Commands acknowledged per second, outages included."""
        done = [a.done_us for a in self.attempts if a.outcome == ACKNOWLEDGED]
        return len(done) / (done[-1] - min(a.sent_us for a in self.attempts)) * 1e6

    def pause_s(self, since_us: int) -> float:
        """From then until each slice has acknowledged a command that was sent after it."""
        first: dict[int, int] = {}
        for attempt in self.ended_since(since_us):
            if attempt.outcome == ACKNOWLEDGED and attempt.sent_us >= since_us:
                slice_ = self.slice_of.get(attempt.entity_id)
                if slice_ is not None:
                    first.setdefault(slice_, attempt.done_us)
                    if len(first) == len(self.slices):
                        break
        assert first.keys() == self.slices, "a slice has acknowledged nothing since"
        return (max(first.values()) - since_us) / 1e6

    def silence_s(self, since_us: int) -> float:
        """From then until each slice has acknowledged anything: after an outage the queue is long,
        and what is sent later has to wait for its turn."""
        first: dict[int, int] = {}
        for attempt in self.ended_since(since_us + 1):
            if attempt.outcome == ACKNOWLEDGED and attempt.entity_id in self.slice_of:
                first.setdefault(self.slice_of[attempt.entity_id], attempt.done_us)
                if len(first) == len(self.slices):
                    break
        return (max(first.values()) - since_us) / 1e6

    def longest_pause_s(self, since_us: int) -> float:
        """The longest time in which a slice acknowledged nothing, from then to the next kill."""
        until_us = min((kill.us for kill in self.kills if kill.us > since_us), default=1 << 62)
        last, longest = dict.fromkeys(self.slices, since_us), 0
        for attempt in self.ended_since(since_us):
            if attempt.done_us >= until_us:
                break
            slice_ = self.slice_of.get(attempt.entity_id)
            if slice_ is not None and attempt.outcome == ACKNOWLEDGED:
                longest = max(longest, attempt.done_us - last[slice_])
                last[slice_] = attempt.done_us
        return longest / 1e6

    def starved(self) -> list[Attempt]:
        """Attempts that took too long, whatever came of them: twice the longest pause; where that
        is not measured, all that a client's patience has."""
        most_us = (2 * PAUSE_S_MAX if MEASURED else 0.98 * PATIENCE_S) * 1e6
        return [a for a in self.attempts if a.done_us - a.sent_us > most_us]

    def in_flight(self) -> dict[int, int]:
        """Per kill of a writer or of its journal, by its index: the commits on their way."""
        return {
            number: len(
                checker.in_flight(
                    self.attempts, self.records, kill.us, kill.at_us, kill.what != "cassandra"
                )
            )
            for number, kill in enumerate(self.kills)
            if kill.what in ("hosts", "node", "cassandra")
        }

    def resolved(self) -> int:
        """Commands with an unknown outcome that a later attempt made known, and that are stored
        once."""
        stored = {record.command_id for record in self.records}
        unknown = {a.command_id for a in self.attempts if a.outcome == history.UNKNOWN}
        known = {a.command_id for a in self.attempts if a.outcome == ACKNOWLEDGED}
        return len(unknown & known & stored)

    def show(self) -> None:
        outcomes = {
            one: sum(a.outcome == one for a in self.attempts)
            for one in (ACKNOWLEDGED, history.ERROR, history.UNKNOWN)
        }
        sent: dict[str, int] = {}
        for put in history.puts(self.attempts):
            sent[put.command_id] = sent.get(put.command_id, 0) + 1
        print(
            f"\nchaos: {len(self.attempts)} attempts of {len(sent)} commands and looks, "
            f"{outcomes}, {self.rate():.0f} acknowledged/s, {len(self.records)} events stored, "
            f"{sum(n > 1 for n in sent.values())} commands sent again, "
            f"{self.resolved()} unknown outcomes resolved"
        )
        on_their_way = self.in_flight()
        for number, kill in enumerate(self.kills):
            more = f", {on_their_way[number]} appends in flight" if number in on_their_way else ""
            print(
                f"chaos:   {kill.what} pid {kill.pid}: all slices answer after "
                f"{self.silence_s(kill.us):.2f} s, what is sent now after "
                f"{self.pause_s(kill.us):.2f} s, longest pause of one "
                f"{self.longest_pause_s(kill.us):.2f} s{more}"
            )


def busy(evidence: Evidence) -> bool:
    """Under load as promised; where that is not measured, under a fifth of it."""
    return evidence.rate() >= (RATE_MIN if MEASURED else RATE_MIN / 5)


def prompt(pauses_s: Sequence[float], journal: str) -> bool:
    """None longer than promised. On a Cassandra that shares the machine with everything else, half
    of them, and none twice as long."""
    on_server = MEASURED and journal.startswith("cassandra:")
    most_s = 2 * PAUSE_S_MAX if on_server else PAUSE_S_MAX
    return median(pauses_s) <= PAUSE_S_MAX and max(pauses_s) <= most_s


@contextmanager
def world(folder: Path, journal: str = "") -> Iterator[World]:
    """Whatever happens, its processes end with it."""
    one = World(folder, journal or f"sqlite:///{folder}/ledgers.db")
    try:
        yield one
    finally:
        one.close()


def kill_in_turn(
    world: World, victims: dict[str, tuple[Child, int]], kills: int, between: Callable[[], None]
) -> None:
    """`kills` of each victim, all mixed. victims: by role, its service and how many of it run."""
    order = [what for what in victims for _ in range(kills)]
    world.rng.shuffle(order)
    for what in order:
        service, count = victims[what]
        between()
        world.wait_until_back(service, world.kill(service, what), count)

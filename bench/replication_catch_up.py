"""A replica that is far behind: half a million events of another one, each applied by its entity
and persisted; and 200,000 after its link was cut. Beside it the local commands of this run.

Each round has a new replica, which begins with an empty journal. The other one takes commands
before, and is idle meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from bench.harness import ROUNDS, Result, median
from bench.replicated import Replica, us_per_event, wait_for
from bench.world import CORES, Load, actor_system, check, folder, serving
from thespian_dc.testkit.proxy import FaultProxy

ENTITIES, IN_FLIGHT, SECONDS = 1000, 5000, 3.0
BACKLOG, PARTITION = 500_000, 200_000
LOCAL_PER_S, APPLIED_PER_S = 40_000, 20_000


class Pair:
    """a takes commands, one of `late` comes at a time."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        names = [f"b{n}" for n in range(ROUNDS + 1)]
        self.systems = [stack.enter_context(actor_system()) for _ in range(2)]
        self.a = Replica(path, "a", [(name, "") for name in names], hosts=CORES)
        self.proxy = stack.enter_context(FaultProxy("127.0.0.1", self.a.port))
        self.late = []
        for name in names:
            target = self.a.target if name != names[-1] else f"127.0.0.1:{self.proxy.port}"
            others = [(other, "") for other in names if other != name]
            self.late.append(Replica(path, name, [("a", target), *others]))
        self.load = Load(stack.enter_context(serving(self.systems[0], self.a.settings)), ENTITIES)
        self.facts: list[dict[str, Any]] = []

    def write(self, events: int) -> list[float]:
        """At least so many more; the rates."""
        until, rates = self.a.events() + events, []
        while self.a.events() < until:
            rates.append(self.load.rate(IN_FLIGHT, SECONDS))
        return rates

    def catch_up(self, b: Replica) -> float:
        """Events per second from the first to the last that it has."""
        total = self.a.events()
        started = time.perf_counter()
        with b.running(self.systems[1]):
            first = wait_for(lambda: b.events() > 0, "the first event")
            before, cpu = b.events(), b.cpu_s()
            last = wait_for(lambda: b.events() >= total, "all events")
            spent = us_per_event(cpu, b.cpu_s(), total - before)
        self.facts.append({"until_first_s": round(first - started, 2), "cpu_us_per_event": spent})
        check(b.settings.journal, self.load)
        return (total - before) / (last - first)

    def after_a_cut(self) -> float:
        """Events per second from the healing to the last; the other one is idle by then."""
        b = self.late[-1]
        with b.running(self.systems[1]):
            wait_for(lambda: b.events() >= self.a.events(), "all events")
            rates = []
            for _ in range(ROUNDS):
                self.proxy.refuse()
                self.write(PARTITION)
                behind = self.a.events() - b.events()
                self.proxy.heal()
                healed = time.perf_counter()
                last = wait_for(lambda: b.events() >= self.a.events(), "all events")
                rates.append(behind / (last - healed))
        check(b.settings.journal, self.load)
        return median(rates)


def run() -> list[Result]:
    with folder() as path, contextlib.ExitStack() as stack:
        pair = Pair(path, stack)
        pair.write(BACKLOG)  # warms up, and is the backlog
        local, applied = [], []
        for b in pair.late[:ROUNDS]:
            local.append(pair.load.rate(IN_FLIGHT, SECONDS))
            applied.append(pair.catch_up(b))
        partition = pair.after_a_cut()
        for one in (pair.a, *pair.late):
            one.close()
    per_s, local_per_s = median(applied), median(local)
    against = {
        "local_per_s": round(local_per_s), "guide_local_per_s": LOCAL_PER_S,
        "applied_per_s": round(per_s), "backlog": BACKLOG, "hosts_of_a": CORES, **pair.facts[-1],
    }  # fmt: skip
    ratio = per_s / local_per_s
    return [
        Result("replication_catch_up_ratio", ratio, 0.5, "x local", "higher", against),
        Result("replication_catch_up", round(per_s), APPLIED_PER_S, "events/s", "higher"),
        Result("replication_after_a_cut", round(partition), APPLIED_PER_S, "events/s", "higher",
               {"behind": PARTITION}),
    ]  # fmt: skip

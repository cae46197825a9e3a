"""Both ends live on two cores: one replica takes commands as fast as it can while the other one
applies them, against the same commands with the link cut; and how far behind the other one is at a
steady 10,000 a second."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bench.harness import Result, interleaved, median
from bench.replicated import Replica, us_per_event, wait_for
from bench.world import Load, actor_system, check, folder, free_port, serving
from thespian_dc.testkit.proxy import FaultProxy

ENTITIES, IN_FLIGHT, SECONDS = 1000, 5000, 4.0
STEADY_PER_S, STEADY_S, BURST = 10_000, 60, 100
LAG_S_MAX = 2.0
"""Bounded: by the time that a sender in a hurry would wait for an answer."""


class Both:
    """a takes commands; each dials the other one, b by way of a proxy."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        systems = [stack.enter_context(actor_system()) for _ in range(2)]
        port_a, port_b = free_port(), free_port()
        self.proxy = stack.enter_context(FaultProxy("127.0.0.1", port_a))
        self.a = Replica(path, "a", [("b", f"127.0.0.1:{port_b}")], port_a)
        self.b = Replica(path, "b", [("a", f"127.0.0.1:{self.proxy.port}")], port_b)
        client = stack.enter_context(serving(systems[0], self.a.settings))
        self.a.find_node(systems[0])
        stack.enter_context(self.b.running(systems[1]))
        self.load = Load(client, ENTITIES)
        self.applied: list[float] = []
        self.cpu: dict[str, Any] = {}

    def alone(self) -> float:
        """Commands per second at a, which nobody reads."""
        self.proxy.refuse()
        rate = self.load.rate(IN_FLIGHT, SECONDS)
        self.proxy.heal()
        self.level()
        return rate

    def both(self) -> float:
        """Commands persisted at a, and events applied at b, per second."""
        before, started = self.b.events(), time.perf_counter()
        cpu_a, cpu_b = self.a.cpu_s(), self.b.cpu_s()
        persisted = self.load.rate(IN_FLIGHT, SECONDS)
        took, count = time.perf_counter() - started, self.b.events() - before
        self.applied.append(count / took)
        self.cpu = {
            "a": us_per_event(cpu_a, self.a.cpu_s(), int(persisted * took)),
            "b": us_per_event(cpu_b, self.b.cpu_s(), max(1, count)),
        }
        self.level()
        return persisted + self.applied[-1]

    def level(self) -> None:
        """b has all."""
        wait_for(lambda: self.b.events() >= self.a.events(), "all events")

    def steady(self) -> list[float]:
        """How far b is behind, in seconds of the rate, each half second."""
        lags: list[float] = []
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.5):
                lags.append((self.a.events() - self.b.events()) / STEADY_PER_S)

        looking = threading.Thread(target=look)
        looking.start()
        commands = self.paced()
        try:
            for _ in self.load.client.ask_many(commands, in_flight=2 * STEADY_PER_S, timeout_s=60):
                pass
        finally:
            over.set()
            looking.join()
        self.level()
        return lags

    def paced(self) -> Iterator[tuple[str, str, Any]]:
        """At STEADY_PER_S, in bursts; never later because the ones before were slow."""
        started, sent_s = time.perf_counter(), deque[float](maxlen=1)
        for burst in range(STEADY_PER_S * STEADY_S // BURST):
            time.sleep(max(0.0, started + burst * BURST / STEADY_PER_S - time.perf_counter()))
            yield from islice(self.load.commands(3600.0, sent_s), BURST)
        self.rate = STEADY_PER_S * STEADY_S / (time.perf_counter() - started)


def run() -> list[Result]:
    with folder() as path, contextlib.ExitStack() as stack:
        pair = Both(path, stack)
        figures = interleaved({"alone": pair.alone, "both": pair.both})
        lags = pair.steady()
        check(pair.b.settings.journal, pair.load)
        for one in (pair.a, pair.b):
            one.close()
    alone, both = median(figures["alone"]), median(figures["both"])
    half = len(lags) // 2
    against = {
        "alone_per_s": round(alone), "persisted_at_a_per_s": round(both - median(pair.applied)),
        "applied_at_b_per_s": round(median(pair.applied)), "cpu_us_per_event": pair.cpu,
    }  # fmt: skip
    facts = {
        "first_half_worst_s": round(max(lags[:half]), 3),
        "median_s": round(median(lags), 3), "last_s": round(lags[-1], 3),
    }  # fmt: skip
    return [
        Result("replication_together", both / alone, 0.8, "x local", "higher", against),
        # Below its rate a lag says nothing.
        Result(
            "replication_steady_rate", round(pair.rate), 0.98 * STEADY_PER_S, "commands/s", "higher"
        ),
        Result("replication_steady_lag", max(lags[half:]), LAG_S_MAX, "s behind", "lower", facts),
    ]

"""Commands acknowledged per second on Cassandra through the actor system, against one plain row per
event.

One server, RF 1, commitlog_sync as given in the result; both sides at LOCAL_QUORUM on the same
payload. Beside each figure: what the server takes from a writer that does nothing else (ceiling.py:
no host can be faster), and the CPU each process spends on a command, with the rate at
which that would fill all cores.
"""

from __future__ import annotations

import os
from collections import defaultdict
from functools import partial

from bench.baselines.plain_rows import PlainRows
from bench.ceiling import BareAppender
from bench.cpu import cpu_of
from bench.entities import TEXT, Account
from bench.harness import ROUNDS, Result, interleaved, median
from bench.world import CORES, Load, actor_system, cassandra, check, node_of, serving
from thespian_dc import Settings

ENTITIES, SECONDS = 1000, 4.0
ASKED = {2000: 1.2, 5000: 2.5, 20_000: 6.0}
WARM_UP_S = 60.0
"""A server's JIT compiler takes more than half of its CPU in its first minute: 29 us a command at
first, 4 us after 40 s, on two cores."""


class MeasuredLoad:
    """Rates, with what each process spent on a command."""

    def __init__(self, load: Load, pids: dict[str, list[int]]) -> None:
        self._load, self._pids = load, pids
        self._spent_us: defaultdict[int, list[dict[str, float]]] = defaultdict(list)

    def rate(self, in_flight: int) -> float:
        before, count = cpu_of(self._pids), self._load.count
        rate = self._load.rate(in_flight, SECONDS)
        commands = self._load.count - count
        after = cpu_of(self._pids)
        spent = {name: (after[name] - before[name]) * 1e6 / commands for name in after}
        self._spent_us[in_flight].append(spent)
        return rate

    def cpu_us(self, in_flight: int) -> dict[str, float]:
        """CPU microseconds per command, by process: the median of the rounds after the warm-up."""
        rounds = self._spent_us[in_flight][-ROUNDS:]
        return {name: round(median([one[name] for one in rounds]), 1) for name in self._pids}


def run() -> list[Result]:
    with cassandra() as (server, url), actor_system() as system:
        baseline = PlainRows(server.session, "bench", ENTITIES, TEXT.encode().ljust(100, b"x"))
        bare = BareAppender(url)
        settings = Settings("bench", journal=url, entities=[Account], hosts=CORES)
        with serving(system, settings) as client:
            load = Load(client, ENTITIES)
            hosts = node_of(system, settings).status()["hosts"]
            measured = MeasuredLoad(load, {
                "hosts": [one["pid"] for one in hosts], "client": [os.getpid()],
                "server": [server.pid],
            })  # fmt: skip
            sides = {"plain rows": lambda: baseline.best_rate(2.0)}
            for n in ASKED:
                sides[f"{n} in flight"] = lambda n=n: measured.rate(n)  # type: ignore[misc]
            figures = interleaved(sides, warm_up_s=WARM_UP_S)
            # Afterwards: what they write keeps the server busy for a while, whoever comes next.
            figures |= interleaved({f"ceiling at {n}": partial(bare.rate, n, 2.0) for n in ASKED})
        bare.close()
        check(url, load)
    plain = median(figures["plain rows"])
    results = []
    for in_flight, asked in ASKED.items():
        ours, cpu_us = median(figures[f"{in_flight} in flight"]), measured.cpu_us(in_flight)
        against = {
            "ours_per_s": round(ours),
            "plain_rows_per_s": round(plain),
            "ceiling_per_s": round(median(figures[f"ceiling at {in_flight}"])),
            "cpu_us_per_command": cpu_us,
            "all_cores_per_s": round(CORES * 1e6 / sum(cpu_us.values())),
            "latency": load.latency(in_flight),
            "hosts": CORES,
            "commitlog_sync": server.commitlog_sync,
        }
        name = f"commands_cassandra_{in_flight}"
        results.append(Result(name, ours / plain, asked, "x", "higher", against))
    return results

"""First command to an entity that left memory: a snapshot at 10,000 events and 50 later, a million
records of others.

A long history behind a snapshot must not cost more than twice what a short one does.
"""

from __future__ import annotations

import time

from bench.entities import Account, Total
from bench.harness import Result, median, must_equal
from bench.history import fill
from bench.world import actor_system, cassandra, folder, serving
from thespian_dc import Client, Limits, Settings

ENTITIES, ROUNDS, OTHERS, TAIL = 20, 10, 1_000_000, 50


def first_commands_s(client: Client, ids: list[str], events: int) -> list[float]:
    """Time from the first command to its reply of each entity, none of them resident."""
    taken = []
    for entity_id in ids:
        started = time.perf_counter()
        total = client.entity("account", entity_id).ask(Total(), timeout_s=30)
        taken.append(time.perf_counter() - started)
        must_equal(f"total of {entity_id}", events, total)
    return taken


def measure(url: str, backend: str) -> Result:
    short, long = fill(url, ENTITIES, others=OTHERS, short=100, long=10_000, tail=TAIL)
    with actor_system() as system:
        only_one = Limits(resident_max=1)  # whoever is addressed next sends the one before away
        settings = Settings("bench", journal=url, entities=[Account], slices=1, limits=only_one)
        with serving(system, settings) as client:
            client.entity("account", "warm-up").ask(Total(), timeout_s=30)
            short_s, long_s = list[float](), list[float]()
            for _ in range(ROUNDS):
                short_s += first_commands_s(client, short, 100 + TAIL)
                long_s += first_commands_s(client, long, 10_000 + TAIL)
    ratio = median(long_s) / median(short_s)
    against = {
        "short_ms": round(median(short_s) * 1e3, 2),
        "long_ms": round(median(long_s) * 1e3, 2),
    }
    return Result(f"passivated_{backend}", ratio, 2.0, "x", "lower", against)


def run() -> list[Result]:
    with folder() as path:
        results = [measure(f"sqlite:///{path / 'j.db'}", "sqlite")]
    with cassandra() as (_, url):
        results.append(measure(url, "cassandra"))
    return results

"""From a change of a running projection's filter, by another process, to the first event handled
that the filter before it kept out: of an entity that is included now, and is brought up to date."""

from __future__ import annotations

import random
import time

from bench.catch_up import ENTITIES, SLICES
from bench.cpu import cpu_s
from bench.harness import Result, percentiles_ms
from bench.history import write_log
from bench.process import Child, child
from bench.world import folder
from thespian_dc import Include, Projections

EVENTS, CHANGES = 10_000, 300
PAUSE_S = 0.1
"""At most, so that changes meet the projection at any moment between two of its looks."""
IDLE_S = 5.0
ASKED_MS = 100.0


def run() -> list[Result]:
    with folder() as path:
        journal, positions = f"sqlite:///{path / 'log.db'}", path / "positions.db"
        write_log(journal, EVENTS, ENTITIES, SLICES)
        with child("bench.stream_ends", "produce", journal=journal) as producer:
            settings = {"positions": str(positions), "handler": "F", "wanted": "nothing"}
            port = producer.hear()["port"]
            with child("bench.stream_ends", "work", port=port, **settings) as worker:
                worker.hear()
                projections = Projections(f"sqlite:///{positions}")
                taken = [change(projections, worker, number) for number in range(CHANGES)]
                before = cpu_s(worker.pid)
                time.sleep(IDLE_S)
                idle = (cpu_s(worker.pid) - before) / IDLE_S
    found = percentiles_ms(taken)
    against = {**found, "samples": CHANGES, "cpu_share_of_an_idle_consumer": round(idle, 4)}
    return [Result("filter_change_p99", found["p99_ms"], ASKED_MS, "ms", "lower", against)]


def change(projections: Projections, worker: Child, number: int) -> float:
    """Seconds from the call to the first event of the entity that it includes."""
    time.sleep(random.uniform(0, PAUSE_S))
    wanted = f"a-{number}"
    started = time.monotonic_ns()
    projections.set_filter("sums", Include.entity_ids(wanted))
    handled = [worker.hear() for _ in range(EVENTS // ENTITIES)]
    if any(one["entity_id"] != wanted for one in handled):
        raise ValueError(f"{handled} are not the events of {wanted}")
    return float(handled[0]["at_ns"] - started) / 1e9

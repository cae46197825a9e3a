"""Commands acknowledged per second on SQLite, 5,000 in flight, against the `eventsourcing`
library's."""

from __future__ import annotations

from bench.baselines.eventsourcing_commands import EventsourcingCommands
from bench.entities import TEXT, Account
from bench.harness import Result, interleaved, median, must_equal
from bench.world import CORES, Load, actor_system, check, folder, serving, synchronous_of
from thespian_dc import Settings

ENTITIES, IN_FLIGHT, SECONDS, FULL = 1000, 5000, 4.0, 2


def run() -> list[Result]:
    with folder() as path, actor_system() as system:
        journal = f"sqlite:///{path / 'journal.db'}"
        baseline = EventsourcingCommands(path, ENTITIES, TEXT)
        must_equal("synchronous of eventsourcing", FULL, baseline.synchronous())
        settings = Settings("bench", journal=journal, entities=[Account], hosts=CORES)
        with serving(system, settings) as client:
            load = Load(client, ENTITIES)
            figures = interleaved(
                {
                    "ours": lambda: load.rate(IN_FLIGHT, SECONDS),
                    "eventsourcing": lambda: baseline.rate(SECONDS),
                }
            )
        must_equal("synchronous of ours", FULL, synchronous_of(journal))
        check(journal, load)
    ours, theirs = median(figures["ours"]), median(figures["eventsourcing"])
    against = {
        "ours_per_s": round(ours),
        "eventsourcing_per_s": round(theirs),
        "guide_per_s": 40_000,
        "hosts": CORES,
        "latency": load.latency(IN_FLIGHT),
    }
    return [Result("commands_sqlite", ours / theirs, 20, "x", "higher", against)]

"""One hot entity on Cassandra: pipelined commands against one command per append."""

from __future__ import annotations

from bench.entities import Account
from bench.harness import Result, interleaved, median
from bench.world import Load, actor_system, cassandra, check, serving
from thespian_dc import Settings

SECONDS, PIPELINED = 4.0, 5000


def run() -> list[Result]:
    with cassandra() as (server, url), actor_system() as system:
        with serving(system, Settings("bench", journal=url, entities=[Account])) as client:
            load = Load(client, entities=1)
            figures = interleaved(
                {
                    "pipelined": lambda: load.rate(PIPELINED, SECONDS),
                    "one per append": lambda: load.rate(1, SECONDS),
                }
            )
        check(url, load)
    pipelined, single = median(figures["pipelined"]), median(figures["one per append"])
    against = {
        "pipelined_per_s": round(pipelined),
        "one_per_append_per_s": round(single),
        "latency_pipelined": load.latency(PIPELINED),
        "latency_one_per_append": load.latency(1),
        "commitlog_sync": server.commitlog_sync,
    }
    return [Result("hot_entity", pipelined / single, 20, "x", "higher", against)]

"""Commands acknowledged per second on Cassandra through the actor system, against one plain row per
event.

One server, RF 1, commitlog_sync as given in the result; both sides at LOCAL_QUORUM on the same
payload.
"""

from __future__ import annotations

from bench.baselines.plain_rows import PlainRows
from bench.entities import TEXT, Account
from bench.harness import Result, interleaved, median
from bench.world import Load, actor_system, cassandra, check, serving
from thespian_dc import Settings

ENTITIES, SECONDS = 1000, 4.0
ASKED = {2000: 1.2, 5000: 2.5, 20_000: 6.0}


def run() -> list[Result]:
    with cassandra() as (server, url), actor_system() as system:
        baseline = PlainRows(server.session, "bench", ENTITIES, TEXT.encode().ljust(100, b"x"))
        with serving(system, Settings("bench", journal=url, entities=[Account])) as client:
            load = Load(client, ENTITIES)
            sides = {
                f"{n} in flight": lambda n=n: load.rate(n, SECONDS)  # type: ignore[misc]
                for n in ASKED
            }
            figures = interleaved({"plain rows": lambda: baseline.best_rate(2.0), **sides})
        check(url, load)
    plain = median(figures["plain rows"])
    results = []
    for in_flight, asked in ASKED.items():
        ours = median(figures[f"{in_flight} in flight"])
        against = {
            "ours_per_s": round(ours),
            "plain_rows_per_s": round(plain),
            "latency": load.latency(in_flight),
            "commitlog_sync": server.commitlog_sync,
        }
        name = f"commands_cassandra_{in_flight}"
        results.append(Result(name, ours / plain, asked, "x", "higher", against))
    return results

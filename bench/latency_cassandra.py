"""bench/latency.py's load on a Cassandra of one node: from the tell to the handler."""

from __future__ import annotations

from bench.harness import Result, interleaved, percentiles_ms
from bench.latency import sides
from bench.world import cassandra

ASKED_MS = 10.0


def run() -> list[Result]:
    with cassandra() as (server, url), sides(url) as taken:
        interleaved({"ours": taken.ours})
        found = percentiles_ms(taken.ages_s["ours"])
        against = {**found, "samples": len(taken.ages_s["ours"]), "sync": server.commitlog_sync}
    return [Result("latency_cassandra_p50", found["p50_ms"], ASKED_MS, "ms", "lower", against)]

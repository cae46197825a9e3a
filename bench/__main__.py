"""`make bench`: run all benchmarks, or `--only NAME`; print the table and write
bench/results/latest.json."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from importlib import import_module

from bench.harness import Result, machine, show, write

BENCHES = (
    "single_ask",
    "commands_sqlite",
    "commands_cassandra",
    "hot_entity",
    "catch_up",
    "per_message",
    "filtered",
    "together",
    "filter_change",
    "rebuild",
    "latency",
    "latency_cassandra",
    "residents",
    "passivated",
    "replication_catch_up",
    "replication_together",
    "replication_latency",
    "replication_sizes",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=BENCHES)
    options = parser.parse_args()
    facts, results, failed = machine(), list[Result](), list[str]()
    for name in [options.only] if options.only else BENCHES:
        started = time.monotonic()
        print(f"--- {name}", flush=True)
        try:
            fresh = import_module(f"bench.{name}").run()
        except Exception:  # noqa: BLE001  one broken bench must not hide the others' figures
            traceback.print_exc()
            failed.append(name)
            continue
        for one in fresh:  # what else ran on the machine meanwhile: figures of a busy one are low
            one.against["load_1min"] = round(os.getloadavg()[0], 1)
        show(fresh)
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
        results += fresh
    write(results, facts, complete=not options.only)
    print()
    show(results)
    for name in failed:
        print(f"{name}: FAILED, no figure")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

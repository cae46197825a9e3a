"""Run seeds of replicas from the command line: one with its trace, or many with their totals.

    python -m thespian_dc.testkit.simulation.replicas --seed 7
    python -m thespian_dc.testkit.simulation.replicas --seeds 0..200
    python -m thespian_dc.testkit.simulation.replicas --seeds 0..200 --bug no_wait

Exit status 0: everything held (with --bug: the bug was caught); 1: something did not.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from thespian_dc.testkit.simulation.replicas.bugs import BUGS, caught, may_meet
from thespian_dc.testkit.simulation.replicas.report import Totals
from thespian_dc.testkit.simulation.replicas.run import Outcome, ReplicaSimulation


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m thespian_dc.testkit.simulation.replicas")
    parser.add_argument("--seed", type=int, help="run this seed and show the end of its trace")
    parser.add_argument("--seeds", default="0..200", help="A..B: A inclusive, B exclusive")
    parser.add_argument("--bug", choices=sorted(BUGS), help="put this bug in; it must be caught")
    parser.add_argument("--seconds", type=float, help="stop after so much CPU time")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        return _one(chosen.seed, chosen.bug)
    first, _, last = chosen.seeds.partition("..")
    return _many(range(int(first), int(last)), chosen.bug, chosen.seconds)


def simulate(seed: int, bug: str | None = None) -> Outcome:
    """Run one seed, with a bug put in or without."""
    with BUGS[bug]() if bug else contextlib.nullcontext(ReplicaSimulation) as simulation:
        return simulation(seed).run()


def replay(seed: int, bug: str | None) -> str:
    """The command that runs this seed again."""
    with_bug = f" --bug {bug}" if bug else ""
    return f"python -m thespian_dc.testkit.simulation.replicas --seed {seed}{with_bug}"


def _one(seed: int, bug: str | None) -> int:
    outcome, totals = simulate(seed, bug), Totals()
    totals.add(outcome)
    print("\n".join([*outcome.trace, "", *totals.lines(), outcome.plan, totals.summary()]))
    return _verdict(outcome, bug)


def _many(seeds: range, bug: str | None, seconds: float | None) -> int:
    totals, started = Totals(), time.process_time()
    for seed in seeds:
        if bug and not may_meet(bug, seed):
            continue
        outcome = simulate(seed, bug)
        totals.add(outcome)
        if caught(bug, outcome) if bug else outcome.broken:
            return _verdict(outcome, bug)
        if seconds is not None and time.process_time() - started > seconds:
            break
    took_s = time.process_time() - started
    print("\n".join(totals.lines()))
    print(f"{totals.summary()}; {totals.seeds * 60 / took_s:.0f} seeds a minute of CPU time")
    if bug:
        print(f"{bug} was not caught")
        return 1
    for name in totals.missing():
        print(f"never happened: {name}")
    return 1 if totals.missing() else 0


def _verdict(outcome: Outcome, bug: str | None) -> int:
    for broken in outcome.broken[:20]:
        print(f"broken  {broken}")
    if outcome.broken:
        print(f"seed {outcome.seed}: {outcome.plan}")
        print(f"again: {replay(outcome.seed, bug)}")
    return int(not caught(bug, outcome) if bug else bool(outcome.broken))


if __name__ == "__main__":
    sys.exit(main())

"""Run seeds of a simulator: one, or many with their totals; from its command line, or from tests.

    --seed 7                                   one, with the end of its trace
    --seeds 0..200 [--bug NAME] [--seconds S]  many

Exit status 0: everything held (with --bug: the bug was caught); 1: something did not.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from thespian_dc.testkit.simulation.outcome import Outcome, Totals


def _is_unsafe(_bug: str, outcome: Outcome) -> bool:
    return bool(outcome.unsafe)


def _always(_bug: str, _seed: int) -> bool:
    return True


class Seeds:
    """module: what `python -m` runs. simulation: the class without a bug, made of a seed. bugs: by
    name; each is a context manager that yields the class to run. caught: has an invariant caught
    the bug? may_meet: is a seed worth a run with it?"""

    def __init__(
        self,
        module: str,
        simulation: Callable[[int], Any],
        totals: type[Totals],
        bugs: Mapping[str, Callable[[], contextlib.AbstractContextManager[Any]]],
        caught: Callable[[str, Outcome], bool] = _is_unsafe,
        may_meet: Callable[[str, int], bool] = _always,
    ) -> None:
        self.module, self._simulation, self.totals, self.bugs = module, simulation, totals, bugs
        self.caught, self.may_meet = caught, may_meet

    def simulate(self, seed: int, bug: str | None = None) -> Outcome:
        """Run one seed, with a bug put in or without. Caught, it may do anything, and for ever: its
        world ends."""
        chosen = self.bugs[bug]() if bug else contextlib.nullcontext(self._simulation)
        with chosen as simulation:
            built = simulation(seed)
            if bug:
                built.world.is_over = lambda: self.caught(bug, built.outcome())
            outcome: Outcome = built.run()
        return outcome

    def replay(self, seed: int, bug: str | None = None) -> str:
        """The command that runs this seed again."""
        with_bug = f" --bug {bug}" if bug else ""
        return f"python -m {self.module} --seed {seed}{with_bug}"

    def run(
        self, seeds: Iterable[int], bug: str | None = None, seconds: float | None = None
    ) -> tuple[Totals, Outcome | None]:
        """Until they are through, or so much CPU time is over, or one ends it: the first that is
        broken, or with a bug that caught it. Prints the totals where none did."""
        totals, started = self.totals(), time.process_time()
        for seed in seeds:
            if bug and not self.may_meet(bug, seed):
                continue
            outcome = self.simulate(seed, bug)
            totals.add(outcome)
            if self.caught(bug, outcome) if bug else outcome.broken:
                return totals, outcome
            if seconds is not None and time.process_time() - started > seconds:
                break
        took_s = time.process_time() - started
        print("\n".join(totals.lines()))
        print(f"{totals.summary()}; {totals.seeds * 60 / took_s:.0f} seeds a minute of CPU time")
        return totals, None

    # --- the command line ---

    def main(self, arguments: list[str] | None = None) -> int:
        """Returns the exit status."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}")
        add = parser.add_argument
        add("--seed", type=int, help="run this seed and show the end of its trace")
        add("--seeds", default="0..200", help="A..B: A inclusive, B exclusive")
        add("--bug", choices=sorted(self.bugs), help="put this bug in; it must be caught")
        add("--seconds", type=float, help="stop after so much CPU time")
        chosen = parser.parse_args(arguments)
        if chosen.seed is not None:
            return self._one(chosen.seed, chosen.bug)
        first, _, last = chosen.seeds.partition("..")
        return self._many(range(int(first), int(last)), chosen.bug, chosen.seconds)

    def _one(self, seed: int, bug: str | None) -> int:
        outcome, totals = self.simulate(seed, bug), self.totals()
        totals.add(outcome)
        plan = [outcome.plan] if outcome.plan else []
        print("\n".join([*outcome.trace, "", *totals.lines(), *plan, totals.summary()]))
        return self._verdict(outcome, bug)

    def _many(self, seeds: range, bug: str | None, seconds: float | None) -> int:
        totals, ended = self.run(seeds, bug, seconds)
        if ended is not None:
            return self._verdict(ended, bug)
        if bug:
            print(f"{bug} was not caught")
            return 1
        for name in totals.missing():
            print(f"never happened: {name}")
        return 1 if totals.missing() else 0

    def _verdict(self, outcome: Outcome, bug: str | None) -> int:
        for broken in outcome.broken[:20]:
            print(f"broken  {broken}")
        if outcome.broken:
            if outcome.plan:
                print(f"seed {outcome.seed}: {outcome.plan}")
            print(f"again: {self.replay(outcome.seed, bug)}")
        return int(not self.caught(bug, outcome) if bug else bool(outcome.broken))

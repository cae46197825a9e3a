"""Replicas under the seeded simulator: clean seeds hold, bugs are caught."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from thespian_dc.testkit.simulation.replicas.__main__ import replay, simulate
from thespian_dc.testkit.simulation.replicas.bugs import (
    BUGS,
    caught,
    may_meet,
    retired_are_ignored,
)
from thespian_dc.testkit.simulation.replicas.plan import plan_of
from thespian_dc.testkit.simulation.replicas.report import Totals

CLEAN_SEEDS = int(os.environ.get("THESPIAN_DC_REPLICA_SEEDS", "60"))
CLEAN_S = 45.0
"""Of one core, not of the wall."""
BUG_SEEDS, BUG_S = 200, 30.0


def run_clean(seeds: range, seconds: float | None) -> Totals:
    """Run seeds until time is over; fail with the command that replays the first broken one."""
    totals, started = Totals(), time.process_time()
    for seed in seeds:
        outcome = simulate(seed)
        totals.add(outcome)
        assert not outcome.broken, (
            f"seed {seed} ({outcome.plan}): {'; '.join(map(str, outcome.broken[:5]))}; "
            f"again: {replay(seed, None)}"
        )
        if seconds is not None and time.process_time() - started > seconds:
            break
    took_s = time.process_time() - started
    print("\n".join(totals.lines()))
    print(f"{totals.summary()}; {totals.seeds * 60 / took_s:.0f} seeds a minute")
    return totals


@pytest.mark.timeout(900)
def test_clean_seeds_of_replicas_hold_and_meet_every_fault() -> None:
    """Once, in causal order, the same everywhere after healing; whatever was to happen did."""
    assert run_clean(range(CLEAN_SEEDS), CLEAN_S).missing() == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_bug_that_is_put_into_replicas_is_caught_by_an_invariant(bug: str) -> None:
    """Checks that never fail check nothing. That nothing goes on any more would not count."""
    started = time.process_time()
    for seed in (one for one in range(BUG_SEEDS) if may_meet(bug, one)):
        outcome = simulate(seed, bug)
        if caught(bug, outcome):
            print(f"{bug}: seed {seed}: {outcome.unsafe[0]}; again: {replay(seed, bug)}")
            return
        if time.process_time() - started > BUG_S:
            pytest.fail(f"{bug} was not caught up to seed {seed}, {BUG_S:.0f} s")
    pytest.fail(f"{bug} was not caught in {BUG_SEEDS} seeds")


def test_nobody_misses_what_a_retired_replica_wrote() -> None:
    """Once it is retired, its events may as well be ignored: all have all of them."""
    seeds = [seed for seed in range(BUG_SEEDS) if plan_of(seed).retires][:6]
    with retired_are_ignored() as simulation:
        for seed in seeds:
            assert simulation(seed).run().broken == [], replay(seed, None)


def test_a_bug_of_replicas_is_taken_out_again() -> None:
    """A patch that outlived its test would make every later test lie."""
    for bug in BUGS.values():
        with bug():
            pass
    assert simulate(1).broken == []


def test_a_seed_of_replicas_runs_the_same_way_again_in_another_process() -> None:
    """A failing seed is worth something only if anybody can run it again."""
    command = [sys.executable, "-m", "thespian_dc.testkit.simulation.replicas", "--seed", "10"]
    outputs = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=100,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_a_thousand_seeds_of_replicas_hold() -> None:
    """What 60 seeds do not reach."""
    assert run_clean(range(1_000), None).missing() == []

"""The write path and a projection under the seeded simulator: clean seeds hold, bugs are caught."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from thespian_dc.testkit.simulation.__main__ import replay, simulate
from thespian_dc.testkit.simulation.bugs import BUGS
from thespian_dc.testkit.simulation.report import Totals

CLEAN_SEEDS = int(os.environ.get("THESPIAN_DC_SIMULATION_SEEDS", "200"))
CLEAN_S = 240.0
"""Of one core, not of the wall: a busy machine must not make the run prove less."""
BUG_SEEDS = 200
BUG_S = 60.0


def run_clean(seeds: range, seconds: float | None) -> Totals:
    """Run seeds until time is over; fail with the command that replays the first broken one."""
    totals, started = Totals(), time.process_time()
    for seed in seeds:
        outcome = simulate(seed)
        totals.add(outcome)
        assert not outcome.broken, (
            f"seed {seed}: {'; '.join(map(str, outcome.broken[:5]))}; again: {replay(seed, None)}"
        )
        if seconds is not None and time.process_time() - started > seconds:
            break
    took_s = time.process_time() - started
    print("\n".join(totals.lines()))
    print(f"{totals.summary()}; {totals.seeds * 60 / took_s:.0f} seeds a minute")
    return totals


@pytest.mark.timeout(1500)
def test_clean_seeds_hold_and_meet_every_fault_and_transition() -> None:
    """I1-I4 and I6 under faults; a run that never met one of them has proved nothing about it."""
    totals = run_clean(range(CLEAN_SEEDS), CLEAN_S)
    assert totals.missing() == []


@pytest.mark.parametrize("seed", [371, 564])
def test_a_seed_that_was_broken_once_holds(seed: int) -> None:
    """371: a source began again below the position when a filter changed (unit/test_healing.py).
    564: a state row without the ids of its commands (unit/test_known_ids.py)."""
    assert simulate(seed).broken == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_bug_that_is_put_in_is_caught_by_an_invariant(bug: str) -> None:
    """Checks that never fail check nothing. A crash inside a core would not count: it is raised."""
    started = time.process_time()
    for seed in range(BUG_SEEDS):
        broken = simulate(seed, bug).unsafe
        if broken:
            print(f"{bug}: seed {seed}: {broken[0]}; again: {replay(seed, bug)}")
            return
        if time.process_time() - started > BUG_S:
            pytest.fail(f"{bug} was not caught in {seed + 1} seeds, {BUG_S:.0f} s")
    pytest.fail(f"{bug} was not caught in {BUG_SEEDS} seeds")


def test_a_bug_is_taken_out_again() -> None:
    """A patch that outlived its test would make every later test lie."""
    for bug in BUGS.values():
        with bug():
            pass
    assert simulate(1).broken == []


def test_a_seed_runs_the_same_way_again_in_another_process() -> None:
    """A failing seed is worth something only if anybody can run it again."""
    command = [sys.executable, "-m", "thespian_dc.testkit.simulation", "--seed", "3"]
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
def test_ten_thousand_seeds_hold() -> None:
    """What 200 seeds do not reach."""
    assert run_clean(range(10_000), None).missing() == []

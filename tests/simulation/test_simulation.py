"""The write path and a projection under the seeded simulator: clean seeds hold, bugs are caught."""

from __future__ import annotations

import os

import pytest

from tests.simulation.proofs import check_caught, check_clean, check_same_again
from thespian_dc.testkit.simulation.__main__ import SEEDS

CLEAN_SEEDS = int(os.environ.get("THESPIAN_DC_SIMULATION_SEEDS", "130"))
CLEAN_S = 240.0
"""Of one core, not of the wall: a busy machine must not make the run prove less."""
BUG_SEEDS = 200
BUG_S = 150.0


@pytest.mark.timeout(1500)
def test_clean_seeds_hold_and_meet_every_fault_and_transition() -> None:
    """I1-I4 and I6 under faults; a run that never met one of them has proved nothing about it."""
    check_clean(SEEDS, range(CLEAN_SEEDS), CLEAN_S)


@pytest.mark.parametrize("seed", [371, 564])
def test_a_seed_that_was_broken_once_holds(seed: int) -> None:
    """371: a source began again below the position when a filter changed (unit/test_healing.py).
    564: a state row without the ids of its commands (unit/test_known_ids.py)."""
    assert SEEDS.simulate(seed).broken == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", sorted(SEEDS.bugs))
def test_a_bug_that_is_put_in_is_caught_by_an_invariant(bug: str) -> None:
    """Checks that never fail check nothing. A crash inside a core would not count: it is raised."""
    check_caught(SEEDS, bug, BUG_SEEDS, BUG_S)


def test_a_bug_is_taken_out_again() -> None:
    """A patch that outlived its test would make every later test lie."""
    for bug in SEEDS.bugs.values():
        with bug():
            pass
    assert SEEDS.simulate(1).broken == []


def test_a_seed_runs_the_same_way_again_in_another_process() -> None:
    """A failing seed is worth something only if anybody can run it again."""
    check_same_again(SEEDS, 3)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_seeds_hold() -> None:
    """What 130 seeds do not reach."""
    check_clean(SEEDS, range(10_000), None)

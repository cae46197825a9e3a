"""Replicas under the seeded simulator: clean seeds hold, bugs are caught."""

from __future__ import annotations

import os

import pytest

from tests.simulation.proofs import check_caught, check_clean, check_same_again
from thespian_dc.testkit.simulation.replicas.__main__ import SEEDS
from thespian_dc.testkit.simulation.replicas.bugs import retired_are_ignored
from thespian_dc.testkit.simulation.replicas.plan import plan_of

CLEAN_SEEDS = int(os.environ.get("THESPIAN_DC_REPLICA_SEEDS", "44"))
CLEAN_S = 75.0
"""Of one core, not of the wall; a quiet one takes half as long."""
BUG_SEEDS, BUG_S = 200, 30.0


@pytest.mark.timeout(900)
def test_clean_seeds_of_replicas_hold_and_meet_every_fault() -> None:
    """Once, in causal order, the same everywhere after healing; whatever was to happen did."""
    check_clean(SEEDS, range(CLEAN_SEEDS), CLEAN_S)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", sorted(SEEDS.bugs))
def test_a_bug_that_is_put_into_replicas_is_caught_by_an_invariant(bug: str) -> None:
    """Checks that never fail check nothing. That nothing goes on any more would not count."""
    check_caught(SEEDS, bug, BUG_SEEDS, BUG_S)


def test_nobody_misses_what_a_retired_replica_wrote() -> None:
    """Once it is retired, its events may as well be ignored: all have all of them."""
    seeds = [seed for seed in range(BUG_SEEDS) if plan_of(seed).retires][:6]
    with retired_are_ignored() as simulation:
        for seed in seeds:
            assert simulation(seed).run().broken == [], SEEDS.replay(seed)


def test_a_bug_of_replicas_is_taken_out_again() -> None:
    """A patch that outlived its test would make every later test lie."""
    for bug in SEEDS.bugs.values():
        with bug():
            pass
    assert SEEDS.simulate(1).broken == []


def test_a_seed_of_replicas_runs_the_same_way_again_in_another_process() -> None:
    """A failing seed is worth something only if anybody can run it again."""
    check_same_again(SEEDS, 10)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_a_thousand_seeds_of_replicas_hold() -> None:
    """What 44 seeds do not reach."""
    check_clean(SEEDS, range(1_000), None)

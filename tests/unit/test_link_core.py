"""Links between replicas: a random walk of all of them, the bugs it must catch, and the rules one
by one."""

from __future__ import annotations

import pytest

from tests.unit.link_world import BrokenError, World

BUGS = (
    "own_origin_only", "skip_linked_origins", "no_wait", "position_before_apply",
    "report_before_apply", "dedup_by_arrival",
)  # fmt: skip
SEEDS = 60


def test_replicas_come_to_hold_the_same_events() -> None:
    """Under crashes, one-way cuts, lost commands and answers, stale reports, chains, narrower
    scopes and a lost replica."""
    assert sum(World(seed).run() for seed in range(SEEDS)) > 50 * SEEDS


@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_is_caught(bug: str) -> None:
    for seed in range(SEEDS):
        try:
            World(seed, bug).run()
        except BrokenError:
            return
    pytest.fail(f"{bug} went unnoticed")

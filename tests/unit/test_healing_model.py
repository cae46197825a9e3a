"""Random filters, changes, failures and crashes against an oracle that knows only the log; and the
oracle against bugs put into the core."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.healing_world import judge_all, random_run
from thespian_dc.projection.healing import Healing
from thespian_dc.projection.memory import Changes, SliceMemory, Start, StoredMemory

SEEDS = int(os.environ.get("HEALING_SEEDS", "600"))
"""Of the test with the sound core: some milliseconds each."""


def test_every_event_that_passes_is_handled_once_in_order() -> None:
    """I3 across filters changed mid-stream, lost answers, raises and crashes at every step."""
    for seed in range(SEEDS):
        world = random_run(seed)
        try:
            judge_all(world)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def _without_debts(healing: Healing) -> Changes:
    return changes(healing)._replace(debts=[])


def _without_marks(healing: Healing) -> Changes:
    return changes(healing)._replace(marks=[])


def _versions_forgotten(healing: Healing, stored: StoredMemory) -> None:
    slices = {
        slice_: SliceMemory(one.baseline, one.began, [Start(one.began, 0)])
        for slice_, one in stored.slices.items()
    }
    on_loaded(healing, replace(stored, slices=slices))


def _handled_at_once(healing: Healing, *event: Any) -> bool:
    """The position passes an entity that is owed something, and so do its later events."""
    healing.settle(True)
    return judge(healing, *event) or event[3] > healing._memory.mark(event[2]).seq_nr


changes, on_loaded, judge = Healing.changes, Healing.on_loaded, Healing.judge


@pytest.mark.parametrize(
    ("method", "bug"),
    [
        ("changes", _without_debts),
        ("changes", _without_marks),
        ("on_loaded", _versions_forgotten),
        ("judge", _handled_at_once),
        ("_unfiltered", lambda *_: True),
    ],
)
def test_the_oracle_sees(
    method: str, bug: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A debt or a mark not stored, versions forgotten at a restart, an owed entity not held back, a
    gap taken for withheld."""
    monkeypatch.setattr(Healing, method, bug)
    for seed in range(1000):
        try:
            judge_all(random_run(seed))
        except AssertionError:
            return
    raise AssertionError("a thousand runs did not show it")

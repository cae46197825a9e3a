"""What any process makes of the rows that workers write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from thespian_dc.projection.control import REBUILD, Control, Wish
from thespian_dc.projection.observe import (
    Activity,
    ProjectionHooks,
    ProjectionView,
    hooked,
    progress,
    view_of,
    view_of_worker,
)
from thespian_dc.projection.workers import WorkerRow

NOW = 1_000_000_000
WISHED = Control(1)


def worker(activity: Activity, lives: bool | None = True, age_us: int = 0) -> Any:
    row = WorkerRow("w", 1, "m", 7, beat_us=NOW - age_us, facts=activity.to_json())
    return view_of_worker(row, {0: "w", 1: "other"}, lives, NOW)


@pytest.mark.parametrize(
    ("health", "activity", "lives", "age_us"),
    [
        ("idle", Activity("running"), True, 0),
        ("busy", Activity("running", busy_since_us=NOW - 60_000_000), True, 0),
        ("busy", Activity("starting"), True, 0),
        ("stuck", Activity("running", handling_since_us=NOW - 11_000_000), True, 0),
        ("stuck", Activity("running"), True, 4_000_000),
        ("dead", Activity("running"), None, 4_000_000),
        ("dead", Activity("running"), False, 0),
        ("failing", Activity("waiting"), True, 0),
        ("paused", Activity("paused"), True, 0),
        ("halted", Activity("halted"), True, 9_000_000),
    ],
)
def test_health(health: str, activity: Activity, lives: bool | None, age_us: int) -> None:
    """A process that is there and says nothing is stuck; one that cannot be seen is dead."""
    seen = worker(activity, lives, age_us)
    assert seen.health == health
    assert seen.slices == (0,)
    assert seen.lives == (health not in ("dead", "halted"))


def view(
    positions: dict[int, int], heads: dict[int, int] | None = None,
    control: Control = WISHED, rebuild_to: dict[int, int] | None = None,
    phase: str = "running",
) -> ProjectionView:  # fmt: skip
    activity = Activity(phase, heads=heads or {}, lag_s={0: 1.5, 1: 9.0})
    return view_of("p", control, positions, [worker(activity)], rebuild_to or {})


def test_lag_is_what_is_known_to_wait() -> None:
    """Stored positions are later than heads that were reported before."""
    seen = view({0: 50, 1: 70}, {0: 80, 1: 60})
    assert (seen.lag, seen.heads, seen.phase) == (30, {0: 80, 1: 70}, "running")
    assert seen.lag_s == {0: 1.5}, "of slices the worker serves"
    assert view({0: 2}, rebuild_to={0: 9}).lag == 7, "what was handled before a rebuild is there"


def test_phases() -> None:
    """The worst that is so of any worker."""
    assert view({0: 1}, control=Control(1, paused=True)).phase == "paused"
    assert view({0: 1}, phase="waiting").phase == "failing"
    assert view({0: 1}, phase="halted").phase == "halted"
    assert view({0: 1}, rebuild_to={0: 5}).phase == "rebuilding"
    assert view({0: 5}, rebuild_to={0: 5}).phase == "running"
    assert view({0: 5}, control=Control(1, open=(Wish(1, REBUILD),))).phase == "rebuilding"
    assert view_of("p", Control(), {}, [worker(Activity(), lives=False)], {}).phase == "stopped"


def test_progress_of_a_rebuild_and_of_catching_up() -> None:
    """Rate from two looks; the time left only where the rest shrinks."""
    before = view({0: 100, 1: 0}, rebuild_to={0: 500, 1: 500})
    now = view({0: 300, 1: 200}, rebuild_to={0: 500, 1: 500})
    seen = progress(before, now, 2.0)
    assert (seen.rate, seen.left, seen.eta_s) == (200.0, 500, 2.5)
    assert seen.done == pytest.approx(0.5)
    still = progress(now, now, 1.0)
    assert (still.rate, still.eta_s) == (0.0, None)
    done = progress(view({0: 5}), view({0: 8}, {0: 8}), 1.0)
    assert (done.left, done.done, done.eta_s) == (0, 1.0, 0.0)


def test_a_row_of_another_version_is_read() -> None:
    """What is new there is left out, what is missing has its default."""
    text = '{"phase": "running", "novelty": 1, "heads": {"3": 9}}'
    assert Activity.from_json(text) == Activity("running", heads={3: 9})


class Diary(ProjectionHooks):
    def __init__(self) -> None:
        self.pages: list[tuple[str, Any]] = []


class Before(Diary):
    def before_event(self, event: Any) -> None:
        self.pages.append(("before", event))


class Both(Before):
    def after_event(self, event: Any) -> None:
        self.pages.append(("after", event))


def _handle(event: Any, tx: Any) -> str:
    return f"{event} in {tx}"


def test_hooks_that_nobody_defines_cost_nothing() -> None:
    """The handler's own call is used."""
    handle: Callable[[Any, Any], Any] = _handle
    assert hooked(None, handle) is handle
    assert hooked(Diary(), handle) is handle


@pytest.mark.parametrize(
    ("hooks", "pages"), [(Before(), ["before"]), (Both(), ["before", "after"])]
)
def test_hooks_see_each_event(hooks: Diary, pages: list[str]) -> None:
    """Around the handler's call, whose answer stays."""
    assert hooked(hooks, _handle)("e", "tx") == "e in tx"
    assert hooks.pages == [(page, "e") for page in pages]

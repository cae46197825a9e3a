"""The consumer's database that a verb was given, and how its projections are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from thespian_dc.cli.numbers import AMOUNT
from thespian_dc.cli.output import safe, styled
from thespian_dc.projection.api import Progress, ProjectionView

F = TypeVar("F", bound=Callable[..., Any])

COLOURS = {"running": "green", "paused": "yellow", "rebuilding": "cyan", "stopped": None}


def positions_option(function: F) -> F:
    """`--positions URL`, or THESPIAN_DC_POSITIONS."""
    return click.option(
        "--positions", "url", metavar="URL", envvar="THESPIAN_DC_POSITIONS", required=True,
        help="The consumer's database, as Projection.positions: sqlite:///path or "
        "cassandra://host[,host][:port]/keyspace.",
    )(function)  # fmt: skip


def timeout_option(default: float) -> Callable[[F], F]:
    """`--timeout SECONDS`: how long to wait for the workers."""
    return click.option(
        "--timeout", "timeout_s", metavar="SECONDS", type=AMOUNT, default=default,
        show_default=True, help="How long to wait for the workers.",
    )  # fmt: skip


name_argument = click.argument("projection", metavar="PROJECTION")


def fields_of(view: ProjectionView) -> dict[str, Any]:
    """For --json."""
    return {
        "projection": view.projection,
        "phase": view.phase,
        "paused": view.paused,
        "version": view.version,
        "workers_wished": view.workers_wished,
        "lag": view.lag,
        "lag_s": max(view.lag_s.values(), default=0.0),
        "slices": [
            {
                "slice": slice_,
                "offset": offset,
                "head": view.heads.get(slice_, offset),
                "lag": view.heads.get(slice_, offset) - offset,
                "lag_s": view.lag_s.get(slice_, 0.0),
                "rebuild_to": view.rebuild_to.get(slice_),
            }
            for slice_, offset in sorted(view.positions.items())
        ],
        "workers": [
            {
                "worker": one.worker,
                "pid": one.pid,
                "health": one.health,
                "slices": list(one.slices),
                "beat_age_s": round(one.beat_age_s, 3),
                "busy_s": round(one.busy_s, 3),
                "handling_s": round(one.handling_s, 3),
                "events": one.activity.events,
                "restarts": one.activity.restarts,
                "error": one.activity.error,
            }
            for one in view.workers
        ],
        "wishes": [wish._asdict() for wish in view.wishes],
    }


def line_of(view: ProjectionView, seen: Progress | None = None) -> str:
    """One line: what it does, how far it is, and how fast."""
    phase = styled(view.phase, fg=COLOURS.get(view.phase, "red"), bold=True)
    parts = [safe(view.projection), phase, f"lag {view.lag}"]
    late_s = max(view.lag_s.values(), default=0.0)
    if view.lag and late_s:
        parts.append(f"{late_s:.1f} s behind")
    if seen is not None:
        parts.append(f"{seen.rate:,.0f} events/s")
        if seen.left:
            eta = "never at this rate" if seen.eta_s is None else f"{duration(seen.eta_s)} left"
            parts.append(f"{seen.done:.1%} done, {eta}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """As a person says it: 42 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"

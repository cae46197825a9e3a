"""What a projection is doing, as any process reads it from the workers' rows. Pure: no clock.

A worker writes its row twice a second at most, and at once when it has acted upon a wish. All times
are wall-clock microseconds of the worker that wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from thespian_dc.projection.control import Control, Wish
from thespian_dc.projection.workers import WorkerRow

STALE_US = 3_000_000
"""A worker that lives writes its row in less."""
STUCK_US = 10_000_000
"""One event that takes longer is reported as stuck."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What a worker says of itself. phase: as in ProjectionStatus. events: passed since it began.

    positions, heads, lag_s: by slice served: stored offset, head as last known, and the age of the
    last handled commit (0.0 where nothing is known to wait). busy_since_us:
    since when there was always something to handle, 0 where nothing waits. handling_since_us: of
    the transaction at hand, 0 between two. error, skipped, parked: as in ProjectionStatus.
    """

    phase: str = "starting"
    events: int = 0
    restarts: int = 0
    error: str = ""
    busy_since_us: int = 0
    handling_since_us: int = 0
    positions: Mapping[int, int] = field(default_factory=dict)
    heads: Mapping[int, int] = field(default_factory=dict)
    lag_s: Mapping[int, float] = field(default_factory=dict)
    skipped: int = 0
    parked: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Activity:
        """Of a row, also one that another version wrote: what is unknown here is left out."""
        found: dict[str, Any] = json.loads(text)
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in found.items() if name in known}
        for name in ("positions", "heads", "lag_s"):
            values[name] = {int(slice_): at for slice_, at in values.get(name, {}).items()}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker. health: "idle", "busy", "paused", "stuck" (one transaction for more than
    10 s, or its row is stale though its process lives: a handler that holds the database looks so
    from outside), "failing", "halted", "stopped", or "dead". busy_s: since when there was always
    something to handle. handling_s: since the transaction at hand began; 0.0 between two."""

    worker: str
    pid: int
    health: str
    slices: tuple[int, ...]
    beat_age_s: float
    busy_s: float
    handling_s: float
    activity: Activity

    @property
    def lives(self) -> bool:
        """It can act upon a wish, sooner or later."""
        return self.health not in ("dead", "halted", "stopped")


@dataclass(frozen=True, slots=True)
class ProjectionView:
    """A projection over all its workers.

    phase: "running", "paused", "rebuilding" (below where it stood when the rebuild was wished),
    "stuck", "failing", "halted", or "stopped" (no worker lives). lag: events known to be waiting.
    rebuild_to: by slice, until where a rebuild is not yet done; empty: none is under way.
    """

    projection: str
    phase: str
    paused: bool
    workers_wished: int | None
    version: int
    positions: Mapping[int, int]
    heads: Mapping[int, int]
    lag: int
    lag_s: Mapping[int, float]
    workers: tuple[WorkerView, ...]
    wishes: tuple[Wish, ...]
    rebuild_to: Mapping[int, int]

    @property
    def lives(self) -> bool:
        """A worker that could act upon a wish runs."""
        return any(one.lives for one in self.workers)


def view_of_worker(
    row: WorkerRow, holders: Mapping[int, str], lives: bool | None, now_us: int
) -> WorkerView:
    """lives: whether its process is there; None where that cannot be seen from this machine."""
    activity = Activity.from_json(row.facts)
    age_us = max(0, now_us - row.beat_us)
    busy_us, handling_us = (
        max(0, now_us - since_us) if since_us else 0
        for since_us in (activity.busy_since_us, activity.handling_since_us)
    )
    slices = tuple(sorted(slice_ for slice_, worker in holders.items() if worker == row.worker))
    health = _health(activity, lives, age_us, handling_us)
    return WorkerView(
        row.worker, row.pid, health, slices, age_us / 1e6, busy_us / 1e6, handling_us / 1e6,
        activity,
    )  # fmt: skip


def _health(activity: Activity, lives: bool | None, age_us: int, handling_us: int) -> str:
    stale = age_us > STALE_US
    if lives is False or (lives is None and stale):
        return "dead"
    if activity.phase in ("halted", "stopped"):
        return activity.phase
    if stale or handling_us > STUCK_US:
        return "stuck"
    if activity.phase == "waiting":
        return "failing"
    if activity.phase == "paused":
        return "paused"
    return "busy" if activity.busy_since_us or activity.phase == "starting" else "idle"


def view_of(
    projection: str,
    control: Control,
    positions: Mapping[int, int],
    workers: Sequence[WorkerView],
    rebuild_to: Mapping[int, int],
) -> ProjectionView:
    """positions: the stored ones, which are later than what workers last said."""
    heads: dict[int, int] = {}
    lag_s: dict[int, float] = {}
    for worker in workers:
        for slice_, head in worker.activity.heads.items():
            heads[slice_] = max(heads.get(slice_, 0), head)
        lag_s.update({s: late for s, late in worker.activity.lag_s.items() if s in worker.slices})
    for slice_, offset in positions.items():
        heads[slice_] = max(heads.get(slice_, 0), offset, rebuild_to.get(slice_, 0))
    left = {s: to for s, to in rebuild_to.items() if positions.get(s, 0) < to}
    lag = sum(head - positions.get(slice_, 0) for slice_, head in heads.items())
    return ProjectionView(
        projection, _phase(control, workers, left), control.paused, control.workers,
        control.version, dict(positions), heads, lag, lag_s, tuple(workers),
        tuple(control.open), left,
    )  # fmt: skip


def _phase(control: Control, workers: Sequence[WorkerView], left: Mapping[int, int]) -> str:
    health = {one.health for one in workers} - {"dead", "stopped"}
    if not health:
        return "stopped"
    for worst in ("halted", "stuck", "failing"):
        if worst in health:
            return worst
    if control.paused:
        return "paused"
    return "rebuilding" if left or control.gathers else "running"


@dataclass(frozen=True, slots=True)
class Progress:
    """Between two looks. rate: events per second that positions moved; eta_s: until nothing is
    left at that rate, None while it does not shrink. done: share of the way, 0.0..1.0."""

    rate: float
    left: int
    done: float
    eta_s: float | None


def progress(before: ProjectionView, now: ProjectionView, seconds: float) -> Progress:
    """seconds: between the two looks, > 0. Of a rebuild while one is under way, else of catching
    up."""
    to = now.rebuild_to or now.heads
    left = sum(max(0, at - now.positions.get(slice_, 0)) for slice_, at in to.items())
    whole = sum(to.values())
    moved = sum(now.positions.values()) - sum(before.positions.values())
    rate = max(0.0, moved / seconds)
    eta_s = 0.0 if not left else left / rate if rate else None
    return Progress(rate, left, 1.0 if not whole else 1 - left / whole, eta_s)


class ProjectionHooks:
    """What a projection tells whoever wants to know. Subclass it in an importable module and name
    the class in Projection.hooks; one object per worker, built in its process without arguments.

    Called on the projection's thread, which waits: be quick. What a hook raises counts as a failure
    of the run, except in `failed` and `stopped`, where it is logged. `before_event` and
    `after_event` cost a call each per event, and only where a subclass defines them.
    """

    def started(self, projection: str, slices: Sequence[int]) -> None:
        """A run begins to handle events of these slices."""

    def stopped(self, projection: str) -> None:
        """A run ended, well or not."""

    def failed(self, projection: str, error: Exception, retry_in_s: float | None) -> None:
        """A run ended in an error; None: it is not tried again."""

    def before_event(self, event: Any) -> None:
        """The handler gets this Envelope next."""

    def after_event(self, event: Any) -> None:
        """The handler returned; its transaction is not yet committed."""

    def before_batch(self, slice_: int, offset: int) -> None:
        """A transaction begins at this offset of a slice."""

    def positions(self, projection: str, offsets: Mapping[int, int], events: int) -> None:
        """A transaction is durable: the slices it moved and where they stand, and how many offsets
        it passed."""


def hooked(
    hooks: ProjectionHooks | None, handle: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """The handler's call with the hooks around it that a subclass defines; the call itself where it
    defines none."""
    if hooks is None:
        return handle
    kind = type(hooks)
    before = kind.before_event is not ProjectionHooks.before_event
    after = kind.after_event is not ProjectionHooks.after_event
    if not (before or after):
        return handle

    def call(event: Any, tx: Any) -> Any:
        if before:
            hooks.before_event(event)
        done = handle(event, tx)
        if after:
            hooks.after_event(event)
        return done

    return call

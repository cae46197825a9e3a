"""What a seed is about: how many replicas, how they are linked, and what befalls the group."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

NAMES = ("A", "B", "C", "D", "E")
KINDS = (
    "plain", "plain", "filters", "filters", "standby", "trims", "retires", "restores",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """names: all replicas. links: by replica, whom it reads. late: joins when the others have
    written for a while. lost: is gone for good before the rest. filters: "" (none), "ids" or
    "tags": what replicas want changes. one_active: a hot standby group. trims: logs are trimmed.
    retires: a replica leaves the group. restores: a journal is put back to an older copy; again: so
    is this one soon after, the same or another. slices: of each replica's journal, in the order of
    names. secret: what replicas show changes, and this entity none ever shows. workers: calls by
    which each reads each of its peers, at most. nodes: of each replica; machines: that these run
    on. edges: replicas that cannot be dialled."""

    names: tuple[str, ...]
    topology: str
    links: dict[str, tuple[str, ...]]
    hosts: int
    slices: tuple[int, ...]
    late: str = ""
    lost: str = ""
    filters: str = ""
    one_active: bool = False
    late_events: str = "apply"
    trims: bool = False
    retires: str = ""
    restores: str = ""
    again: str = ""
    secret: str = ""
    workers: int = 1
    nodes: int = 1
    machines: int = 1
    edges: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f"{len(self.names)} replicas, {self.topology}, {self.hosts} hosts each"
        for name in ("late", "lost", "filters", "retires", "restores", "again", "secret"):
            value = getattr(self, name)
            said += f", {name} {value}" if value else ""
        said += ", trims" if self.trims else ""
        said += f", {self.workers} workers" if self.workers > 1 else ""
        said += f", {self.nodes} nodes on {self.machines}" if self.nodes > 1 else ""
        said += f", slices {self.slices}" if len(set(self.slices)) > 1 else ""
        return said + (f", one active ({self.late_events})" if self.one_active else "")


def plan_of(seed: int) -> Plan:
    """Of this seed; another source of chance than the run's, so that a plan stays as it is when
    the run changes."""
    rng = random.Random(f"plan {seed}")
    names = NAMES[: rng.choice((2, 3, 3, 3, 4, 5))]
    topology = rng.choice(("mesh", "mesh", "star", "chain")) if len(names) > 2 else "mesh"
    kind = rng.choice(KINDS)
    others, more = names[1:], random.Random(f"more {seed}")
    shared = random.Random(f"workers {seed}")
    workers = shared.choice((1, 1, 2, 3))
    plan = Plan(
        names, topology, _links(names, topology), rng.choice((1, 2)), _slices(more, names, workers),
        late=rng.choice(others) if rng.random() < 0.3 and kind != "restores" else "",
        lost=rng.choice(names) if rng.random() < 0.3 and kind in {"plain", "filters"} else "",
        filters=_filters(rng, kind),
        one_active=kind == "standby",
        late_events="set_aside" if more.random() < 0.7 else "apply",
        trims=kind == "trims",
        restores=rng.choice(names) if kind == "restores" else "",
        retires=_leaver(rng, names, topology) if kind == "retires" and len(names) > 2 else "",
        secret=_secret(random.Random(f"shown {seed}")), workers=workers,
        nodes=shared.choice((1, 1, 2)), machines=shared.choice((1, 2)),
    )  # fmt: skip
    plan = replace(plan, again=_again(random.Random(f"again {seed}"), plan))
    return _with_edges(random.Random(f"edges {seed}"), plan)


def _with_edges(rng: random.Random, plan: Plan) -> Plan:
    """A star all of whose others dial, and are not dialled."""
    is_star = plan.topology == "star" or len(plan.names) == 2
    return (
        replace(plan, topology="edge", edges=plan.names[1:])
        if is_star and rng.random() < 0.5
        else plan
    )


def _again(rng: random.Random, plan: Plan) -> str:
    return rng.choice(("", plan.restores, *plan.names)) if plan.restores else ""


def _slices(rng: random.Random, names: tuple[str, ...], workers: int) -> tuple[int, ...]:
    """Two everywhere, four where they are shared, or as many as each likes."""
    if rng.random() < 0.5:
        return (2 if workers == 1 else 4,) * len(names)
    return tuple(rng.choice((1, 2, 4)) for _ in names)


def _secret(rng: random.Random) -> str:
    return f"l{rng.randrange(8)}" if rng.random() < 0.5 else ""


def _filters(rng: random.Random, kind: str) -> str:
    if kind == "trims":
        return rng.choice(("", "ids", "ids"))
    return rng.choice(("ids", "ids", "tags")) if kind == "filters" else ""


def _leaver(rng: random.Random, names: tuple[str, ...], topology: str) -> str:
    """One without which the others are linked still."""
    ends = {"chain": (names[0], names[-1]), "star": names[1:]}
    return rng.choice(ends.get(topology, names))


def _links(names: tuple[str, ...], topology: str) -> dict[str, tuple[str, ...]]:
    if topology == "chain":
        return {
            name: tuple(names[n] for n in (at - 1, at + 1) if 0 <= n < len(names))
            for at, name in enumerate(names)
        }
    if topology == "star":
        return {name: names[1:] if name == names[0] else names[:1] for name in names}
    return {name: tuple(one for one in names if one != name) for name in names}

"""What a node's own processes say to each other: coordinator, leaves (hosts, producers, consumers)
and whoever starts them. Pure values; all of them pickle, their `__str__` is cheap on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def coordinator_name(service: str) -> str:
    """The global name of a service's coordinator in its actor system."""
    return f"thespian_dc:{service}"


@dataclass(frozen=True, slots=True)
class LeafSpec:
    """A process of the node. name: unique in the service. role: where `node.status()` lists it.

    actor: "module.Class" of a LeafActor. settings: what its `begin` gets, pickled.
    """

    name: str
    role: str
    actor: str
    settings: Any

    def __str__(self) -> str:
        return f"LeafSpec {self.name}"


@dataclass(frozen=True, slots=True)
class StartNode:
    """To the coordinator, once. settings: the node's, kept and compared; leaves: what to run."""

    service: str
    node_id: str
    settings: Any
    leaves: tuple[LeafSpec, ...]

    def __str__(self) -> str:
        return f"StartNode {self.service}"


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """The coordinator's answer: the node that runs, and the settings it runs with."""

    node_id: str
    settings: Any

    def __str__(self) -> str:
        return f"NodeStarted {self.node_id}"


@dataclass(frozen=True, slots=True)
class StartLeaf:
    """To the coordinator: one more process. Idempotent by name. Answered like GetStatus."""

    leaf: LeafSpec

    def __str__(self) -> str:
        return f"StartLeaf {self.leaf.name}"


@dataclass(frozen=True, slots=True)
class Begin:
    """From the coordinator to a leaf it created; a leaf that has begun answers with a Report."""

    service: str
    node_id: str
    name: str
    role: str
    actor: str
    settings: Any
    node: Any
    """The StartNode, so that a leaf can bring a lost coordinator back."""

    def __str__(self) -> str:
        return f"Begin {self.name}"


@dataclass(frozen=True, slots=True)
class Report:
    """From a leaf to the coordinator twice a second: it lives, and what it knows.

    error: why it could not begin. facts: plain data for the status; routes: see entity/protocol.
    """

    name: str
    pid: int
    address: str
    begun: bool
    error: Exception | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    routes: Any = None

    def __str__(self) -> str:
        return f"Report {self.name}"


@dataclass(frozen=True, slots=True)
class Peers:
    """From the coordinator, the answer to each Report: name, role and address of each leaf."""

    leaves: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return "Peers"


@dataclass(frozen=True, slots=True)
class GetStatus:
    """Answered with Status."""

    def __str__(self) -> str:
        return "GetStatus"


@dataclass(frozen=True, slots=True)
class Status:
    """settings: of the node, None where none was started. leaves: by name; errors: by name, why a
    leaf is not up. pid: the coordinator's own."""

    node_id: str
    pid: int
    settings: Any
    leaves: Mapping[str, Mapping[str, Any]]
    errors: Mapping[str, Exception]

    def __str__(self) -> str:
        return f"Status {self.node_id}"


@dataclass(frozen=True, slots=True)
class GetRoutes:
    """Answered with Routes, by coordinators."""

    def __str__(self) -> str:
        return "GetRoutes"


@dataclass(frozen=True, slots=True)
class Routes:
    """What each host last reported of routes; receivers merge by epoch."""

    service: str
    reported: tuple[Any, ...]

    def __str__(self) -> str:
        return "Routes"


@dataclass(frozen=True, slots=True)
class StopNode:
    """Leaves drain for at most drain_s and exit, then the coordinator: NodeStopped."""

    drain_s: float

    def __str__(self) -> str:
        return "StopNode"


@dataclass(frozen=True, slots=True)
class NodeStopped:
    """All leaves have ended, or the time was over: `left` names those that had not."""

    left: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "NodeStopped"


@dataclass(frozen=True, slots=True)
class Drain:
    """From the coordinator to a leaf: take no new work, finish what there is, exit in time."""

    drain_s: float

    def __str__(self) -> str:
        return "Drain"

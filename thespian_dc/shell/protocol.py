"""What a node's own processes say to each other: coordinator, leaves (hosts, producers, consumers)
and whoever starts them. Pure values; all of them pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


def coordinator_name(service: str) -> str:
    """The global name of a service's coordinator in its actor system."""
    return f"thespian_dc:{service}"


class NodeMessage:
    """What travels between processes of a node. Thespian prints each message it sends and receives,
    so `__str__` is cheap: the class, and the one field that `shown` names, if any."""

    __slots__ = ()
    shown: ClassVar[str] = ""

    def __str__(self) -> str:
        name = type(self).__name__
        return f"{name} {getattr(self, self.shown)}" if self.shown else name


@dataclass(frozen=True, slots=True)
class LeafSpec(NodeMessage):
    """A process of the node. name: unique in the service. role: where `node.status()` lists it.

    actor: "module.Class" of a LeafActor. settings: what its `begin` gets, pickled.
    """

    shown = "name"

    name: str
    role: str
    actor: str
    settings: Any


@dataclass(frozen=True, slots=True)
class StartNode(NodeMessage):
    """To the coordinator, once. settings: the node's, kept and compared; leaves: what to run."""

    shown = "service"

    service: str
    node_id: str
    settings: Any
    leaves: tuple[LeafSpec, ...]


@dataclass(frozen=True, slots=True)
class NodeStarted(NodeMessage):
    """The coordinator's answer: the node that runs, and the settings it runs with."""

    shown = "node_id"

    node_id: str
    settings: Any


@dataclass(frozen=True, slots=True)
class StartLeaf(NodeMessage):
    """To the coordinator: one more process. Idempotent by name. Answered like GetStatus."""

    leaf: LeafSpec

    def __str__(self) -> str:
        return f"StartLeaf {self.leaf.name}"


@dataclass(frozen=True, slots=True)
class StopLeaf(NodeMessage):
    """To the coordinator: drain this process and create it no more. Idempotent; no answer."""

    shown = "name"

    name: str


@dataclass(frozen=True, slots=True)
class Begin(NodeMessage):
    """From the coordinator to a leaf it created; a leaf that has begun answers with a Report."""

    shown = "name"

    service: str
    node_id: str
    name: str
    role: str
    actor: str
    settings: Any
    node: Any
    """The StartNode, so that a leaf can bring a lost coordinator back."""


@dataclass(frozen=True, slots=True)
class Report(NodeMessage):
    """From a leaf to the coordinator twice a second: it lives, and what it knows.

    error: why it could not begin. facts: plain data for the status; routes: see entity/protocol.
    """

    shown = "name"

    name: str
    pid: int
    address: str
    begun: bool
    error: Exception | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    routes: Any = None


@dataclass(frozen=True, slots=True)
class Peers(NodeMessage):
    """From the coordinator, the answer to each Report: name, role and address of each leaf."""

    leaves: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class GetStatus(NodeMessage):
    """Answered with Status."""


@dataclass(frozen=True, slots=True)
class Status(NodeMessage):
    """settings: of the node, None where none was started. leaves: by name; errors: by name, why a
    leaf is not up. pid: the coordinator's own."""

    shown = "node_id"

    node_id: str
    pid: int
    settings: Any
    leaves: Mapping[str, Mapping[str, Any]]
    errors: Mapping[str, Exception]


@dataclass(frozen=True, slots=True)
class GetRoutes(NodeMessage):
    """Answered with Routes, by coordinators."""


@dataclass(frozen=True, slots=True)
class Routes(NodeMessage):
    """What each host last reported of routes; receivers merge by epoch."""

    service: str
    reported: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StopNode(NodeMessage):
    """Leaves drain for at most drain_s and exit, then the coordinator: NodeStopped."""

    drain_s: float


@dataclass(frozen=True, slots=True)
class NodeStopped(NodeMessage):
    """All leaves have ended, or the time was over: `left` names those that had not."""

    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drain(NodeMessage):
    """From the coordinator to a leaf: take no new work, finish what there is, exit in time."""

    drain_s: float

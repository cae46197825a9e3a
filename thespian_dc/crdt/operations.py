"""The operations: what a change says to every replica. They are events, or parts of events. Pure.

replica, counter: the operation's dot. A value's vector says which dots of each replica it has
applied; an operation that adds something takes the next one.
seen: what the origin had before it, as the greatest counter of each replica. An operation takes
away, or replaces, only what is not above `seen`: what happened concurrently stays.

These names and fields are stored in journals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Counted:
    """PN-counter: the replica added `delta` (which may be negative), `total` is its share since."""

    delta: int
    total: int
    replica: str
    counter: int


@dataclass(frozen=True, slots=True)
class LwwAssigned:
    """LWW register: the value that holds unless a later time has been assigned."""

    value: Any
    time_us: int
    replica: str


@dataclass(frozen=True, slots=True)
class MvAssigned:
    """MV register: the value replaces those that were seen."""

    value: Any
    replica: str
    counter: int
    seen: dict[str, int]


@dataclass(frozen=True, slots=True)
class SetAdded:
    """OR-set: the elements are in it, born again where they were in it already."""

    elements: tuple[Any, ...]
    replica: str
    counter: int
    seen: dict[str, int]


@dataclass(frozen=True, slots=True)
class MapPut:
    """LWW map: the value of a key, with its time, replaces those that were seen."""

    key: Any
    value: Any
    time_us: int
    replica: str
    counter: int
    seen: dict[str, int]


@dataclass(frozen=True, slots=True)
class KeysRemoved:
    """OR-set and maps: what was seen of these elements or keys is gone."""

    keys: tuple[Any, ...]
    seen: dict[str, int]


@dataclass(frozen=True, slots=True)
class AllCleared:
    """OR-set and maps: all that was seen is gone."""

    seen: dict[str, int]


@dataclass(frozen=True, slots=True)
class MapUpdated:
    """OR-map: an operation on the value of a key; its dot is one of the whole map."""

    key: Any
    operation: Counted | MvAssigned | SetAdded | MapPut | KeysRemoved | AllCleared | MapUpdated


def dot_of(operation: Any) -> tuple[str, int] | None:
    """The operation's dot, None where it only takes away."""
    while isinstance(operation, MapUpdated):
        operation = operation.operation
    if isinstance(operation, KeysRemoved | AllCleared):
        return None
    return operation.replica, operation.counter

"""Dots: each addition has one, (replica, counter), and a value knows by its vector which it has
applied. So nothing that was removed needs to be remembered. Pure.

Values that are generic have no slots: Python 3.11 cannot make `OrSet[str]()` of a frozen slotted
class.

Causal order is what this rests on: who has applied a dot has applied all that its origin had
applied before it. Therefore a vector (`seen`) stands for a set of dots without holes, and a removal
never arrives before what it removes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, Self, TypeVar

from thespian_dc.crdt.operations import dot_of
from thespian_dc.model.crdt_errors import RepeatedOperationError, WrongOperationError
from thespian_dc.model.vector import VersionVector

P = TypeVar("P")
Dot = tuple[str, int]
Siblings = dict[Dot, P]
"""What was put concurrently, by dot; at most one of each replica, whose next replaces it."""


class Dotted(Protocol):
    """A value of dots alone: what an OR-map can hold under a key, and take away from it."""

    @property
    def vector(self) -> VersionVector: ...
    def __bool__(self) -> bool:
        """False where no dot is left: an OR-map has no such key."""

    def apply(self, operation: object) -> Self: ...
    def without(self, seen: Mapping[str, int]) -> Self:
        """This value with only the dots above `seen`."""

    def within(self, vector: VersionVector) -> Self:
        """This value with another vector: under a key it is the map's, or none is kept."""

    def has_dot(self, dot: Dot) -> bool: ...


def unseen(siblings: Siblings[P], seen: Mapping[str, int]) -> Siblings[P]:
    """Those above `seen`."""
    return {dot: put for dot, put in siblings.items() if dot[1] > seen.get(dot[0], 0)}


def seen_of(dots: Iterable[Dot]) -> dict[str, int]:
    """The least `seen` that has these dots."""
    seen: dict[str, int] = {}
    for replica, counter in dots:
        seen[replica] = max(counter, seen.get(replica, 0))
    return seen


def is_known(value: Dotted, operation: object, is_taken: Callable[[Dot], bool]) -> bool:
    """Was the operation applied already? Then it changes nothing.

    is_taken: does another addition bear this dot? RepeatedOperationError where it does. Only the
    newest dot is asked about: that is where a second operation prepared from one value shows, at
    its origin, before anything is stored.
    """
    dot = dot_of(operation)
    if dot is None or dot[1] > value.vector[dot[0]]:
        return False
    if dot[1] == value.vector[dot[0]] and is_taken(dot):
        raise repeated(value, operation, dot)
    return True


def repeated(value: object, operation: object, dot: Dot) -> RepeatedOperationError:
    return RepeatedOperationError(type(value).__name__, type(operation).__name__, *dot)


def wrong(value: object, operation: object, *known: type[Any]) -> WrongOperationError:
    names = ", ".join(one.__name__ for one in known)
    return WrongOperationError(type(value).__name__, type(operation).__name__, names)

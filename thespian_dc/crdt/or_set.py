"""A set to which elements are added and from which they are removed; an addition wins over a
concurrent removal. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

from thespian_dc.crdt.dots import is_known, wrong
from thespian_dc.crdt.keyed import KeyedSiblings
from thespian_dc.crdt.operations import AllCleared, KeysRemoved, SetAdded

T = TypeVar("T")


@dataclass(frozen=True)
class OrSet(KeyedSiblings[T, None]):
    """entries: the dots of each element's last additions."""

    @property
    def elements(self) -> frozenset[T]:
        """A copy: ask `in` and `len` of the set itself."""
        return frozenset(self.entries)

    def __iter__(self) -> Iterator[T]:
        """In no order."""
        return iter(self.entries)

    def add(self, *elements: T, replica: str) -> SetAdded:
        """The operation that adds these elements. Of one that is there already too: only so does it
        win over a removal elsewhere."""
        entries = (self.entries.get(element, {}) for element in elements)
        return SetAdded(elements, replica, self.vector[replica] + 1, self._seen(entries))

    def apply(self, operation: object) -> Self:
        """Repetition does not matter. WrongOperationError; RepeatedOperationError where two
        additions were prepared from one set."""
        if isinstance(operation, KeysRemoved | AllCleared):
            return self._take_away(operation)
        if type(operation) is not SetAdded:
            raise wrong(self, operation, SetAdded, KeysRemoved, AllCleared)
        puts = dict.fromkeys(operation.elements)
        if is_known(self, operation, lambda dot: self._is_taken(dot, puts)):
            return self
        return self._put(puts, (operation.replica, operation.counter), operation.seen)

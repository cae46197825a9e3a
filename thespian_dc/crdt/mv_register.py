"""A register that keeps all values that were assigned concurrently. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from thespian_dc.crdt.dots import Dot, Siblings, is_known, seen_of, unseen, wrong
from thespian_dc.crdt.operations import MvAssigned
from thespian_dc.model.vector import ZERO, VersionVector

T = TypeVar("T")


@dataclass(frozen=True)
class MvRegister(Generic[T]):
    """siblings: the values, at most one per replica."""

    siblings: Siblings[T] = field(default_factory=dict)
    vector: VersionVector = ZERO

    @property
    def values(self) -> tuple[T, ...]:
        """The values that nobody has replaced, in the order of their dots: the same everywhere."""
        return tuple(self.siblings[dot] for dot in sorted(self.siblings))

    def assign(self, value: T, replica: str) -> MvAssigned:
        """The operation that puts `value` in the place of all that is seen here."""
        return MvAssigned(value, replica, self.vector[replica] + 1, seen_of(self.siblings))

    def apply(self, operation: object) -> Self:
        """Repetition does not matter. WrongOperationError; RepeatedOperationError where two values
        were assigned from one."""
        if type(operation) is not MvAssigned:
            raise wrong(self, operation, MvAssigned)
        if is_known(self, operation, lambda dot: self._differs(dot, operation.value)):
            return self
        dot = operation.replica, operation.counter
        siblings = {**unseen(self.siblings, operation.seen), dot: operation.value}
        return type(self)(siblings, self.vector.advanced(*dot))

    def _differs(self, dot: Dot, value: T) -> bool:
        return dot in self.siblings and self.siblings[dot] != value

    # --- in an OR-map ---

    def __bool__(self) -> bool:
        return bool(self.siblings)

    def without(self, seen: Mapping[str, int]) -> Self:
        return type(self)(unseen(self.siblings, seen), self.vector)

    def within(self, vector: VersionVector) -> Self:
        return type(self)(self.siblings, vector)

    def has_dot(self, dot: Dot) -> bool:
        return dot in self.siblings

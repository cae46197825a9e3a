"""A counter that goes up and down. Pure.

Each replica has a share, which only it changes; the value is their sum. An operation carries the
share as it is afterwards, so a share can be taken away from a map's key by dot, like anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from thespian_dc.crdt.dots import Dot, repeated, wrong
from thespian_dc.crdt.operations import Counted
from thespian_dc.model.crdt_errors import NotWholeError
from thespian_dc.model.vector import ZERO, VersionVector


@dataclass(frozen=True, slots=True)
class PnCounter:
    """shares: (counter of its last operation, total), by replica."""

    shares: dict[str, tuple[int, int]] = field(default_factory=dict)
    vector: VersionVector = ZERO

    @property
    def value(self) -> int:
        """The sum; of any size, also below 0."""
        return sum(total for _, total in self.shares.values())

    def add(self, delta: int, replica: str) -> Counted:
        """The operation that adds `delta`, which may be negative. NotWholeError."""
        if not isinstance(delta, int):
            raise NotWholeError("delta", repr(delta), "count in the smallest unit")
        _, total = self.shares.get(replica, (0, 0))
        return Counted(delta, total + delta, replica, self.vector[replica] + 1)

    def apply(self, operation: object) -> Self:
        """Each operation once, those of one replica in order: a repeated one cannot be told from a
        second one prepared from the same value, so it is refused: RepeatedOperationError.
        WrongOperationError."""
        if type(operation) is not Counted:
            raise wrong(self, operation, Counted)
        replica, counter = operation.replica, operation.counter
        if counter <= self.vector[replica]:
            raise repeated(self, operation, (replica, counter))
        shares = {**self.shares, replica: (counter, operation.total)}
        return type(self)(shares, self.vector.advanced(replica, counter))

    # --- in an OR-map ---

    def __bool__(self) -> bool:
        return bool(self.shares)

    def without(self, seen: Mapping[str, int]) -> Self:
        """A replica's share goes if the last of it was seen; else all of the share stays."""
        shares = {r: share for r, share in self.shares.items() if share[0] > seen.get(r, 0)}
        return type(self)(shares, self.vector)

    def within(self, vector: VersionVector) -> Self:
        return type(self)(self.shares, vector)

    def has_dot(self, dot: Dot) -> bool:
        return self.shares.get(dot[0], (0, 0))[0] == dot[1]

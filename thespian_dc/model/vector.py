"""Version vectors: how much of each replica's doing something contains. Pure.

A slot counts what its replica did, 1, 2, 3, …; a missing slot is 0, and no slot is stored for it.
Laws (tests/unit/test_vector.py): any two vectors are exactly one of same, before, after,
concurrent; `merged` is the least vector that covers both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Order(Enum):
    """How one vector stands to another."""

    SAME = "same"
    BEFORE = "before"
    AFTER = "after"
    CONCURRENT = "concurrent"


_ORDER = {
    (True, True): Order.SAME,
    (False, True): Order.BEFORE,
    (True, False): Order.AFTER,
    (False, False): Order.CONCURRENT,
}


@dataclass(frozen=True, slots=True)
class VersionVector:
    """counts: by replica id. Given to the vector, and not to be changed any more."""

    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ValueError for a negative count; slots of 0 are left out, so that equal is same."""
        if self.counts and min(self.counts.values()) < 1:
            if min(self.counts.values()) < 0:
                raise ValueError(f"a version vector counts from 0: {self.counts}")
            object.__setattr__(self, "counts", {r: n for r, n in self.counts.items() if n})

    def __getitem__(self, replica: str) -> int:
        return self.counts.get(replica, 0)

    def covers(self, other: VersionVector) -> bool:
        """Does this contain all that `other` contains?"""
        return covers(self.counts, other.counts)

    def compare(self, other: VersionVector) -> Order:
        """This vector is … `other`: `compare(…) is Order.BEFORE` where `other` contains it."""
        return _ORDER[self.covers(other), other.covers(self)]

    def merged(self, other: VersionVector) -> VersionVector:
        """The least vector that covers both."""
        return VersionVector(merged(self.counts, other.counts))

    def advanced(self, replica: str, count: int) -> VersionVector:
        """This vector with at least `count` in one slot."""
        if count <= self[replica]:
            return self
        return VersionVector({**self.counts, replica: count})


ZERO = VersionVector()


def covers(counts: Mapping[str, int], others: Mapping[str, int]) -> bool:
    """The same for bare counts, as events carry them."""
    return all(counts.get(replica, 0) >= count for replica, count in others.items())


def merged(counts: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """The greater count of each slot."""
    both = dict(counts)
    for replica, count in others.items():
        if count > both.get(replica, 0):
            both[replica] = count
    return both

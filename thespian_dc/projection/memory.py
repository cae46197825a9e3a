"""What a projection remembers of entities once a filter was in force for it. Pure values.

The same values are rows of the consumer's database; every change of them is part of the transaction
that moves the position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from thespian_dc.model.criteria import Filter

STARTS_MAX = 64
"""Starts of filter versions kept per slice. What was in force before them is unknown: it may have
held anything back, so entities that old are looked up, never taken for complete."""


class Mark(NamedTuple):
    """How far an entity is handled. seq_nr: the highest one handled, 0 for none; nothing at or
    below it is handled again. offset: nothing of the entity is missing below it."""

    seq_nr: int
    offset: int


class Debt(NamedTuple):
    """What is owed to an entity: its events behind its mark have to be looked up and handled.

    through: the highest seq_nr that passed the stream meanwhile, 0 for none, and `offset` the one
    behind that event. below_offset: all there is below it is owed. from_seq_nr: nothing lower is
    wanted any more.
    """

    through: int = 0
    offset: int = 0
    below_offset: int = 0
    from_seq_nr: int = 0

    @property
    def limit(self) -> int:
        """Nothing at this offset or above is owed: the stream brings it, if it passes."""
        return max(self.offset, self.below_offset)


class Start(NamedTuple):
    """From this offset on the stream was evaluated under this version of the filter."""

    offset: int
    version: int


@dataclass(slots=True)
class SliceMemory:
    """Of one slice. baseline: where the projection began. began: from here on entities have marks;
    -1: no filter was ever in force. Between the two everything was handled."""

    baseline: int = 0
    began: int = -1
    starts: list[Start] = field(default_factory=list)

    def versions(self, from_offset: int, until_offset: int) -> Iterator[int | None]:
        """Versions in force at from_offset <= offset < until_offset; None: it is not known."""
        if from_offset >= until_offset:
            return
        starts = self.starts
        index = bisect_right(starts, from_offset, key=lambda start: start.offset) - 1
        if index < 0:
            yield None
        for offset, version in starts[max(index, 0) :]:
            if offset >= until_offset:
                return
            yield version

    def copy(self) -> SliceMemory:
        return SliceMemory(self.baseline, self.began, list(self.starts))


@dataclass(frozen=True, slots=True)
class StoredMemory:
    """All rows of the slices asked for; of marks only those of entities that are owed something.
    filters: of the versions in `slices`. skips: offsets of events that count as handled."""

    slices: Mapping[int, SliceMemory] = field(default_factory=dict)
    filters: Mapping[int, Filter] = field(default_factory=dict)
    debts: Mapping[str, tuple[int, Debt]] = field(default_factory=dict)
    marks: Mapping[str, Mark] = field(default_factory=dict)
    skips: Mapping[int, frozenset[int]] = field(default_factory=dict)


class Changes(NamedTuple):
    """What the open transaction must store: whole slices whose memory changed, filters of versions
    that began, marks and debts by entity id with their slice; a debt of None is paid."""

    slices: Mapping[int, SliceMemory]
    filters: Mapping[int, Filter]
    marks: Sequence[tuple[int, str, Mark]]
    debts: Sequence[tuple[int, str, Debt | None]]

    def __bool__(self) -> bool:
        return bool(self.slices or self.marks or self.debts)

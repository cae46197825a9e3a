"""What a replica stream leaves out for its receiver: its own events, and those that it reported to
have, by their place in the log of the replica that wrote them. Pure.

Laws:
- Left out is an event of (origin, generation, offset) only where the receiver reported, for this
  very generation of the origin's journal, a position above the offset. Nothing follows from the
  position of another generation: what a restored replica wrote before its loss it may have learnt
  again at any later place of its log.
- Of its own events a receiver gets none of the present life of its journal. For those of lives
  before it was restored the same rule holds as for others' events: it may have lost them, and they
  may come to whom it reads at any time.
- Notes that a replica makes for itself are never sent; states always are.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from typing import Any

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.ids import slice_of
from thespian_dc.model.record import CONTROL, STATE, Commit
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
    OFFSET_BITS,
    ORIGIN_META,
)
from thespian_dc.model.replication_handshake import OriginPositions, ReplicaStart
from thespian_dc.projection.api import CommitView, Facts, FactsCache, Selector
from thespian_dc.stream.transform import View

_KIND, _MANIFEST, _META = 0, 3, 8
_OFFSET_MASK = (1 << OFFSET_BITS) - 1
Life = tuple[str, int]
"""A replica, and the generation of its journal."""


class Group:
    """A commit's events of one origin and generation. `indexes` of its records, ascending, and the
    `offsets` of these in the origin's log."""

    __slots__ = ("greatest", "indexes", "least", "offsets")

    def __init__(self) -> None:
        self.indexes: list[int] = []
        self.offsets: list[int] = []
        self.least = self.greatest = 0

    def close(self) -> None:
        self.least, self.greatest = min(self.offsets), max(self.offsets)


class ReplicaFacts(Facts):
    """Of one commit of a replica's log. written_here: its events without a foreign origin; others:
    by origin; notes: indexes of what is never sent."""

    __slots__ = ("notes", "others", "written_here")

    def look_at(self, records: Sequence[Any]) -> None:
        """See Facts."""
        self.notes: list[int] = []
        self.others: dict[Life, Group] = {}
        self.written_here = Group()
        for index, record in enumerate(records):
            if record[_KIND] == STATE:
                continue
            if record[_KIND] == CONTROL and record[_MANIFEST] == FORKED_MANIFEST:
                self.notes.append(index)
                continue
            with suppress(IndexError, TypeError):  # damaged: sent, its reader names it
                self._place(index, record[_META])
        for group in (self.written_here, *self.others.values()):
            if group.indexes:
                group.close()

    def _place(self, index: int, meta: Any) -> None:
        fields = meta.get(ORIGIN_META) if meta else None
        if not fields or type(fields[0]) is not str:
            view, group = self.view, self.written_here
            offset = view.first_offset + (view.kept[index] if view.kept else index)
        else:
            origin, origin_offset = fields[0], fields[3]
            life = (origin, origin_offset >> OFFSET_BITS)
            found = self.others.get(life)
            if found is None:
                found = self.others[life] = Group()
            group, offset = found, origin_offset & _OFFSET_MASK
        group.indexes.append(index)
        group.offsets.append(offset)


class LeavingOut:
    """For one call. own: of the replica whose stream it is; slices: of its entity type."""

    def __init__(self, start: ReplicaStart, own: Life, slices: int) -> None:
        self._receiver = start.replica_id, start.generation
        self._own, self._slices = own, slices
        self._known: dict[Life, tuple[int, ...]] = {}
        self.know(start.known)

    def know(self, positions: Iterable[OriginPositions]) -> None:
        """The receiver has these by now. What it once had it has for ever."""
        for one in positions:
            life = (one.replica, one.generation)
            before = self._known.get(life, ())
            same = len(before) == len(one.offsets)
            self._known[life] = tuple(map(max, before, one.offsets)) if same else one.offsets

    def known_of(self, life: Life) -> tuple[int, ...]:
        """The receiver's positions in this log, () where it reported none."""
        return self._known.get(life, ())

    def left_out(self, slice_: int, facts: ReplicaFacts) -> list[int]:
        """Indexes of the commit's records that are not sent, in no order. slice_: of the commit."""
        out = list(facts.notes)
        if facts.written_here.indexes:
            out += self._of_group(slice_, self._own, facts.written_here, facts.ids)
        for life, group in facts.others.items():
            out += self._of_group(slice_, life, group, facts.ids)
        return out

    def _of_group(self, slice_: int, life: Life, group: Group, ids: Sequence[str]) -> list[int]:
        receiver, generation = self._receiver
        if life[0] == receiver and life[1] >= generation:
            return group.indexes
        known = self._known.get(life)
        if known is None:
            return []
        pairs = zip(group.indexes, group.offsets, strict=True)
        slices = len(known)
        if slices != self._slices:  # the origin has other slices than we
            return [index for index, at in pairs if at < known[slice_of(ids[index], slices)]]
        below = known[slice_]
        if group.greatest < below:
            return group.indexes
        return [] if group.least >= below else [index for index, at in pairs if at < below]


def without_own(view: View, start: ReplicaStart, own: Life, slices: int) -> View:
    """How a replica sees what it looks up: whatever it reported, but none of its own events of the
    present life of its journal."""
    leaving_out = LeavingOut(start._replace(known=()), own, slices)

    def shown(commit: Commit, wanted: Container[int] | None = None) -> CommitView:
        facts = ReplicaFacts(view(commit, wanted))
        out = set(leaving_out.left_out(commit.key.slice, facts))
        return facts.cut([index for index in range(len(facts.ids)) if index not in out])

    return shown


class ReplicaSelector(Selector):
    """A receiver's filter and what is left out for it, together."""

    def __init__(
        self,
        wanted: VersionedFilter,
        facts: FactsCache[ReplicaFacts],
        topic_prefix: str,
        leaving_out: LeavingOut,
    ) -> None:
        super().__init__(wanted, facts, topic_prefix)
        self._replica_facts, self._leaving_out = facts, leaving_out

    def select(self, slice_: int, view: CommitView) -> CommitView:
        """See Selector."""
        if not view.body:
            return view
        facts = self._replica_facts.of(slice_, view)
        out = self._leaving_out.left_out(slice_, facts)
        if len(out) == len(facts.ids):
            return facts.cut(())
        evaluator = self._evaluator
        if evaluator.lets_all_pass:
            if not out:
                return view
            passing: Sequence[int] = range(len(facts.ids))
        else:
            passing = evaluator.passing(facts.ids, facts.tags)
        gone = set(out)
        return facts.cut([index for index in passing if index not in gone])

"""What a destination writes of what is pushed to it: events of its own entities, each once. Pure.

in: batches of pushed events, what the log holds of an entity, what became of submissions
out: submissions for the slices' writers, batches all of which is in the log

Laws:
- An entity's seq_nr at the destination is contiguous from 1, whatever was filtered or left out.
- Each record says where it came from. An event is stored once: one whose seq_nr at its source is
  not above the last one that the entity's own records name of that source is a duplicate.
- What is known of an entity is read from its log, and of records that were deleted from the row
  that stands for them, while nothing of it is queued or in flight; it is forgotten when its slice
  is lost, or the memory is full and nothing of it is under way.
- A batch is done when all of it, and all batches before it of the same source slice, are in the
  log, whoever brought it there. Only then may its position be stored.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from thespian_dc.model.ids import slice_of
from thespian_dc.model.position import Position
from thespian_dc.model.push_errors import TooManySourcesError
from thespian_dc.model.record import EVENT, Record, pack_record
from thespian_dc.model.state_body import SourceOf
from thespian_dc.slices.actions import Submission

ORIGIN, STREAM, JOURNAL = "origin", "origin_stream", "origin_journal"
ENTITY_ID, SEQ_NR = "origin_entity_id", "origin_seq_nr"
SLICE, OFFSET, TIME_US = "origin_slice", "origin_offset", "origin_time_us"
SNAPSHOT = "origin_snapshot"  # it was made of the entity's state there, and stands for all before
"""Keys in a record's meta: where its event came from."""

KNOWN_MAX = 100_000
"""Sources of entities that are remembered, over all slices."""
SOURCES_MAX = 10_000
"""Source entities whose events one entity may take; more is TooManySourcesError."""


class Baseline(NamedTuple):
    """What an entity's records up to seq_nr say, which may be deleted: the last seq_nr of each
    source."""

    seq_nr: int = 0
    sources: Mapping[SourceOf, int] = {}


NO_BASELINE = Baseline()


class Pushed(NamedTuple):
    """An event as it is to be stored: under which entity id, and where it came from. seq_nr: at its
    source. meta: with the keys above."""

    entity_id: str
    manifest: str
    payload: bytes
    tags: Sequence[str]
    meta: dict[str, Any]
    source: SourceOf
    seq_nr: int


@dataclass(slots=True, eq=False)
class Taken:
    """A batch under way. lane: of its call and source slice. ends: the position behind it.
    token: the taker's, untouched. left: its submissions that are not in the log yet."""

    lane: deque[Taken]
    slice: int
    ends: Position
    token: Any
    left: int = 0


@dataclass(slots=True)
class _Entity:
    """What the log, and what is on its way there, say of an entity."""

    seq_nr: int = 0
    sources: dict[SourceOf, int] = field(default_factory=dict)
    pending: int = 0  # submissions queued or in flight
    last: list[Taken] = field(default_factory=list)  # who waits for the last of them

    @property
    def weight(self) -> int:
        return 1 + len(self.sources)


class PushCore:
    """One entity type of a destination. slices: its count. bytes_max: of one submission, unless one
    event is larger."""

    def __init__(self, slices: int, bytes_max: int, known_max: int = KNOWN_MAX) -> None:
        self._slices, self._bytes_max, self._known_max = slices, bytes_max, known_max
        self._entities: OrderedDict[str, _Entity] = OrderedDict()  # the last used at the end
        self._weight = 0

    # --- what is known ---

    def missing(self, pushed: Iterable[Pushed]) -> list[str]:
        """Entities whose log is to be read before this is taken, each once."""
        wanted = dict.fromkeys(one.entity_id for one in pushed)
        return [entity_id for entity_id in wanted if entity_id not in self._entities]

    def on_recovered(
        self, entity_id: str, records: Iterable[Record], below: Baseline = NO_BASELINE
    ) -> None:
        """All records of the entity's log that are not in `below`, in order.
        TooManySourcesError."""
        known = after(below, records)
        if len(known.sources) > SOURCES_MAX:
            raise TooManySourcesError(entity_id, SOURCES_MAX)
        entity = _Entity(known.seq_nr, dict(known.sources))
        self._entities[entity_id] = entity
        self._weight += entity.weight

    @property
    def known(self) -> int:
        """Entities in memory."""
        return len(self._entities)

    def slice_of(self, entity_id: str) -> int:
        """The slice at the destination."""
        return slice_of(entity_id, self._slices)

    # --- what comes ---

    def take(self, batch: Taken, pushed: Iterable[Pushed]) -> list[tuple[int, Submission]]:
        """(slice, submission) of what is new, in order per entity. Nothing of `missing` may be
        left. All of the batch is counted, also where nothing of it is new: ask `done` then.

        TooManySourcesError: nothing was taken.
        """
        pushed = list(pushed)
        self._check(pushed)
        packed: dict[str, list[bytes]] = {}
        lasts: dict[str, dict[SourceOf, int]] = {}
        known: set[str] = set()
        for one in pushed:  # counted only when all of it is packed: that may raise
            entity, last = self._entities[one.entity_id], lasts.setdefault(one.entity_id, {})
            if one.seq_nr <= last.get(one.source, entity.sources.get(one.source, 0)):
                known.add(one.entity_id)
                continue
            last[one.source] = one.seq_nr
            records = packed.setdefault(one.entity_id, [])
            record = Record(EVENT, one.entity_id, entity.seq_nr + len(records) + 1, one.manifest,
                            one.payload, one.tags, meta=one.meta)  # fmt: skip
            records.append(pack_record(record))
        for entity_id, records in packed.items():
            self._count(self._entities[entity_id], len(records), lasts[entity_id])
        batch.lane.append(batch)
        # What comes again and is not in the log yet, since another call brought it just before.
        for entity_id in known - packed.keys():
            entity = self._entities[entity_id]
            if entity.pending:
                entity.last.append(batch)
                batch.left += 1
        submissions = [
            (self.slice_of(entity_id), self._submission(entity_id, part, batch))
            for entity_id, records in packed.items()
            for part in self._parts(records)
        ]
        self._forget_oldest()
        return submissions

    def _count(self, entity: _Entity, records: int, lasts: Mapping[SourceOf, int]) -> None:
        self._weight -= entity.weight
        entity.seq_nr += records
        entity.sources.update(lasts)
        self._weight += entity.weight

    def _submission(self, entity_id: str, part: Sequence[bytes], batch: Taken) -> Submission:
        entity = self._entities[entity_id]
        self._entities.move_to_end(entity_id)
        entity.last = [batch]
        entity.pending += 1
        batch.left += 1
        return Submission(entity_id, tuple(part), sum(map(len, part)), entity.last)

    def _check(self, pushed: Sequence[Pushed]) -> None:
        """No entity gets more sources than one may have; said before anything is counted."""
        fresh: dict[str, set[SourceOf]] = {}
        for one in pushed:
            known = self._entities[one.entity_id].sources
            if one.source not in known:
                added = fresh.setdefault(one.entity_id, set())
                added.add(one.source)
                if len(known) + len(added) > SOURCES_MAX:
                    raise TooManySourcesError(one.entity_id, SOURCES_MAX)

    def _parts(self, records: Sequence[bytes]) -> Iterable[list[bytes]]:
        part: list[bytes] = []
        size = 0
        for one in records:
            if part and size + len(one) > self._bytes_max:
                yield part
                part, size = [], 0
            part.append(one)
            size += len(one)
        yield part

    def _forget_oldest(self) -> None:
        if self._weight <= self._known_max:
            return
        room = self._known_max - self._known_max // 8  # looking at all of them has its price
        for entity_id, entity in list(self._entities.items()):
            if self._weight <= room:
                return
            if not entity.pending:
                self._forget(entity_id)

    # --- what became of it ---

    def on_durable(self, submissions: Iterable[Submission]) -> list[Taken]:
        """They are in the log; returns the batches that are done by it, in order per lane."""
        lanes: dict[int, deque[Taken]] = {}
        for one in submissions:
            self._entities[one.entity_id].pending -= 1
            batches: list[Taken] = one.ticket
            for batch in batches:
                batch.left -= 1
                if not batch.left:
                    lanes[id(batch.lane)] = batch.lane
        return [batch for lane in lanes.values() for batch in done(lane)]

    def on_lost(self, slice_: int) -> None:
        """The slice is not ours any more: nothing that is known of its entities counts. The calls
        with batches under way there must end: they are never done."""
        for entity_id in [one for one in self._entities if self.slice_of(one) == slice_]:
            self._forget(entity_id)

    def on_not_written(self, submission: Submission, behind: Sequence[Submission]) -> list[Taken]:
        """Never in the log; returns the batches that are never done: their calls must end."""
        for one in (submission, *behind):
            self._entities[one.entity_id].pending -= 1
        if not self._entities[submission.entity_id].pending:
            self._forget(submission.entity_id)
        return [batch for one in (submission, *behind) for batch in one.ticket]

    def _forget(self, entity_id: str) -> None:
        self._weight -= self._entities.pop(entity_id).weight


def done(lane: deque[Taken]) -> list[Taken]:
    """Take the finished batches from the front of a lane."""
    found = []
    while lane and not lane[0].left:
        found.append(lane.popleft())
    return found


def source_of(meta: Mapping[str, Any] | None) -> SourceOf | None:
    """Whose event a stored record holds; None where it was not pushed."""
    if not meta or ORIGIN not in meta or SEQ_NR not in meta:
        return None
    return meta[ORIGIN], meta[STREAM], meta[ENTITY_ID]


def after(below: Baseline, records: Iterable[Record]) -> Baseline:
    """With what these records say, the next ones of the entity."""
    seq_nr, sources = below.seq_nr, dict(below.sources)
    for record in records:
        seq_nr = record.seq_nr
        source = source_of(record.meta)
        if source is not None:
            sources[source] = record.meta[SEQ_NR]  # type: ignore[index]
    return Baseline(seq_nr, sources)


def recovered(
    read: Callable[[int, int], Sequence[Record]], first: int = 1, page: int = 500
) -> Iterable[Record]:  # fmt: skip
    """An entity's records from seq_nr `first` on, in pages. read(from_seq_nr, until_seq_nr)."""
    while records := read(first, first + page):
        yield from records
        first += len(records)

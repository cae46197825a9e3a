"""Parked entities: events stored for later, and which entities wait because of them. Pure.

Laws:
- An entity is parked from its first stored event until its last one is gone. Meanwhile every event
  of it that arrives is stored behind them, so nothing of it is handled out of order.
- What is parked in a transaction that is rolled back was never parked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgpack

from thespian_dc.projection.api import CommitView, SourceBatch

_ONE_RECORD = b"\xdd\x00\x00\x00\x01"
RETRY, SKIP = "retry", "skip"
"""What may be wished of a parked entity: hand its events over again, in order; leave out the first
one, then the same with the others."""

TRYING = "!"
"""Behind what is wished, from before an event is handed over until the outcome is stored."""
LOST = b""
"""The record of what stands for events that were trimmed before they could be looked up: those of
the entity from seq_nr on that are below `offset`."""
PAGE = 100
"""Parked events that are read at once."""


class ParkedEvent(NamedTuple):
    """One stored event. record: as in a commit's body, or LOST. time_us: of its commit.

    cause: the error of its last try, "" for one that only waits behind another. attempts: how often
    it was handed over. parked_us: when it was stored, microseconds since 1970 UTC.
    """

    slice: int
    offset: int
    entity_id: str
    seq_nr: int
    time_us: int
    record: bytes
    cause: str
    attempts: int
    parked_us: int


class ParkedEntity(NamedTuple):
    """An entity that waits: its first event, with the cause, and how many wait behind it."""

    entity_id: str
    slice: int
    seq_nr: int
    cause: str
    attempts: int
    parked_us: int
    events: int
    size_bytes: int
    wished: str = ""
    """"retry" or "skip", where that is wished and not done yet."""


class ParkedWish(NamedTuple):
    """ "retry" or "skip" of a parked entity whose first event is seq_nr."""

    entity_id: str
    slice: int
    seq_nr: int
    what: str


class ParkedMost(NamedTuple):
    """How much may be parked of one projection."""

    events: int
    size_bytes: int


class ParkedStore(Protocol):
    """Parked events in the consumer's database. park, tried, remove, forget and change_wish happen
    in the open transaction, all else by itself."""

    def held(self, projection: str, slices: Sequence[int]) -> dict[str, int]:
        """How many events of each parked entity of these slices are stored."""

    def total(self, projection: str) -> ParkedMost:
        """How much is parked of the projection, in all slices."""

    def park(self, projection: str, event: ParkedEvent, most: ParkedMost) -> None:
        """Store it, in the order of its entity's seq_nr; one that is there stays as it is.

        ParkedFullError beyond `most`: nothing of the transaction may be kept then.
        """

    def tried(self, projection: str, event: ParkedEvent) -> None:
        """Store its cause and attempts anew."""

    def remove(self, projection: str, event: ParkedEvent) -> None:
        """Forget it: it was handled, or is left out."""

    def forget(self, projection: str, slice_: int) -> None:
        """All of the slice, in the open transaction: its position is set anew."""

    def entities(self, projection: str, after: str = "", limit: int = 100) -> list[ParkedEntity]:
        """Parked entities in the order of their ids, those after `after`."""

    def events(
        self, projection: str, entity_id: str, after_seq_nr: int = 0, limit: int = 100
    ) -> list[ParkedEvent]:
        """Of one entity, in order."""

    def wish(self, projection: str, what: str, entity_id: str, seq_nr: int | None = None) -> None:
        """From any process: RETRY or SKIP, in the place of an earlier wish for the entity.

        seq_nr: of its first event, None for whichever that is. UnknownParkedError where it is not.
        """

    def wishes(self, projection: str, slices: Sequence[int]) -> list[ParkedWish]:
        """What is wished for entities of these slices, not yet fulfilled."""

    def change_wish(self, projection: str, wish: ParkedWish, following: ParkedWish | None) -> None:
        """Put another wish for the entity in its place, or none; nothing where `wish` is not what
        stands there any more. In the open transaction."""


class Parking:
    """The parked entities of one run's slices; `entities` is read for each event."""

    def __init__(self) -> None:
        self.entities: dict[str, int] = {}
        """How many events of each are stored; bounded by Recovery.parked_events_max."""
        self._before: dict[str, int] = {}  # of entities that the open transaction changed

    def load(self, held: Mapping[str, int]) -> None:
        """Of slices that are now this run's."""
        self.entities.update(held)

    def add(self, entity_id: str, count: int = 1) -> None:
        """One more of the entity is stored (count -1: one is gone)."""
        now = self.entities.get(entity_id, 0)
        self._before.setdefault(entity_id, now)
        self._set(entity_id, now + count)

    def committed(self) -> None:
        self._before.clear()

    def rolled_back(self) -> None:
        for entity_id, count in self._before.items():
            self._set(entity_id, count)
        self._before.clear()

    def _set(self, entity_id: str, count: int) -> None:
        if count:
            self.entities[entity_id] = count
        else:
            self.entities.pop(entity_id, None)


def record_of(fields: Sequence[object]) -> bytes:
    """A record's bytes from its fields, as a commit's body holds them."""
    packed: bytes = msgpack.packb(list(fields))
    return packed


def batch_of(event: ParkedEvent) -> SourceBatch:
    """The stored event as its source would yield it alone."""
    end = event.offset + 1
    commit = CommitView(event.offset, end, b"", event.time_us, _ONE_RECORD + event.record)
    return SourceBatch(event.slice, event.offset, end, end, [commit])

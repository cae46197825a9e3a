"""Parked events and marks of tries in Cassandra: rows of the slice's partition, written with its
position. What is wished of a parked entity is a cell, written by any process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgpack

from thespian_dc.model.handler_errors import ParkedFullError, UnknownParkedError
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.attempts import Attempt
from thespian_dc.projection.cassandra.cells import Cells
from thespian_dc.projection.cassandra.database import CassandraDatabase
from thespian_dc.projection.parking import (
    PAGE,
    TRYING,
    ParkedEntity,
    ParkedEvent,
    ParkedMost,
    ParkedWish,
)

PARKED, TOTAL, ATTEMPT = "parked", "parked_total", "attempt"
_WISH = "parked/"
_LAST = "\x01"  # above the separator of a key's parts


def _key(entity_id: str, seq_nr: int) -> str:
    """In the order of an entity's events."""
    return f"{entity_id}\x00{seq_nr:020d}"


class CassandraParked:
    """Implements projection.parking.ParkedStore."""

    def __init__(self, database: CassandraDatabase) -> None:
        self._database, self._cells = database, Cells(database)
        self._totals: dict[tuple[str, int], ParkedMost] = {}  # of the slices of this run

    # --- a run ---

    def held(self, projection: str, slices: Sequence[int]) -> dict[str, int]:
        """See ParkedStore."""
        found: dict[str, int] = {}
        for slice_ in slices:
            self._totals[projection, slice_] = self._total_of(projection, slice_)
            for (key,) in self._database.rows("keys", projection, slice_, PARKED):
                entity_id = key.split("\x00")[0]
                found[entity_id] = found.get(entity_id, 0) + 1
        return found

    def total(self, projection: str) -> ParkedMost:
        """See ParkedStore: what others park in this moment is not seen."""
        slices = [row[0] for row in self._database.rows("names", projection)]
        totals = [self._total_of(projection, slice_) for slice_ in slices]
        return ParkedMost(sum(t.events for t in totals), sum(t.size_bytes for t in totals))

    def park(self, projection: str, event: ParkedEvent, most: ParkedMost) -> None:
        """See ParkedStore."""
        key = _key(event.entity_id, event.seq_nr)
        if self._database.rows("row", projection, event.slice, PARKED, key):
            return
        total = self._count(projection, event, 1)
        for what, found, limit in zip(("events", "bytes"), total, most, strict=True):
            if found > limit:
                where = (event.entity_id, event.seq_nr)
                raise ParkedFullError(projection, what, limit, *where)
        self._database.stage((projection, event.slice), PARKED, key, list(event))

    def tried(self, projection: str, event: ParkedEvent) -> None:
        """See ParkedStore."""
        key = _key(event.entity_id, event.seq_nr)
        self._database.stage((projection, event.slice), PARKED, key, list(event))

    def remove(self, projection: str, event: ParkedEvent) -> None:
        """See ParkedStore."""
        key = _key(event.entity_id, event.seq_nr)
        self._database.stage((projection, event.slice), PARKED, key, None, delete=True)
        self._count(projection, event, -1)

    def forget(self, projection: str, slice_: int) -> None:
        """See ParkedStore."""
        place = projection, slice_
        self._database.stage_drop(place, PARKED)
        self._database.stage(place, TOTAL, "", [0, 0])

    def _count(self, projection: str, event: ParkedEvent, sign: int) -> ParkedMost:
        """Of the slice, as of the open transaction."""
        place = projection, event.slice
        before = self._database.staged(place, TOTAL, "") or self._total_of(*place)
        size = sign * len(event.record)
        total = ParkedMost(before[0] + sign, before[1] + size)
        self._database.stage(place, TOTAL, "", list(total))
        return total

    def _total_of(self, projection: str, slice_: int) -> ParkedMost:
        rows = self._database.rows("row", projection, slice_, TOTAL, "")
        return ParkedMost(*msgpack.unpackb(rows[0][0])) if rows else ParkedMost(0, 0)

    # --- any process ---

    def entities(self, projection: str, after: str = "", limit: int = 100) -> list[ParkedEntity]:
        """See ParkedStore."""
        wished = {one.entity_id: one.what.rstrip(TRYING) for one in self.wishes(projection, None)}
        found = (
            self._entity(projection, slice_, entity_id, wished)
            for entity_id, slice_ in sorted(self._places(projection))
            if entity_id > after
        )
        return list(islice((one for one in found if one is not None), limit))

    def _entity(
        self, projection: str, slice_: int, entity_id: str, wished: Mapping[str, str]
    ) -> ParkedEntity | None:
        events = list(self._of_entity(projection, slice_, entity_id, 0))
        if not events:
            return None  # freed since its name was read
        size = sum(len(event.record) for event in events)
        first = events[0]
        return ParkedEntity(
            entity_id, slice_, first.seq_nr, first.cause, first.attempts, first.parked_us,
            len(events), size, wished.get(entity_id, ""),
        )  # fmt: skip

    def _places(self, projection: str) -> set[tuple[str, int]]:
        """Of each parked entity, its slice."""
        found = set()
        for (slice_,) in self._database.rows("names", projection):
            for (key,) in self._database.rows("keys", projection, slice_, PARKED):
                found.add((key.split("\x00")[0], slice_))
        return found

    def events(
        self, projection: str, entity_id: str, after_seq_nr: int = 0, limit: int = 100
    ) -> list[ParkedEvent]:
        """See ParkedStore."""
        for one, slice_ in self._places(projection):
            if one == entity_id:
                found = self._of_entity(projection, slice_, entity_id, after_seq_nr)
                return [event for event, _ in zip(found, range(limit), strict=False)]
        return []

    def _of_entity(
        self, projection: str, slice_: int, entity_id: str, after_seq_nr: int
    ) -> Iterator[ParkedEvent]:
        at = _key(entity_id, after_seq_nr)
        while True:
            rows = self._database.rows("rows_from", projection, slice_, PARKED, at, PAGE)
            for at, value in rows:
                if not at.startswith(f"{entity_id}\x00"):
                    return
                yield ParkedEvent(*msgpack.unpackb(value))
            if len(rows) < PAGE:
                return

    # --- wishes ---

    def wish(self, projection: str, what: str, entity_id: str, seq_nr: int | None = None) -> None:
        """See ParkedStore."""
        first = next(iter(self.events(projection, entity_id, limit=1)), None)
        if first is None or seq_nr not in (None, first.seq_nr):
            found = f"its first one is {first.seq_nr}" if first else "nothing of it is parked"
            raise UnknownParkedError(projection, entity_id, seq_nr or 0, found)
        self._cells.put(projection, _WISH + entity_id, [first.slice, first.seq_nr, what])

    def wishes(self, projection: str, slices: Sequence[int] | None) -> list[ParkedWish]:
        """See ParkedStore; None: of all slices."""
        found = []
        for name, (slice_, seq_nr, what) in self._cells.all(projection, _WISH):
            if slices is None or slice_ in slices:
                found.append(ParkedWish(name.removeprefix(_WISH), slice_, seq_nr, what))
        return found

    def change_wish(self, projection: str, wish: ParkedWish, following: ParkedWish | None) -> None:
        """See ParkedStore; when the transaction is durable. Where that fails the wish finds another
        state of its entity and is dropped."""
        self._database.confirm((projection, wish.slice))
        known = [wish.slice, wish.seq_nr, wish.what]
        put = following and [following.slice, following.seq_nr, following.what]
        name = _WISH + wish.entity_id
        self._database.after(lambda: self._cells.replace(projection, name, known, put))


class CassandraAttempts:
    """Implements projection.attempts.AttemptStore. value: [epoch of the run, 0 after its end;
    offset; until; tries; the same three of what was looked up]."""

    def __init__(self, database: CassandraDatabase) -> None:
        self._database = database
        self._noted: dict[tuple[str, int], list[int]] = {}  # of the slices of this run

    def began(self, projection: str, epochs: Mapping[int, int]) -> Mapping[int, Attempt]:
        """See AttemptStore."""
        found = {}
        for slice_, epoch in epochs.items():
            stored = self._read(projection, slice_)
            noted = [*(stored or [0])[1:], *[0] * 6][:6]
            if stored is not None:
                offset, until, tries, *owed = noted
                found[slice_] = Attempt(bool(stored[0]), offset, until, tries, (*owed,))
            self._noted[projection, slice_] = noted
            self._write(projection, slice_, epoch, [epoch, *noted])
        return found

    def trying(
        self, projection: str, slice_: int, offset: int, until: int, tries: int, *, owed: bool
    ) -> None:
        """See AttemptStore."""
        epoch = self._database.held[projection, slice_].epoch
        noted = self._noted[projection, slice_]
        noted[3 * owed : 3 * owed + 3] = offset, until, tries
        self._write(projection, slice_, epoch, [epoch, *noted])

    def ended(self, projection: str, epochs: Mapping[int, int], *, forget: bool) -> None:
        """See AttemptStore."""
        for slice_, epoch in epochs.items():
            stored = self._read(projection, slice_)
            if stored is not None and stored[0] == epoch:
                left = [0, *stored[1:3], 0] if forget else [0, *stored[1:]]
                self._write(projection, slice_, epoch, left, lost=True)

    def _read(self, projection: str, slice_: int) -> Any:
        rows = self._database.rows("row", projection, slice_, ATTEMPT, "")
        return msgpack.unpackb(rows[0][0]) if rows else None

    def _write(
        self, projection: str, slice_: int, epoch: int, value: Any, lost: bool = False
    ) -> None:
        """lost: the slice may be another run's by now; then nothing is written."""
        place = (projection, slice_, ATTEMPT, "", epoch)
        if not self._database.settle("put_own", msgpack.packb(value), *place) and not lost:
            raise PositionStoreError(self._database.url, f"slice {slice_} is another run's")

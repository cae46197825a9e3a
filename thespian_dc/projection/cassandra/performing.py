"""What a wish does to the slices' partitions: position, memory and outcome in one conditional
batch.

Laws:
- A wish about one slice has its outcome in that slice's partition, written with what it does, under
  a higher epoch and only from the (epoch, position) by which it was decided. So it is decided once,
  whoever performs it, how often, and whatever became of an earlier send.
- The position is read before the outcome: what was done in between is either seen, or refuses the
  batch.
- A rebuild is done again from its beginning by whoever finds it half done: the handler deletes
  again too.
"""

from __future__ import annotations

import os
from typing import Any

import msgpack

from thespian_dc.model.position import Position
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.api import StoredPosition
from thespian_dc.projection.cassandra.cells import TRIES_MAX
from thespian_dc.projection.cassandra.database import CassandraDatabase
from thespian_dc.projection.cassandra.marks import CassandraMarks
from thespian_dc.projection.cassandra.parked import CassandraParked
from thespian_dc.projection.cassandra.positions import CassandraPositions
from thespian_dc.projection.cassandra.transaction import SINK
from thespian_dc.projection.control import DONE, REFUSED, SKIP, Refusal, Wish, decide

WISHED = "wished"
"""Kind of the row with the slice's last outcome: [nr, state, said]."""
Outcome = tuple[str, str]


class Performing:
    """Over a connection with no open transaction."""

    def __init__(self, database: CassandraDatabase) -> None:
        self._database = database
        self._marks, self._parked = CassandraMarks(database), CassandraParked(database)

    def at_slice(self, projection: str, wish: Wish) -> Outcome:
        """Do a wish about one slice, unless that was done: how it ended, and what it said."""
        place = projection, wish.slice
        for _ in range(TRIES_MAX):
            row, known = self._database.standing(place), self._outcome(place)
            if known is not None and known[0] == wish.nr:
                return known[1], known[2]
            rows = {} if row is None else {wish.slice: _position(row)}
            owing = {wish.slice} if self._marks.owes(*place) else set[int]()
            decided = decide(wish, rows, owing)
            refused = decided.reason if isinstance(decided, Refusal) else ""
            outcome = (REFUSED if refused else DONE), refused
            if row is None:
                return outcome
            position = rows[wish.slice].position
            self._database.begin()
            self._database.stage(place, WISHED, "", [wish.nr, *outcome])
            if wish.kind == SKIP and not refused:
                self._marks.skip(*place, wish.offset)
            if not isinstance(decided, Refusal):
                for _, position in decided:
                    if wish.kind != SKIP:
                        self._forget(place, position.offset)
            if self._put(place, row, position, os.urandom(16)):
                return outcome
        raise self._busy(wish.slice)

    def rebuild(self, projection: str, wish: Wish) -> None:
        """All slices to their beginning, with nothing of before in them."""
        decided = decide(wish, CassandraPositions(self._database).load(projection).slices)
        assert not isinstance(decided, Refusal), "what is there can always be rebuilt"
        for slice_, position in decided:
            self._reset((projection, slice_), position)

    def _reset(self, place: tuple[str, int], position: Position) -> None:
        token = os.urandom(16)
        for _ in range(TRIES_MAX):
            row = self._database.standing(place)
            if row is None or row[4] == token:  # an earlier send took effect
                return
            self._database.begin()
            self._forget(place, position.offset)
            self._database.stage_drop(place, SINK)
            if self._put(place, row, position, token):
                return
        raise self._busy(place[1])

    def _forget(self, place: tuple[str, int], baseline: int) -> None:
        self._marks.forget(*place, baseline)
        self._parked.forget(*place)

    def _put(self, place: tuple[str, int], row: Any, position: Position, token: bytes) -> bool:
        """With what is staged. False: somebody was faster, or nobody knows; then look again, and
        decide again."""
        database = self._database
        condition = database.bind("perform", row[0] + 1, *position, token, *place, *row[:2])
        try:
            return database.commit_with(place, condition)
        except PositionStoreError:
            return False

    def _outcome(self, place: tuple[str, int]) -> Any:
        rows = self._database.deciding("row", *place, WISHED, "")
        return msgpack.unpackb(rows[0][0]) if rows else None

    def _busy(self, slice_: int) -> PositionStoreError:
        return PositionStoreError(
            self._database.url, f"slice {slice_} moves all the time, or does not say where it is"
        )


def _position(row: Any) -> StoredPosition:
    return StoredPosition(row[0], Position(row[1], row[2]))

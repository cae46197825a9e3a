"""Positions of projections in Cassandra: static columns of each slice's partition.

An epoch is mine only if the answer to its claim says so, or my token stands there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from thespian_dc.model.errors import JournalDivergedError, PositionConflictError
from thespian_dc.model.position import Position
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.api import StoredPosition, StoredPositions
from thespian_dc.projection.cassandra.database import CassandraDatabase, Held
from thespian_dc.projection.cassandra.marks import CassandraMarks
from thespian_dc.projection.core import Move

CLAIMS_MAX = 10


class CassandraPositions:
    """Implements projection.api.PositionStore."""

    def __init__(self, database: CassandraDatabase) -> None:
        self._database = database

    def load(self, projection: str) -> StoredPositions:
        """Every row of the projection."""
        rows = self._rows(projection, deciding=True)
        journal_ids = {row[3] for row in rows.values()}
        return StoredPositions(
            journal_ids.pop() if journal_ids else "",
            {s: StoredPosition(row[0], Position(row[1], row[2])) for s, row in rows.items()},
        )

    def offsets(self, projection: str) -> dict[int, int]:
        """The position of each slice, as acknowledged: disturbs nobody who moves them."""
        return {s: row[1] for s, row in self._rows(projection, deciding=False).items()}

    def _rows(self, projection: str, *, deciding: bool) -> dict[int, Any]:
        database = self._database
        slices = sorted(row[0] for row in database.rows("names", projection))
        statements = [database.bind("slice", projection, slice_) for slice_ in slices]
        with database.named():
            answers = database.access.all(statements, deciding=deciding)
        found = {s: rows[0] for s, rows in zip(slices, answers, strict=True) if rows}
        return {s: row for s, row in found.items() if row[0] is not None}

    def claim(self, projection: str, slices: Sequence[int], journal_id: str) -> StoredPositions:
        """See PositionStore: slice by slice."""
        with self._database.named():
            self._database.access.all(
                [self._database.bind("name", projection, slice_) for slice_ in slices]
            )
        claimed = {s: self._claim(projection, s, journal_id) for s in sorted(slices)}
        return StoredPositions(journal_id, claimed)

    def place(
        self, projection: str, journal_id: str, positions: Mapping[int, Position], *, moves: bool
    ) -> None:
        """See PositionStore: slice by slice, each with what is remembered there."""
        with self._database.named():
            self._database.access.all(
                [self._database.bind("name", projection, slice_) for slice_ in positions]
            )
        for slice_, position in sorted(positions.items()):
            self._place(projection, slice_, journal_id, position, moves)

    def check(self, projection: str, slice_: int, epoch: int, offset: int) -> None:
        """See PositionStore. A plain quorum read: it sees every claim that was answered; what it
        misses, the batch's condition does not."""
        found = self._database.rows("slice", projection, slice_)
        if not found or tuple(found[0][:2]) != (epoch, offset):
            what = f"{found[0][1]} under epoch {found[0][0]}" if found else "no row"
            raise PositionConflictError(projection, slice_, offset, f"{what}, not epoch {epoch}")

    def move(self, projection: str, moves: Sequence[Move]) -> None:
        """See PositionStore: with the batch of the slice."""
        for slice_, epoch, expected, position in moves:
            held = self._database.held.get((projection, slice_))
            if held is None or (held.epoch, held.position) != (epoch, expected):
                what = f"{held.position} under epoch {held.epoch}" if held else "not claimed here"
                raise PositionConflictError(projection, slice_, expected, what)
            self._database.stage_move((projection, slice_), position.offset, position.write_id)

    def _place(
        self, projection: str, slice_: int, journal_id: str, position: Position, moves: bool
    ) -> None:
        database, token, place = self._database, os.urandom(16), (projection, slice_)
        for _ in range(CLAIMS_MAX):
            row = database.standing((projection, slice_))
            _check_journal(projection, row, journal_id)
            if row is not None and (row[4] == token or not moves):
                return
            database.begin()
            CassandraMarks(database).forget(projection, slice_, position.offset)
            if row is None:
                condition = database.bind("claim_first", 1, *position, journal_id, token, *place)
            else:
                condition = database.bind("replace", row[0] + 1, *position, token, *place, row[0])
            try:
                if database.commit_with(place, condition):
                    return
            except PositionStoreError:
                continue  # not known: the next read says
        raise PositionStoreError(database.url, f"slice {slice_} is claimed all the time")

    def _claim(self, projection: str, slice_: int, journal_id: str) -> StoredPosition:
        database, token = self._database, os.urandom(16)
        for _ in range(CLAIMS_MAX):
            row = database.standing((projection, slice_))
            _check_journal(projection, row, journal_id)
            if row is not None and row[4] == token:  # an earlier send of ours took effect
                break
            try:
                if row is None:
                    database.compare_and_set(
                        "claim_first", 1, 0, b"", journal_id, token, projection, slice_
                    )
                else:
                    database.compare_and_set("claim", row[0] + 1, token, projection, slice_, row[0])
            except PositionStoreError:
                continue  # not known: the next read says
        row = database.standing((projection, slice_))
        if row is None or row[4] != token:
            raise PositionStoreError(database.url, f"slice {slice_} is claimed all the time")
        database.held[projection, slice_] = Held(row[0], row[1])
        return StoredPosition(row[0], Position(row[1], row[2]))


def _check_journal(projection: str, row: Any, journal_id: str) -> None:
    if row is not None and row[3] != journal_id:
        reason = f"its id is {journal_id}, the positions are of {row[3]}"
        raise JournalDivergedError(f"projection {projection}", 0, reason)

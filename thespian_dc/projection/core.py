"""Decide what a projection does with what happens to it. Pure: no database, thread, clock or
random.

in: stored positions, a started source, batches, what the handler did, failures    out: Action
Laws:
- A batch below the position is a duplicate and cut; one above it is a gap and never handled.
- A position moves only by a Move, which names the epoch and the offset it expects to find.
- What was handled but not committed is forgotten by `on_rolled_back`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from thespian_dc.model.errors import JournalDivergedError, SettingsError
from thespian_dc.model.handler_errors import HandlerCrashedError, ParkedFullError
from thespian_dc.model.position import START, Position
from thespian_dc.model.stream_errors import StreamGapError
from thespian_dc.projection.api import SourceBatch, SourceDescription, StoredPositions

_FOR_GOOD = (JournalDivergedError, SettingsError, ParkedFullError, HandlerCrashedError)
"""Errors that no restart mends."""


class Claim(NamedTuple):
    """Raise the epoch of these slices in the position store; the rows come back by `on_claimed`."""

    slices: Sequence[int]
    journal_id: str


class StartSource(NamedTuple):
    """Start the source at these positions; one that already runs is stopped first."""

    journal_id: str
    positions: Mapping[int, Position]


class Handle(NamedTuple):
    """Handle the batch's events at offsets >= from_offset, then report with `on_handled`."""

    batch: SourceBatch
    from_offset: int


class Drop(NamedTuple):
    """A duplicate: nothing to handle, only its credit is given back."""

    batch: SourceBatch


class Move(NamedTuple):
    """Move a stored position, iff the row still has this epoch and the expected offset."""

    slice: int
    epoch: int
    expected: int
    position: Position


class Restart(NamedTuple):
    """End this run and begin another at `at_us`."""

    at_us: int
    error: Exception


class Halt(NamedTuple):
    """End this run for good: going on would be wrong, however often it is tried."""

    error: Exception


class _Row:
    """A slice: its epoch, where the store stands, and where handling stands."""

    __slots__ = ("epoch", "reached", "stored")

    def __init__(self, epoch: int, position: Position) -> None:
        self.epoch, self.stored, self.reached = epoch, position, position


class ProjectionCore:
    """One projection over all its runs. backoff_ms: (first, greatest) pause before a restart."""

    def __init__(self, projection: str, backoff_ms: tuple[int, int]) -> None:
        self._projection, self._backoff_ms = projection, backoff_ms
        self._rows: dict[int, _Row] = {}
        self._journal_id = ""
        self._slices: Sequence[int] | None = None
        # Where this run's source was told to begin; None: it was not yet told anything.
        self._begun: Mapping[int, Position] | None = None
        self._last_failure: object = None
        self._attempts = 0

    # --- starting a run ---

    def on_loaded(
        self, stored: StoredPositions, slices: Sequence[int] | None = None
    ) -> Claim | StartSource:
        """A run begins: claim what is stored, so that nobody moves it any more, or begin anew.

        slices: the ones this run is to serve; None: all there are."""
        self._rows, self._begun, self._journal_id = {}, None, stored.journal_id
        self._slices = slices
        mine = [one for one in sorted(stored.slices) if slices is None or one in slices]
        if mine:
            return Claim(mine, stored.journal_id)
        self._begun = {}
        return StartSource(stored.journal_id, {})

    def on_idle(self) -> None:
        """Other workers serve all slices: this one has no row."""
        self._rows = {}

    def on_claimed(self, claimed: StoredPositions) -> list[StartSource]:
        """Rows are ours. Start the source unless it already runs from exactly these positions."""
        for slice_, (epoch, position) in claimed.slices.items():
            self._rows[slice_] = _Row(epoch, position)
        self._journal_id = claimed.journal_id
        positions = {slice_: row.stored for slice_, row in sorted(self._rows.items())}
        begun = self._begun
        if begun is not None and all(begun.get(s, START) == at for s, at in positions.items()):
            return []
        self._begun = positions
        return [StartSource(self._journal_id, positions)]

    def on_started(self, source: SourceDescription) -> list[Claim]:
        """The source runs. Claim the slices that no row exists for; raises JournalDivergedError."""
        if self._journal_id and source.journal_id != self._journal_id:
            reason = f"its id is {source.journal_id}, the positions are of {self._journal_id}"
            raise JournalDivergedError(f"projection {self._projection}", 0, reason)
        beyond = [slice_ for slice_ in self._rows if slice_ >= source.slices]
        if beyond:
            reason = f"slice {beyond[0]} is stored, {source.entity_type} has {source.slices}"
            raise JournalDivergedError(f"projection {self._projection}", 0, reason)
        wanted = range(source.slices) if self._slices is None else self._slices
        missing = [slice_ for slice_ in wanted if slice_ not in self._rows]
        return [Claim(missing, source.journal_id)] if missing else []

    # --- batches ---

    def on_batch(self, batch: SourceBatch) -> Handle | Drop:
        """What to do with the next batch; raises StreamGapError where something is missing."""
        reached = self._rows[batch.slice].reached.offset
        if batch.next_offset <= reached:
            return Drop(batch)
        if batch.base_offset > reached:
            where = f"projection {self._projection} slice {batch.slice}"
            raise StreamGapError(where, reached, batch.base_offset)
        return Handle(batch, reached)

    def expects(self, slice_: int) -> tuple[int, int]:
        """(epoch, offset) that the slice's row must have for us to handle anything of it."""
        row = self._rows[slice_]
        return row.epoch, row.stored.offset

    def on_handled(self, batch: SourceBatch, until_offset: int) -> None:
        """All events of the batch below until_offset are handled, in the open transaction."""
        row = self._rows[batch.slice]
        row.reached = position_in(batch, until_offset, row.reached)

    def moves(self) -> list[Move]:
        """What the open transaction must store before it commits."""
        return [
            Move(slice_, row.epoch, row.stored.offset, row.reached)
            for slice_, row in self._rows.items()
            if row.reached.offset != row.stored.offset
        ]

    def on_committed(self) -> None:
        """The moves are durable."""
        for row in self._rows.values():
            row.stored = row.reached

    def on_rolled_back(self) -> None:
        """The transaction is gone, with everything handled in it."""
        for row in self._rows.values():
            row.reached = row.stored

    # --- failures ---

    def on_failure(self, error: Exception, now_us: int, jitter: float) -> Restart | Halt:
        """What to do after a run ended in `error`. 0 <= jitter < 1 spreads restarts.

        The pause doubles while the same thing fails again; another failure starts it anew. Who lost
        a slice or whose position was changed begins again from what is stored then.
        """
        if isinstance(error, _FOR_GOOD):
            return Halt(error)
        failure = (type(error), getattr(error, "slice", None), getattr(error, "offset", None))
        self._attempts = self._attempts + 1 if failure == self._last_failure else 1
        self._last_failure = failure
        first, greatest = self._backoff_ms
        pause_ms = min(greatest, first << min(self._attempts - 1, 20))
        return Restart(now_us + int(pause_ms * (1 - jitter / 2) * 1000), error)

    @property
    def attempts(self) -> int:
        """How often in a row the same thing failed."""
        return self._attempts

    def positions(self) -> dict[int, Position]:
        """Stored positions by slice, for status."""
        return {slice_: row.stored for slice_, row in self._rows.items()}


def position_in(batch: SourceBatch, offset: int, before: Position) -> Position:
    """The position at `offset` of a batch; `before` is one at or below it, handled already."""
    if offset <= before.offset:
        return before
    for commit in batch.commits:
        if commit.first_offset < offset <= commit.end_offset:
            return Position(offset, commit.write_id)
    raise StreamGapError(f"slice {batch.slice}", offset, batch.base_offset)

"""Batches of a peer's log that are not done: what holds the cursor of a slice, and what holds the
credit of a batch. Pure; its laws are those of link_core.py."""

from __future__ import annotations

from collections.abc import Mapping

from thespian_dc.model.position import START, Position
from thespian_dc.projection.api import SourceBatch
from thespian_dc.replication.link_actions import Action, Handled
from thespian_dc.replication.pending import Lane, Pending, Portion, Reading, Tracked


class Batches:
    """Of one peer. cursors: of slices that were read before."""

    def __init__(self, slices: int, cursors: Mapping[int, Position]) -> None:
        self._lanes = [Lane(cursors.get(number, START)) for number in range(slices)]

    def cursors(self) -> dict[int, Position]:
        """By slice: all below is done."""
        return {number: lane.cursor for number, lane in enumerate(self._lanes)}

    def begin(self, batch: SourceBatch) -> Tracked:
        """The next one of its slice; then `hold` or `leave_to` for what it holds, then `begun`."""
        tracked = Tracked(batch)
        self._lanes[batch.slice].batches.append(tracked)
        return tracked

    def begun(self, slice_: int, tracked: Tracked, actions: list[Action]) -> None:
        """It may be done already."""
        lane = self._lanes[slice_]
        if not tracked.open:
            _give_back(tracked, actions)
        if not tracked.left:
            lane.advance()
        lane.tidy()

    def finish(self, pending: Pending, portion: Portion, actions: list[Action]) -> None:
        """Its events are taken, known, or set aside."""
        self.close(portion, actions)
        self.left(pending.slice, portion.batch)

    def close(self, portion: Portion, actions: list[Action]) -> None:
        """It does not hold the batch's credit any more."""
        if portion.is_open:
            portion.is_open = False
            portion.batch.open -= 1
            if not portion.batch.open:
                _give_back(portion.batch, actions)

    def left(self, slice_: int, tracked: Tracked) -> None:
        """One portion less holds the cursor."""
        tracked.left -= 1
        if not tracked.left:
            self._lanes[slice_].advance()


def hold(pending: Pending, portion: Portion) -> None:
    """What a batch holds for an entity, behind what it has."""
    pending.portions.append(portion)
    portion.batch.left += 1
    portion.batch.open += portion.is_open


def leave_to(reading: Reading, batch: Tracked) -> None:
    """What the batch holds of this entity comes by the reading."""
    reading.until = batch.end
    if reading.hold is None:
        reading.hold = batch
        batch.left += 1


def _give_back(tracked: Tracked, actions: list[Action]) -> None:
    if tracked.batch is not None:
        actions.append(Handled(tracked.batch))
        tracked.batch = None

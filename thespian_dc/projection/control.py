"""What somebody wishes of a projection, and what may be done about it. Pure: no database, no clock.

in: the wishes that are open, the stored positions, what this worker serves    out: what to store
Laws:
- A wish is performed between two transactions by one worker, or, where none runs, by whoever
  wishes; either way together with a higher epoch, so that nobody who read the former position can
  move it.
- A wish ends once: done, refused with the reason, or withdrawn; never guessed.
- A rebuild concerns all slices: it is performed by the one worker that serves all of them, and
  workers.py sees to it that there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from thespian_dc.model.position import NO_WRITE_ID, START, Position
from thespian_dc.projection.api import StoredPosition

POSITION, SKIP, REBUILD = "position", "skip", "rebuild"
"""Kinds of wishes."""
OPEN, DONE, REFUSED, WITHDRAWN = "open", "done", "refused", "withdrawn"
"""States of a wish."""
WISHES_MAX = 100
"""Open wishes of a projection, and ended ones that are kept."""


class Wish(NamedTuple):
    """One thing to do once. nr: from 1, per projection. slice: -1 for all of them.

    offset: where the position is to stand (POSITION), or the event to leave out (SKIP). expected:
    the wish is refused unless the position stands there; None: wherever it stands.
    """

    nr: int
    kind: str
    slice: int = -1
    offset: int = 0
    expected: int | None = None
    state: str = OPEN
    said: str = ""


class Control(NamedTuple):
    """What is wished of a projection. version: raised by each change; 0: nothing was ever wished.

    workers: per node; None: what the settings say. slices: of its source, 0 while nobody knows.
    """

    version: int = 0
    paused: bool = False
    workers: int | None = None
    slices: int = 0
    open: Sequence[Wish] = ()

    @property
    def gathers(self) -> bool:
        """All slices are wanted at one worker: a rebuild waits."""
        return any(wish.kind == REBUILD for wish in self.open)


class Change(NamedTuple):
    """Store this position under a higher epoch, and the wish as done."""

    slice: int
    position: Position


class Refusal(NamedTuple):
    """Nothing is changed; the wish ends with the reason."""

    reason: str


def mine(control: Control, served: Set[int]) -> Wish | None:
    """The next open wish that the worker of these slices is to perform, oldest first."""
    everything = bool(control.slices) and len(served) == control.slices
    for wish in control.open:
        if wish.slice in served or (wish.kind == REBUILD and everything):
            return wish
    return None


def decide(
    wish: Wish, rows: Mapping[int, StoredPosition], owing: Set[int] = frozenset()
) -> list[Change] | Refusal:
    """What a wish does to the projection's rows as they are now, all of it or nothing.

    owing: slices with entities whose earlier events are yet to be looked up. There an event below
    the position may still be to come, and may be left out; the position stays.
    """
    if wish.kind == REBUILD:
        return [Change(slice_, START) for slice_ in sorted(rows)]
    row = rows.get(wish.slice)
    if row is None:
        return Refusal(f"slice {wish.slice} has no position yet")
    stands = row.position.offset
    if wish.kind == SKIP and wish.offset < stands and wish.slice in owing:
        return []
    if wish.expected is not None and stands != wish.expected:
        return Refusal(f"slice {wish.slice} stands at {stands}, not at {wish.expected}")
    if wish.kind == SKIP:
        return [Change(wish.slice, Position(wish.offset + 1, NO_WRITE_ID))]
    return [Change(wish.slice, Position(wish.offset, NO_WRITE_ID))]


def beyond(wish: Wish, stands: int, head: int | None) -> str:
    """Why the position may not go there, or "": past the slice's head as the worker last heard of
    it, it would be taken for a position in another journal. None: it heard of none yet."""
    to = wish.offset + 1 if wish.kind == SKIP else wish.offset
    if head is None or to <= max(head, stands) or wish.expected not in (None, stands):
        return ""  # of one expected elsewhere `decide` says so
    return f"nothing is known to be there, the slice's head is {head}"

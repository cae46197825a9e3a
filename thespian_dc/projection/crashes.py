"""Find the event with which a handler kills its process, at little cost. Pure: no clock, database.

in: how runs left the slices, what comes next    out: how much is handled at once, what is noted
Laws:
- Without an unclean end nothing is noted and nothing is slower.
- After one, each batch that may have been under way is noted before it is handled: one short
  write. Only where the process dies again in a noted batch its events go one by one, each noted.
- Only deaths at which an event was noted alone count against it: who kills a process from outside
  meets a batch often, and one event hardly ever twice.
- What is looked up for an entity has a note of its own in its slice, by the place of its first
  event that is still owed: no position says how far that is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from thespian_dc.projection.attempts import Attempt


class Extent(enum.Enum):
    """How much a transaction takes: what waits; the rest of one batch; one event."""

    USUAL = "usual"
    BATCH = "batch"
    EVENT = "event"


class Try(NamedTuple):
    """To be noted before anything at offsets [offset, until) is handled, for the tries-th time."""

    offset: int
    until: int
    tries: int


class Refuse(NamedTuple):
    """The event at `offset`, or the first one handled behind it, killed the process so often."""

    offset: int
    deaths: int


class Step(NamedTuple):
    extent: Extent
    note: Try | Refuse | None = None


class Crashes:
    """Of one run. deaths_max: so many make an event refused; the first of them did not tell where
    it was, and one more is needed where it told only the batch.

    reach: offsets of a slice that may have been under way when a process died.
    """

    def __init__(self, deaths_max: int, reach: int) -> None:
        self._deaths_max, self._reach = deaths_max, reach
        self._ends: dict[int, int] = {}  # by slice: below this offset batches are noted
        self._fresh: set[int] = set()  # slices of which no head is known yet
        self._suspects: dict[int, Try] = {}  # by slice: noted when the process died
        self._owing: set[str] = set()  # entities that may have been under way then
        self._owed: dict[int, Try] = {}  # as _suspects, of what was looked up

    def on_began(self, slice_: int, stored: int, attempt: Attempt) -> None:
        """A run has this slice, at the stored offset, as another one left it."""
        if not attempt.unclean:
            return
        self._ends[slice_] = stored + self._reach
        self._fresh.add(slice_)
        if attempt.tries and attempt.offset == stored:
            self._suspects[slice_] = Try(attempt.offset, attempt.until, attempt.tries)
        owed = Try(*attempt.owed)
        if owed.tries:
            self._owed[slice_] = owed

    def on_owing(self, owing: Mapping[str, int]) -> None:
        """What entities, of which slices, were owed something when the run got their slices."""
        self._owing |= {one for one, slice_ in owing.items() if slice_ in self._ends}

    @property
    def slices(self) -> list[int]:
        """Where a process vanished and the place is not yet passed."""
        return sorted(self._ends)

    def notes(self, slice_: int) -> bool:
        """Whether the slice's batches are noted, so that each begins a transaction."""
        return slice_ in self._ends

    def step(self, slice_: int, offset: int, until: int, head: int) -> Step:
        """The next transaction begins with the slice's events at offsets [offset, until).

        head: the slice's, read after this run began: what is behind the first one told was written
        after the process died."""
        if slice_ in self._fresh:
            self._fresh.discard(slice_)
            self._ends[slice_] = min(self._ends[slice_], max(head, until))
        if offset >= self._ends.get(slice_, 0):
            self._ends.pop(slice_, None)
            self._suspects.pop(slice_, None)
            return Step(Extent.USUAL)
        if until <= offset:  # a batch that is handled already
            return Step(Extent.BATCH)
        suspect = self._suspects.get(slice_)
        if suspect is None or not suspect.offset <= offset < suspect.until:
            self._suspects.pop(slice_, None)
            return Step(Extent.BATCH, Try(offset, until, 1))
        return self._alone(suspect, offset)

    def notes_owed(self, entity_id: str) -> bool:
        """Whether what is looked up for the entity is noted."""
        return entity_id in self._owing

    def step_owed(self, slice_: int, offset: int, until: int) -> Step:
        """The next transaction begins with the event at `offset` that an entity of the slice is
        owed; what else was looked up for it lies below `until`."""
        suspect = self._owed.get(slice_)
        if suspect is None or not suspect.offset <= offset < suspect.until:
            return Step(Extent.BATCH, Try(offset, until, 1))
        return self._alone(suspect, offset)

    def on_paid(self, entity_id: str) -> None:
        """What was owed to the entity is handled for good."""
        self._owing.discard(entity_id)

    def _alone(self, suspect: Try, offset: int) -> Step:
        alone = suspect.until == suspect.offset + 1
        if alone and suspect.tries + 1 >= self._deaths_max:
            return Step(Extent.EVENT, Refuse(offset, suspect.tries + 1))
        tries = suspect.tries + 1 if alone else 1
        return Step(Extent.EVENT, Try(offset, offset + 1, tries))

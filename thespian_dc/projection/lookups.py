"""Which owed entities are looked up when: a few at a time, again after a failure. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

from thespian_dc.projection.api import Lookup

LOOKUPS_MAX = 8
"""Asked and not yet answered."""
RETRY_MS = (100, 5_000)
"""Pause after a failed lookup: the first, and the longest, reached by doubling."""
HELD_MS = 200
"""How often an entity that waits for something else is looked at again."""


class Lookups:
    """Each entity that is owed something is asked for, waits for its turn, or waits for a time."""

    def __init__(self, most: int = LOOKUPS_MAX) -> None:
        self._most = most
        self._asked: dict[str, Lookup] = {}
        self._ready: deque[str] = deque()  # bounded by what is owed
        self._later: list[tuple[int, str]] = []
        self._failures: dict[str, int] = {}

    def add(self, entity_id: str) -> None:
        """It is owed something from now on."""
        self._ready.append(entity_id)

    def due(
        self, now_us: int, holds: Callable[[str], bool], make: Callable[[str], Lookup]
    ) -> list[Lookup]:
        """What to ask now, as `make` says. holds: the entity waits for something else."""
        while self._later and self._later[0][0] <= now_us:
            self._ready.append(heappop(self._later)[1])
        asked: list[Lookup] = []
        while self._ready and len(self._asked) < self._most:
            entity_id = self._ready.popleft()
            if holds(entity_id):
                heappush(self._later, (now_us + HELD_MS * 1000, entity_id))
                continue
            asked.append(make(entity_id))
            self._asked[entity_id] = asked[-1]
        return asked

    def is_asked(self, lookup: Lookup) -> bool:
        return self._asked.get(lookup.entity_id) == lookup

    def on_answered(self, lookup: Lookup, owed_still: bool) -> None:
        """The answer is handled for good."""
        if self._asked.pop(lookup.entity_id, None) is not None:
            self._failures.pop(lookup.entity_id, None)
            if owed_still:
                self._ready.append(lookup.entity_id)

    def on_failed(self, lookup: Lookup, now_us: int) -> None:
        """It is asked again after a pause."""
        if self._asked.pop(lookup.entity_id, None) is not None:
            failures = self._failures.get(lookup.entity_id, 0)
            self._failures[lookup.entity_id] = failures + 1
            pause_ms = min(RETRY_MS[1], RETRY_MS[0] << min(failures, 10))
            heappush(self._later, (now_us + pause_ms * 1000, lookup.entity_id))

    def on_source_lost(self) -> None:
        """Nothing that was asked will be answered: it is asked again first."""
        self._ready.extendleft(self._asked)
        self._asked.clear()

"""Deletes the older part of slice logs, whoever has read it: only what a stored state of its entity
stands for, so that a consumer of last states finds a state where it finds no record.
"""

from __future__ import annotations

from thespian_dc.journal.memory import MemoryJournal
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import entities_of
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.positions import SimulatedPositions
from thespian_dc.testkit.simulation.world import World

EVERY_US = (50_000, 500_000)
ALL = 0.6
"""How often all that may go does."""


class Trimmer:
    """Of all slices, while the world is faulty."""

    def __init__(
        self, world: World, journal: SimulatedJournal, positions: SimulatedPositions,
        keys: list[SliceKey],
    ) -> None:  # fmt: skip
        self._world, self._memory, self._positions = world, journal.memory, positions
        self._keys = keys

    def begin(self) -> None:
        self._world.after(self._world.between(*EVERY_US), self._trim)

    def _trim(self) -> None:
        if not self._world.faulty:
            return
        key = self._world.rng.choice(self._keys)
        before, first = self._memory._trimmed(key).offset, first_needed(self._memory, key)
        some = self._world.rng.randint(before, max(before, first))
        to = self._memory.trim(key, first if self._world.chance(ALL) else some)
        if to > before:
            self._world.hit("log trimmed")
            self._world.note(f"{key} is trimmed to {to}")
            row = self._positions.rows.get(key.slice)
            if row is not None and row.position.offset < to:
                self._world.hit("log trimmed above a position")
        self._world.after(self._world.between(*EVERY_US), self._trim)


def first_needed(memory: MemoryJournal, key: SliceKey) -> int:
    """The first record for which no stored state stands; at most the last one. Who takes a slice
    over reads the time of that: of a log that is trimmed to its end nobody knows it."""
    at, head = memory._trimmed(key).offset, memory.find_head(key).head
    for commit in memory.read(key, at, 1 << 30) if at < head else ():
        if commit.end_offset == head:
            return commit.base_offset
        for offset, entity_id in enumerate(entities_of(commit), commit.base_offset):
            row = memory.read_state(key, entity_id)
            if row is None or row.offset < offset:
                return commit.base_offset
    return head

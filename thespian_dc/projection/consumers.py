"""Who reads a log of this journal, and how far it was when it began: noted by what serves it, so
that nothing is trimmed that a projection has not handled. Blocks; compare-and-set.

A consumer's own database knows better how far it is now; here is what its journal can know of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from thespian_dc.journal.api import Entry, Journal, change_entry

CONSUMERS_MAX = 256
"""Of one entity type; of more the one that has not come for longest is forgotten."""


class Consumer(NamedTuple):
    """name: of the stream and of who reads it. time_us: when it last began. offsets: by slice,
    where."""

    name: str
    time_us: int
    offsets: Mapping[int, int]


def note_consumer(
    journal: Journal, entity_type: str, name: str, offsets: Mapping[int, int], time_us: int
) -> None:
    """It begins to read here. Slices that others of its workers read stay as they are."""

    def note(entry: Entry) -> tuple[Any, None]:
        known = dict(entry.value or {})
        _, before = known.get(name, (0, []))
        now = {**dict(before), **offsets}
        known[name] = [time_us, sorted(map(list, now.items()))]
        newest = sorted(known.items(), key=lambda one: one[1][0])[-CONSUMERS_MAX:]
        return dict(newest), None

    change_entry(journal, _name(entity_type), note)


def noted_consumers(journal: Journal, entity_type: str) -> list[Consumer]:
    """All that are remembered, by name."""
    known = journal.entry(_name(entity_type)).value or {}
    return [
        Consumer(name, time_us, dict(offsets)) for name, (time_us, offsets) in sorted(known.items())
    ]


def forget_consumer(journal: Journal, entity_type: str, name: str) -> bool:
    """It will not come again; False where nobody knows it."""

    def forget(entry: Entry) -> tuple[Any, bool]:
        known = dict(entry.value or {})
        if known.pop(name, None) is None:
            return entry.value, False
        return known, True

    return change_entry(journal, _name(entity_type), forget)


def _name(entity_type: str) -> str:
    return f"log_consumers:{entity_type}"

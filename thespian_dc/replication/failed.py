"""Which entities of a replica take no commands now: events failed them, or they were set aside.
`FailedEntities` is pure; the rest keeps its findings in the registry.

Each answer of an entity says whether it is sound, so what links bring shows who fails. Who is known
to fail is asked again now and then, and when the replica starts: code that was mended may have
recovered it, and nothing else would say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from thespian_dc.journal.api import Entry, Journal, change_entry

FAILED_MAX = 200
"""More are not kept: whoever mends these finds the next ones."""
WHY_MAX = 500
ASK_US = 30_000_000


class Failed(NamedTuple):
    """since_us: when it was first met so, for this reason."""

    since_us: int
    why: str


class FailedEntities:
    """present: by entity, as the registry had it to begin with; no more than FAILED_MAX."""

    def __init__(self, present: Mapping[str, Failed] | None = None) -> None:
        self._present = dict(present or {})
        self._changes: dict[str, Failed | None] = {}  # bounded: of those that are or were present
        self._asked_us = 0

    def note(self, entity_id: str, why: str, now_us: int) -> None:
        """What an entity said of itself; "": it is sound."""
        before = self._present.get(entity_id)
        if not why:
            if before is not None:
                del self._present[entity_id]
                self._changes[entity_id] = None
            return
        has_room = before is not None or len(self._present) < FAILED_MAX
        if has_room and (before is None or before.why != why[:WHY_MAX]):
            found = self._present[entity_id] = Failed(now_us, why[:WHY_MAX])
            self._changes[entity_id] = found

    def due(self, now_us: int) -> list[str]:
        """Entities to be asked now how they are."""
        if not self._present or now_us - self._asked_us < ASK_US:
            return []
        self._asked_us = now_us
        return list(self._present)

    def take_changes(self) -> dict[str, Failed | None]:
        """To be stored: since the last call, those that fail, and None for those that are sound."""
        changes, self._changes = self._changes, {}
        return changes


def stored_failed(journal: Journal, entity_type: str) -> dict[str, Failed]:
    """As they were met last, the eldest first. Blocks."""
    value = journal.entry(_name(entity_type)).value or {}
    found = {entity_id: Failed(*fields) for entity_id, fields in value.items()}
    return dict(sorted(found.items(), key=lambda one: one[1].since_us))


def store_failed(journal: Journal, entity_type: str, changes: Mapping[str, Failed | None]) -> None:
    """Keep these; what other nodes of this replica found stays. Blocks."""

    def change(before: Entry) -> tuple[Any, None]:
        after = dict(before.value or {})
        for entity_id, found in changes.items():
            if found is None:
                after.pop(entity_id, None)
            elif entity_id in after or len(after) < FAILED_MAX:
                after[entity_id] = list(found)
        return after, None

    change_entry(journal, _name(entity_type), change)


def _name(entity_type: str) -> str:
    return f"replica_failed:{entity_type}"

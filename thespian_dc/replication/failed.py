"""Which entities of a replica take no commands: events failed them, or they were set aside. Pure.

Each answer of an entity says whether it is sound, so what links bring shows who fails; who fails
when a command wakes it is found by its host. Who is known to fail is asked again now and then, and
when the replica starts: code that was mended may have recovered it, and nothing else would say so.
"""

from __future__ import annotations

from collections.abc import Mapping

from thespian_dc.entity.api import FAILED_MAX, WHY_MAX, Failed

ASK_US = 30_000_000


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

    def learn(self, stored: Mapping[str, Failed]) -> None:
        """These were found by others of this replica: they are asked too."""
        new = {one: found for one, found in stored.items() if one not in self._present}
        self._present |= dict([*new.items()][: FAILED_MAX - len(self._present)])

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

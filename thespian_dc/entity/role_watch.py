"""Notices for a host what its replicas' groups know: roles that changed, that this node has asked
its peers whether its journal is what they know, and states that are wanted before a log is trimmed.

Before that a host holds no slice of the type: were the journal an older copy, the first command
would write what other replicas know differently.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

from thespian_dc.entity.protocol import EntityRef
from thespian_dc.entity.role_registry import (
    FAILED_MAX,
    WHY_MAX,
    Failed,
    is_checked,
    known_roles,
    store_failed,
    wanted_states,
)
from thespian_dc.journal.api import Journal
from thespian_dc.model.replication import Role


class RoleSeen(NamedTuple):
    """A role as the registry has it. checked: slices of its type may be held."""

    role: Role
    checked: bool


class StatesWanted(NamedTuple):
    """Store the states of these entities, those that this host holds."""

    entity_type: str
    ids: tuple[str, ...]


class RoleWatch:
    """Of the replicated types of one host; `begin_roles` made them known. One thread uses it, but
    for `on_failed`."""

    def __init__(self, journal: Journal, entity_types: Sequence[str], node_id: str) -> None:
        self._journal, self._node_id = journal, node_id
        self._last: dict[str, RoleSeen | None] = dict.fromkeys(entity_types)
        self._wanted = {one: wanted_states(journal, one).nr for one in entity_types}
        self._lock = Lock()
        self._failed: dict[str, dict[str, Failed]] = defaultdict(dict)

    def look(self) -> list[RoleSeen]:
        """What is new since the last look; the first time, all. JournalUnavailableError."""
        news = []
        for entity_type, last in self._last.items():
            role = known_roles(self._journal, entity_type).role(entity_type)
            checked = (last is not None and last.checked) or is_checked(
                self._journal, entity_type, self._node_id
            )
            seen = RoleSeen(role, checked)
            if seen != last:
                self._last[entity_type] = seen
                news.append(seen)
        return news

    def on_failed(self, ref: EntityRef, why: str, now_us: int) -> None:
        """It was brought into memory, and takes no commands. From any thread."""
        with self._lock:
            found = self._failed[ref.entity_type]
            if len(found) < FAILED_MAX:
                found[ref.entity_id] = Failed(now_us, why[:WHY_MAX])

    def store_failed(self) -> None:
        """Have those in the registry; what could not be stored is lost, until it is met again."""
        with self._lock:
            failed, self._failed = self._failed, defaultdict(dict)
        for entity_type, found in failed.items():
            store_failed(self._journal, entity_type, found)

    def look_for_states(self) -> list[StatesWanted]:
        """What was wished since the last look, or since this watch began."""
        found = []
        for entity_type, before in self._wanted.items():
            nr, ids = wanted_states(self._journal, entity_type, before)
            if nr > before:
                self._wanted[entity_type] = nr
                found.append(StatesWanted(entity_type, ids))
        return found

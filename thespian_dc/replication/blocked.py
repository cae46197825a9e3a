"""Entities that something holds up, and when they are tried again. Pure; its laws are those of
link_core.py."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from thespian_dc.replication.batches import Batches
from thespian_dc.replication.link_actions import Action
from thespian_dc.replication.pending import PAUSE_US, Pending, Waited

BLOCKED_EVENTS_MAX = 20_000


class Blocked(NamedTuple):
    """Why the cursor of a slice stands still, for people. missing: (replica, n) that must come
    first. text: what else is wrong."""

    slice: int
    entity_id: str
    since_us: int
    missing: tuple[str, int] | None
    text: str


class BlockedEntities:
    """Of one peer. What they keep gives its credit back as long as there is room."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._by_id: dict[str, Pending] = {}
        self._due: list[tuple[int, int, Pending]] = []
        self._dues = 0
        self.events = 0
        """That they keep; one that is read as a whole counts as one."""

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def has_room(self) -> bool:
        return self.events < BLOCKED_EVENTS_MAX

    def get(self, entity_id: str) -> Pending | None:
        """None: nothing holds it up."""
        return self._by_id.get(entity_id)

    def eldest(self, limit: int) -> list[Blocked]:
        """For people, the longest first."""
        eldest = sorted(self._by_id.values(), key=lambda one: one.since_us)[:limit]
        return [Blocked(p.slice, p.entity_id, p.since_us, p.missing, p.text) for p in eldest]

    def wakeup_us(self) -> int | None:
        """When the next one is due."""
        return self._due[0][0] if self._due else None

    def due(self, now_us: int) -> Iterator[Pending]:
        """Those to be tried again; what is done with one may block others."""
        while self._due and self._due[0][0] <= now_us:
            _, _, pending = heappop(self._due)
            is_due = pending.is_blocked and pending.due_us and pending.due_us <= now_us
            if is_due and not pending.taken:
                yield pending

    def retry_later(self, pending: Pending, text: str, now_us: int, actions: list[Action]) -> None:
        """After a pause, a longer one each time."""
        due_us = now_us + pending.pause_us
        pending.pause_us = min(pending.pause_us * 2, PAUSE_US[1])
        self.block(pending, text, now_us, due_us, actions)

    def block(
        self, pending: Pending, text: str, now_us: int, due_us: int, actions: list[Action]
    ) -> None:
        """due_us: 0 where something else will try it again."""
        pending.text, pending.missing = text, None
        pending.due_us = due_us
        if due_us:
            self._dues += 1
            heappush(self._due, (due_us, self._dues, pending))
        if pending.is_blocked:
            return
        pending.is_blocked, pending.since_us = True, now_us
        self._by_id[pending.entity_id] = pending
        for portion in pending.portions:
            self.events += len(portion.items)
            if self.events <= BLOCKED_EVENTS_MAX:
                self._batches.close(portion, actions)

    def unblock(self, pending: Pending) -> None:
        if pending.missing is not None:
            pending.waited = Waited(pending.missing, pending.since_us, pending.pause_us)
        pending.is_blocked, pending.missing, pending.text = False, None, ""
        pending.pause_us, pending.due_us = PAUSE_US[0], 0
        del self._by_id[pending.entity_id]
        self.events -= sum(len(one.items) for one in pending.portions)

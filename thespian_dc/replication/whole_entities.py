"""Entities that are read from the peer as a whole, from their first event on: so many at once, the
others wait for their turn. Pure; its laws are those of link_core.py."""

from __future__ import annotations

from thespian_dc.projection.api import Lookup
from thespian_dc.replication.batches import Batches, leave_to
from thespian_dc.replication.blocked import BlockedEntities
from thespian_dc.replication.link_actions import Action, GetState, LookUp
from thespian_dc.replication.pending import Pending, Reading

LOOK_UPS_MAX = 8


class WholeEntities:
    """Of one peer."""

    def __init__(self, batches: Batches, blocked: BlockedEntities) -> None:
        self._batches, self._blocked = batches, blocked
        self._to_read: dict[str, Pending] = {}
        self._read_now = 0

    def begin(self, pending: Pending, actions: list[Action]) -> None:
        """What came of the entity is left to a reading from its first event."""
        if pending.is_blocked:
            self._blocked.events -= sum(len(one.items) for one in pending.portions)
        reading = pending.reading
        if reading is not None:  # from the first event again
            reading.next, reading.more, reading.page = 1, True, []
        else:
            reading = pending.reading = Reading()
            self._blocked.events += 1
        while pending.portions:
            portion = pending.portions.popleft()
            leave_to(reading, portion.batch)
            self._batches.finish(pending, portion, actions)
        self.look_up(pending, reading, actions)

    def look_up(self, pending: Pending, reading: Reading, actions: list[Action]) -> None:
        """Ask for the next piece, as soon as it may be read."""
        pending.due_us = 0
        if not reading.is_under_way:
            if self._read_now >= LOOK_UPS_MAX:
                self._to_read[pending.entity_id] = pending
                return
            self._read_now += 1
            reading.is_under_way = True
        reading.from_seq_nr = reading.next
        if reading.is_stale:  # a state stays in the log as it is; the stored one may do by now
            actions.append(GetState(pending.entity_id, fresh=True))
        else:
            actions.append(LookUp(Lookup(pending.entity_id, pending.slice, reading.next)))

    def pause(self, reading: Reading, actions: list[Action]) -> None:
        """Another entity may be read meanwhile; what was read of this one is read again."""
        reading.page, reading.next, reading.more = [], reading.from_seq_nr, True
        self._read_others(reading, actions)

    def end(self, pending: Pending, reading: Reading, actions: list[Action]) -> None:
        """All of it is here."""
        pending.reading = None
        self._blocked.events -= 1
        if reading.hold is not None:
            self._batches.left(pending.slice, reading.hold)
        self._read_others(reading, actions)

    def _read_others(self, reading: Reading, actions: list[Action]) -> None:
        if not reading.is_under_way:
            return
        reading.is_under_way = False
        self._read_now -= 1
        while self._to_read and self._read_now < LOOK_UPS_MAX:
            other = self._to_read.pop(next(iter(self._to_read)))
            if other.reading is not None and not other.reading.is_under_way:
                self.look_up(other, other.reading, actions)

"""Which entities are in memory, and who leaves first. Pure.

An entity leaves only while nothing of it is in flight, stashed, waiting, asked or timed: so the
bound on residents may be passed for as long as that holds for all of them.
"""

from __future__ import annotations

from collections import OrderedDict

from thespian_dc.entity.hosted import Hosted, HostedSlice
from thespian_dc.entity.instance import Instance, Phase, ReplicatedInstance

LOOKED_AT_MAX = 16
"""How many of the least recently used are looked at when room is needed."""


class Residents:
    """The instances of one host, least recently used first."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted
        self._order: OrderedDict[Instance, None] = OrderedDict()
        self.touch = self._order.move_to_end
        """touch(instance): it was used now."""
        self._idle_us = int(hosted.limits.passivate_after_s * 1e6)

    def __len__(self) -> int:
        return len(self._order)

    def admit(self, slice_: HostedSlice, entity_id: str) -> Instance:
        """A fresh instance, to be recovered; makes room for it where it can."""
        if len(self._order) >= self._hosted.limits.resident_max:
            self._make_room()
        description = slice_.type.description
        kind = ReplicatedInstance if description.replicated else Instance
        instance = kind(description, entity_id, slice_)
        instance.used_us = self._hosted.now_us
        slice_.type.entities[entity_id] = instance
        self._order[instance] = None
        return instance

    def remove(self, instance: Instance) -> None:
        """Out of memory. Whoever still holds the instance sees that it is GONE."""
        instance.phase = Phase.GONE
        instance.actor = None  # it names the instance in turn: a cycle would keep both for long
        del instance.slice.type.entities[instance.entity_id]
        del self._order[instance]

    def of(self, slice_: HostedSlice) -> list[Instance]:
        """All instances of a slice: a walk over its type, for the rare loss of a slice."""
        return [one for one in slice_.type.entities.values() if one.slice is slice_]

    def due_us(self) -> int | None:
        """When the least recently used one has been idle for long enough."""
        oldest = next(iter(self._order), None)
        return None if oldest is None else oldest.used_us + self._idle_us

    def passivate_idle(self) -> None:
        """Those nobody addressed for passivate_after_s leave memory."""
        before_us = self._hosted.now_us - self._idle_us
        while (oldest := next(iter(self._order), None)) and oldest.used_us <= before_us:
            self._passivate(oldest)

    def _make_room(self) -> None:
        for _ in range(min(LOOKED_AT_MAX, len(self._order))):
            oldest = next(iter(self._order))
            self._passivate(oldest)
            if oldest.phase is Phase.GONE:
                return

    def _passivate(self, instance: Instance) -> None:
        """Remove it, or look at it again a full idle time later."""
        if instance.can_leave:
            self.remove(instance)
            self._hosted.counts["passivated"] += 1
        else:
            instance.used_us = self._hosted.now_us
            self._order.move_to_end(instance)

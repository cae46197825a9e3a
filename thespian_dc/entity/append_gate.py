"""How many slices of a host append at once: the others wait, and gather more for their turn. Pure.

A conditional write costs a server some 0.65 ms of CPU whatever is in it, and 1 us for each record:
sixteen small commits at once are dearer than four of four times the size, and end no sooner where
the server is what they wait for. A host that has less to write than that never waits here.

Law: an append that is not answered for SLOW_US counts no more. Replicas that are away stop their
own slices only.
"""

from __future__ import annotations

from thespian_dc.entity.hosted import HostedSlice
from thespian_dc.slices.phases import Phase

SLOW_US = 200_000


class AppendGate:
    """Of one host. at_once: the journal's appends_at_once."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._since_us: dict[HostedSlice, int] = {}
        """Slices with an append under way."""
        self._held: list[HostedSlice] = []

    def holds(self, slice_: HostedSlice, now_us: int) -> bool:
        """Whether the slice has something to append and must wait; it is in `take_held` then."""
        if not slice_.writer.would_append or self._has_room(now_us):
            return False
        self._held.append(slice_)
        return True

    def take_held(self) -> list[HostedSlice]:
        """Those that waited, in order: ask `holds` for each of them again."""
        held, self._held = self._held, []
        return held

    def follow(self, slice_: HostedSlice, now_us: int) -> None:
        """The slice's writer has made a step: its append has begun, or ended."""
        if slice_.writer.phase is Phase.APPENDING:
            self._since_us.setdefault(slice_, now_us)
        else:
            self._since_us.pop(slice_, None)

    def due_us(self, now_us: int) -> int | None:
        """When an append becomes slow, so that one that waits may go; None: none waits."""
        if not self._held:
            return None
        young = (at_us for at_us in self._since_us.values() if at_us > now_us - SLOW_US)
        return min(young, default=now_us) + SLOW_US

    def _has_room(self, now_us: int) -> bool:
        young = sum(at_us > now_us - SLOW_US for at_us in self._since_us.values())
        return young < self._at_once

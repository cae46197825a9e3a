"""Who should own what, decided by every member for itself from the same registry rows. Pure.

in: on_tick, on_members (what `journal.members()` returned), leave, now_us
out: Announce | ReadMembers | Assigned | Forget
Laws:
- Nothing here is needed for safety: two members that both think a slice is theirs fence each other
  out, they never both append. This file makes that rare and short.
- The assignment is a function of the live members alone: equal views give equal answers.
- Assigned says what to acquire, never what to drop: a slice is held until another takes it, so that
  a move has no gap in which nobody serves it.
- Death is a beat that stands still, by the observer's own clock and over enough of its own reads;
  no two clocks are compared, and an outage of the registry kills nobody. Who sees it first removes
  the row, so that members who came later need not watch the dead for as long again.
- A member's id is `place.incarnation`: of one place only one lives at a time, so a member knows
  that its predecessors are dead, takes over their share at once, and moves nobody else's.
- Who was still for long enough to be taken for dead waits before it acquires again, longer each
  time: others serve its slices meanwhile, and a member that flaps does not drag them to and fro.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from thespian_dc.journal.api import Member
from thespian_dc.model.ids import SliceKey
from thespian_dc.slices.beats import Beats


# --- actions ---
class Announce(NamedTuple):
    """journal.announce(member); a failure needs no answer, the next beat comes soon"""

    member: Member


class ReadMembers(NamedTuple):
    """journal.members() -> on_members; after the Announce of the same list. No answer on
    failure."""


class Assigned(NamedTuple):
    """Acquire those of `keys` that are not owned. Comes with every reading: so does a second
    try."""

    keys: frozenset[SliceKey]


class Forget(NamedTuple):
    """journal.forget(member_id): dead, or this member on its clean stop"""

    member_id: str


Action = Announce | ReadMembers | Assigned | Forget


@dataclass(frozen=True, slots=True)
class Timing:
    """All in microseconds. beat: between two announcements. dead_after: so long a beat stands
    still, give or take half a beat: readings come neither earlier nor later than that.

    observe: a member looks around for so long before it first acquires; doubled for each time it
    was itself still for dead_after, up to observe_max, until it was steady for steady_after.
    """

    beat_us: int = 500_000
    dead_after_us: int = 2_000_000
    observe_us: int = 500_000
    observe_us_max: int = 8_000_000
    steady_after_us: int = 60_000_000

    def is_still(self, for_us: int) -> bool:
        return for_us >= self.dead_after_us - self.beat_us // 2


DEFAULT_TIMING = Timing()


class AllocationCore:
    """One member's view. me: its row (beat 0). slices: slice count of each type that it serves."""

    def __init__(
        self, me: Member, slices: Mapping[str, int], timing: Timing = DEFAULT_TIMING
    ) -> None:
        assert set(slices) == set(me.entity_types), f"{me.member_id} serves other types"
        self.me, self._slices, self._timing = me, dict(slices), timing
        self._due_us: int | None = 0
        # Our own stays: whoever was still for so long that others forgot it must notice that.
        self._beats = Beats(keep=me.member_id)
        self._acquire_after_us: int | None = None
        self._stalls, self._stalled_us = 0, 0
        self._answered: tuple[tuple[tuple[str, tuple[str, ...]], ...], frozenset[SliceKey]] | None
        self._answered = None

    def wakeup_us(self) -> int | None:
        """When the next beat is due; None after `stop`."""
        return self._due_us

    def on_tick(self, now_us: int) -> list[Action]:
        """Announce this member and look at the others, every beat_us."""
        if self._due_us is None or now_us < self._due_us:
            return []
        self._due_us = now_us + self._timing.beat_us
        self.me = self.me._replace(beat=self.me.beat + 1)
        return [Announce(self.me), ReadMembers()]

    def leave(self, now_us: int) -> list[Action]:
        """Be assigned nothing from now on. Keep serving until each slice is taken or time is up."""
        self.me = self.me._replace(leaving=True, beat=self.me.beat + 1)
        self._due_us = now_us + self._timing.beat_us
        return [Announce(self.me), Assigned(frozenset())]

    def stop(self) -> list[Action]:
        """The clean end of this member."""
        self._due_us = None
        return [Forget(self.me.member_id)]

    def on_members(self, members: Iterable[Member], now_us: int) -> list[Action]:
        """A reading of the registry, complete. now_us: when it arrived."""
        rows = {m.member_id: m for m in members}
        moved = self._beats.observe({one: row.beat for one, row in rows.items()}, now_us)
        # Our own beat stood still so long that others think us dead.
        stalled = self._timing.is_still(moved.get(self.me.member_id, 0))
        if self.me.member_id not in rows:
            return []  # not announced yet, or forgotten by others: the next beat shows it again
        dead = {m for m in rows if m != self.me.member_id and self._is_dead(m, now_us)}
        self._wait_to_acquire(stalled, any(map(self._is_predecessor, rows)), now_us)
        live = [m for m in rows.values() if m.member_id not in dead and not m.leaving]
        return [Assigned(self._assigned(live, now_us)), *map(Forget, sorted(dead))]

    def _is_dead(self, member_id: str, now_us: int) -> bool:
        beats, timing = self._beats, self._timing
        reads = timing.dead_after_us // timing.beat_us - 1
        still = timing.is_still(now_us - beats.since_us(member_id))
        return (still and beats.still_reads(member_id) >= reads) or self._is_predecessor(member_id)

    def _is_predecessor(self, member_id: str) -> bool:
        place = place_of(member_id)
        return place == place_of(self.me.member_id) != "" and member_id != self.me.member_id

    def _wait_to_acquire(self, stalled: bool, succeeds: bool, now_us: int) -> None:
        """succeeds: the row of a predecessor is still there; its share waits for us."""
        timing = self._timing
        if self._acquire_after_us is None:
            self._acquire_after_us = now_us + (0 if succeeds else timing.observe_us)
        elif stalled:
            steady = now_us - self._stalled_us >= timing.steady_after_us
            self._stalls = 1 if steady else self._stalls + 1
            self._stalled_us = now_us
            wait_us = min(timing.observe_us << min(self._stalls, 20), timing.observe_us_max)
            self._acquire_after_us = now_us + wait_us

    def _assigned(self, live: Sequence[Member], now_us: int) -> frozenset[SliceKey]:
        assert self._acquire_after_us is not None
        if self.me.leaving or now_us < self._acquire_after_us:
            return frozenset()
        view = tuple(sorted((m.member_id, m.entity_types) for m in live))
        if self._answered is None or self._answered[0] != view:
            self._answered = view, frozenset(self._mine(live))
        return self._answered[1]

    def _mine(self, live: Sequence[Member]) -> Iterable[SliceKey]:
        for entity_type, slices in self._slices.items():
            serving = [m.member_id for m in live if entity_type in m.entity_types]
            for slice_, member_id in enumerate(assign(entity_type, slices, serving)):
                if member_id == self.me.member_id:
                    yield SliceKey(entity_type, slice_)


def assign(entity_type: str, slices: int, member_ids: Sequence[str]) -> list[str]:
    """The member of each slice, by bounded rendezvous: each slice, in order, goes to its
    best-scoring member of those with fewer than ceil(slices / members). Empty without members.

    Independent of the order of member_ids. A member that comes or goes moves its own share and few
    others; a successor in the same place gets what its predecessor had.
    """
    if not member_ids:
        return []
    share = -(-slices // len(member_ids))
    room = dict.fromkeys(sorted(member_ids), share)
    owners = []
    for slice_ in range(slices):
        best = max(room, key=lambda member_id: _score(entity_type, slice_, member_id))
        owners.append(best)
        room[best] -= 1
        if not room[best]:
            del room[best]
    return owners


def place_of(member_id: str) -> str:
    """The part of an id that the next member in the same place has too; "" where it has none."""
    return member_id.rpartition(".")[0]


def _score(entity_type: str, slice_: int, member_id: str) -> bytes:
    who = place_of(member_id) or member_id
    return blake2b(f"{entity_type}|{slice_}|{who}".encode(), digest_size=8).digest()

"""Which node of a replica reads which peer, decided by each for itself. Pure: no clock.

in: the stored leases, which peers are read here, now_us
out: leases to be stored, what to read
Laws:
- Nothing here is needed for correctness: two readers of one peer at once cost work and harm
  nothing. Progress goes into the registry by compare-and-set, and entities know what they have.
- A peer is taken only from nobody or from the dead: a living holder stops reading it first, stores
  how far it is, and gives it back.
- Who holds what is a function of the living readers alone, by bounded rendezvous over peers' names;
  a reader need not list the same peers as the others.
- Who begins reads all at once, whoever holds it, until each reader that it found has beaten or is
  dead: a replica of one node waits for nobody, and every node hears every peer when it starts.
- Death is a beat that stands still, by the observer's own clock and over enough of its own
  readings, or a process of this machine that is gone.
- Who cannot reach a peer for long leaves it to others for a while. Where nobody can, all count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from thespian_dc.slices.allocation import assign
from thespian_dc.slices.beats import Beats

READERS_MAX = 64
"""As there are at most 63 peers, one more would have nothing to read. It waits for a place."""


class Reader(NamedTuple):
    """A process that reads peers of one entity type. node: of which node. machine, pid: where it is
    to be looked for. peers: that it can read. unable: those of them that it does not reach."""

    beat: int
    node: str
    machine: str = ""
    pid: int = 0
    peers: tuple[str, ...] = ()
    unable: tuple[str, ...] = ()


class Leases(NamedTuple):
    """readers: by id. holders: reader by peer."""

    readers: Mapping[str, Reader] = {}
    holders: Mapping[str, str] = {}


class Plan(NamedTuple):
    """after: the leases to be stored. read: peers to be read here. lent: peers that a living reader
    holds for this replica elsewhere, with its id."""

    after: Leases
    read: frozenset[str]
    lent: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Timing:
    """All in microseconds. beat: between two of the own beats. dead_after: so long a beat stands
    still, over at least still_reads readings. unable_after: so long a link is in trouble until
    others try; unable_for: so long they may."""

    beat_us: int = 1_000_000
    dead_after_us: int = 3_000_000
    still_reads: int = 3
    unable_after_us: int = 10_000_000
    unable_for_us: int = 60_000_000


DEFAULT_TIMING = Timing()


class LeaseCore:
    """One reader's view. me: its id, and what it says of itself (beat 0, no peers)."""

    def __init__(
        self, entity_type: str, me: str, row: Reader, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self._type, self.me, self._row, self._timing = entity_type, me, row, timing
        self._beats = Beats()
        self._beat_us: int | None = None
        self._doubtful: set[str] | None = None  # None: nothing was read yet
        self._troubled_us: dict[str, int] = {}
        self._unable_us: dict[str, int] = {}

    def on_read(
        self,
        stored: Leases,
        peers: Collection[str],
        served: Collection[str],
        troubled: Collection[str],
        gone: Collection[str],
        now_us: int,
    ) -> Plan:
        """A complete reading; `after` is to take its place, or there is another one.

        peers: that can be read here. served: those that are, or whose progress is not stored yet.
        troubled: those of them whose link does not come about. gone: readers of this machine whose
        process is gone.
        """
        others = {name: row for name, row in stored.readers.items() if name != self.me}
        dead = self._observe(others, gone, now_us)
        living = {name: row for name, row in others.items() if name not in dead}
        self._note_trouble(peers, troubled, now_us)
        if len(living) < READERS_MAX:
            living[self.me] = self._own(stored, peers, now_us)
        holders = {peer: one for peer, one in stored.holders.items() if one in living}
        if self._doubtful:
            free = set(peers) - holders.keys() if self.me in living else set()
            after = Leases(living, holders | dict.fromkeys(free, self.me))
            return Plan(after, frozenset(peers), {})
        wanted = {
            peer for peer, one in share_out(self._type, living).items() if one == self.me
        } & set(peers)
        for peer in wanted - holders.keys():
            holders[peer] = self.me
        mine = {peer for peer, one in holders.items() if one == self.me}
        for peer in mine - wanted - set(served):
            del holders[peer]
        lent = {peer: one for peer, one in holders.items() if one != self.me}
        return Plan(Leases(living, holders), frozenset(mine & wanted), lent)

    def leave(self, stored: Leases) -> Leases:
        """The clean end: others need not wait for its death."""
        readers = {name: row for name, row in stored.readers.items() if name != self.me}
        holders = {peer: one for peer, one in stored.holders.items() if one != self.me}
        return Leases(readers, holders)

    # --- inside ---

    def _observe(
        self, others: Mapping[str, Reader], gone: Collection[str], now_us: int
    ) -> set[str]:
        """Returns the dead."""
        moved = self._beats.observe({name: row.beat for name, row in others.items()}, now_us)
        dead = {name for name in others if name in gone or self._is_still(name, now_us)}
        if self._doubtful is None:
            self._doubtful = set(others)
        self._doubtful &= others.keys() - dead - moved.keys()
        return dead

    def _is_still(self, name: str, now_us: int) -> bool:
        still = now_us - self._beats.since_us(name) >= self._timing.dead_after_us
        return still and self._beats.still_reads(name) >= self._timing.still_reads

    def _own(self, stored: Leases, peers: Collection[str], now_us: int) -> Reader:
        before = self._row
        unable = tuple(sorted(self._unable_us.keys() & set(peers)))
        row = before._replace(peers=tuple(sorted(peers)), unable=unable)
        is_due = self._beat_us is None or now_us - self._beat_us >= self._timing.beat_us
        if is_due and stored.readers.keys() != {self.me}:  # nobody watches one that is alone
            self._beat_us = now_us
            row = row._replace(beat=before.beat + 1)
        self._row = row
        return row

    def _note_trouble(self, peers: Collection[str], troubled: Collection[str], now_us: int) -> None:
        timing = self._timing
        since = self._troubled_us
        self._troubled_us = {peer: since.get(peer, now_us) for peer in troubled}
        self._unable_us = {
            peer: at
            for peer, at in self._unable_us.items()
            if peer in peers and now_us - at < timing.unable_for_us
        }
        for peer, at in self._troubled_us.items():
            if now_us - at >= timing.unable_after_us:
                self._unable_us.setdefault(peer, now_us)


def share_out(entity_type: str, readers: Mapping[str, Reader]) -> dict[str, str]:
    """The reader of each peer, in the order of the peers' names: its best-scoring one of those that
    can read it, such that none has two more than another, where all can read the same. Who does not
    reach a peer counts where nobody does."""
    peers = sorted({peer for row in readers.values() for peer in row.peers})
    share, over = divmod(len(peers), max(1, len(readers)))
    counts = dict.fromkeys(readers, 0)
    found = {}
    for peer in peers:
        listed = [name for name, row in readers.items() if peer in row.peers]
        able = [name for name in listed if peer not in readers[name].unable] or listed
        free = [name for name in able if counts[name] < share + (over > 0)] or able
        (best,) = assign(f"{entity_type}|{peer}", 1, free)
        over -= counts[best] == share
        counts[best] += 1
        found[peer] = best
    return found


def plain_of_leases(leases: Leases) -> dict[str, Any]:
    """As the registry keeps them."""
    readers = {
        name: [*row[:4], list(row.peers), list(row.unable)]
        for name, row in sorted(leases.readers.items())
    }
    return {"readers": readers, "holders": dict(sorted(leases.holders.items()))}


def leases_of(value: Any) -> Leases:
    """What `plain_of_leases` made; None: nobody reads."""
    if value is None:
        return Leases()
    readers = {
        name: Reader(beat, node, where, pid, tuple(peers), tuple(unable))
        for name, (beat, node, where, pid, peers, unable) in value["readers"].items()
    }
    return Leases(readers, dict(value["holders"]))

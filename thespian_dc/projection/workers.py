"""Which worker of a projection serves which slices, decided by each for itself. Pure: no clock.

in: the rows of all workers, who holds which slice, what is served here, now_us
out: what to hold, what to release, what to serve
Laws:
- Nothing here is needed for the safety of positions: a claim raises the epoch, and a former owner
  can move nothing. This file sees to it that a slice changes hands between two transactions of its
  owner, so that also a handler without a transaction sees each event once.
- A slice is taken only from nobody or from the dead: a living worker releases it first, when it
  serves it no longer.
- The assignment is a function of the living workers alone, by bounded rendezvous.
- Death is a beat that stands still, by the observer's own clock and over enough of its own
  readings, or a process of this machine that is gone. A database that does not answer kills nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from thespian_dc.slices.allocation import assign
from thespian_dc.slices.beats import Beats


class WorkerRow(NamedTuple):
    """A worker as the others see it. machine, pid: where its process is to be looked for.

    leaving: it takes nothing more. seen: the version of the wishes it has acted upon. beat_us: wall
    clock of the last beat. facts: its status, as JSON.
    """

    worker: str
    beat: int
    machine: str = ""
    pid: int = 0
    leaving: bool = False
    seen: int = 0
    beat_us: int = 0
    facts: str = "{}"


class Plan(NamedTuple):
    """hold: slices to take, each with the dead worker that holds it, or "". release: slices to give
    back. serve: what is to be served, of what is held. forget: workers dead for long."""

    hold: Mapping[int, str]
    release: frozenset[int]
    serve: frozenset[int]
    forget: Sequence[str]


@dataclass(frozen=True, slots=True)
class Timing:
    """All in microseconds. dead_after: so long a beat stands still, over at least still_reads
    readings of the observer. forget_after: so long a dead worker's last words are kept."""

    beat_us: int = 500_000
    dead_after_us: int = 2_000_000
    still_reads: int = 3
    forget_after_us: int = 60_000_000


DEFAULT_TIMING = Timing()


class WorkersCore:
    """One worker's view of all workers of its projection."""

    def __init__(self, projection: str, me: str, timing: Timing = DEFAULT_TIMING) -> None:
        self._projection, self._me, self._timing = projection, me, timing
        self._beats = Beats()
        self._assigned: tuple[int, list[str], frozenset[int]] = (0, [], frozenset())

    def on_read(
        self,
        rows: Sequence[WorkerRow],
        holders: Mapping[int, str],
        slices: int,
        gathered: bool,
        served: Collection[int],
        gone: Collection[str],
        now_us: int,
    ) -> Plan:
        """A complete reading, made after this worker's own beat was stored.

        holders: worker by slice. slices: how many there are. gathered: one worker shall serve them
        all. served: what this one serves now. gone: workers of this machine whose process is gone.
        """
        self._beats.observe({row.worker: row.beat for row in rows}, now_us)
        dead = {row.worker for row in rows if self._is_dead(row.worker, gone, now_us)}
        living = sorted(r.worker for r in rows if r.worker not in dead and not r.leaving)
        if gathered:
            living = living[:1]
        wanted = self._share(slices, living)
        known = {row.worker for row in rows} - dead
        held = {slice_ for slice_, worker in holders.items() if worker == self._me}
        hold = {
            slice_: holders.get(slice_, "")
            for slice_ in sorted(wanted - held)
            if holders.get(slice_, "") not in known
        }
        release = frozenset(held - wanted - set(served))
        return Plan(hold, release, frozenset(held & wanted), self._long_dead(dead, rows, now_us))

    def _share(self, slices: int, living: list[str]) -> frozenset[int]:
        if self._assigned[:2] != (slices, living):
            owners = enumerate(assign(self._projection, slices, living))
            share = frozenset(slice_ for slice_, worker in owners if worker == self._me)
            self._assigned = slices, living, share
        return self._assigned[2]

    def _is_dead(self, worker: str, gone: Collection[str], now_us: int) -> bool:
        if worker == self._me:
            return False
        beats, timing = self._beats, self._timing
        still = now_us - beats.since_us(worker) >= timing.dead_after_us
        return worker in gone or (still and beats.still_reads(worker) >= timing.still_reads)

    def _long_dead(
        self, dead: Collection[str], rows: Sequence[WorkerRow], now_us: int
    ) -> list[str]:
        """Only the first of the others removes them."""
        others = sorted(row.worker for row in rows if row.worker not in dead)
        if not others or others[0] != self._me:
            return []
        before_us = now_us - self._timing.forget_after_us
        return [worker for worker in sorted(dead) if self._beats.since_us(worker) <= before_us]

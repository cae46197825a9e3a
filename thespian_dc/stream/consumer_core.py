"""A consumer's end of one call: what to ask, whether what comes is in order, when to give credit
back. Pure.

in: Started, batches, beats and FilterInForce of the producer, what was handled, a changed filter,
time    out: Start, Filter, Credit, Beat, or an error
Laws:
- A batch above the expected offset is StreamGapError, never handed over; one wholly below is
  dropped.
- Credit given back is exactly what `cost_of` counted; what is unhandled never exceeds the window by
  more than one commit, if no call is begun before `has_room`.
- Of batches of which nothing passes no more than BATCHES_MAX are handed over and unhandled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thespian_dc.model.criteria import UNFILTERED, FilterInForce, VersionedFilter
from thespian_dc.model.errors import JournalDivergedError
from thespian_dc.model.history import History
from thespian_dc.model.position import START, Position
from thespian_dc.model.replica_errors import OtherEntityTypeError, WrongReplicaError
from thespian_dc.model.replication_handshake import Known, ReplicaStart, ReplicaStarted
from thespian_dc.model.stream_errors import (
    MalformedMessageError,
    PeerSilentError,
    ProtocolVersionError,
    StreamGapError,
)
from thespian_dc.projection.api import SourceBatch
from thespian_dc.stream.batches import cost_of
from thespian_dc.wire.conversion import PROTOCOL, Credit, Start, Started

WINDOW = Credit(4 << 20, 40_000)
"""What may be handed over and not yet handled, usually."""
BATCHES_MAX = 2_000
"""Handed over and not yet handled; above it nothing is read of the call. Batches of which nothing
passes take no credit."""
HEARTBEAT_MS = 2_000
SILENT_INTERVALS = 3
RECONNECT_MS = (100, 5_000)


class Reconnect:
    """Pauses between attempts: doubling, with jitter, back to the first after a call that
    worked."""

    def __init__(self, pauses_ms: tuple[int, int] = RECONNECT_MS) -> None:
        self._first_ms, self._greatest_ms = pauses_ms
        self._failures = 0

    def on_worked(self) -> None:
        self._failures = 0

    def pause_ms(self, jitter: float) -> int:
        """The pause before the next attempt; 0 <= jitter < 1."""
        pause = min(self._greatest_ms, self._first_ms << min(self._failures, 20))
        self._failures += 1
        return int(pause * (1 - jitter / 2))


class ConsumerCore:
    """One call. outstanding: what earlier calls handed over and is not handled yet. slices: the
    ones wanted, None for all. window: what may be handed over and not yet handled. replica: of a
    replica stream, with replica_expected: who must be at the other end. looks_on: see Start."""

    def __init__(
        self,
        stream_id: str,
        consumer: str,
        journal_id: str,
        positions: Mapping[int, Position],
        outstanding: Credit,
        peer: str,
        heartbeat_ms: int,
        now_us: int,
        history: History = History.FULL,
        wanted: VersionedFilter = UNFILTERED,
        slices: Sequence[int] | None = None,
        window: Credit = WINDOW,
        replica: ReplicaStart | None = None,
        replica_expected: str = "",
        looks_on: bool = False,
    ) -> None:
        self._window, self._looks_on = window, looks_on
        self._replica, self._expected = replica, replica_expected
        self._known: Known | None = None
        self._wanted = self._told = wanted
        self._slices = slices
        self._stream_id, self._consumer, self._journal_id = stream_id, consumer, journal_id
        self.positions = dict(positions)
        if slices is not None:
            self.positions = {slice_: positions.get(slice_, START) for slice_ in slices}
        """Where to resume: behind the last batch handed over, by slice."""
        self._outstanding, self._due = outstanding, Credit(0, 0)
        self._peer = peer
        self._heartbeat_ms, self._history = heartbeat_ms, history
        self._heard_us = self._sent_us = now_us
        self._started: Started | None = None

    def first(self, correlation_id: str) -> Start:
        """The message that opens the call. What is handled by now is part of its credit."""
        self._due = Credit(0, 0)
        left = Credit(
            max(0, self._window.bytes - self._outstanding.bytes),
            max(0, self._window.events - self._outstanding.events),
        )
        return Start(
            PROTOCOL, self._stream_id, self._consumer, self._journal_id, self.positions, left,
            self._heartbeat_ms, correlation_id, self._wanted, self._history, self._replica,
            self._looks_on,
        )  # fmt: skip

    # --- what comes ---

    def on_started(self, started: Started, now_us: int) -> bool:
        """Check what the producer is. False: it has slices that `positions` lacks, so ask again
        with `positions`, which has them now."""
        self._heard_us = now_us
        if self._started is not None:
            raise MalformedMessageError("a call's answer", "Started came twice")
        if started.protocol != PROTOCOL:
            raise ProtocolVersionError(started.protocol, PROTOCOL)
        is_replica = self._replica is not None  # which says whether its journal is a later life
        if self._journal_id and started.journal_id != self._journal_id and not is_replica:
            reason = f"its id is {started.journal_id}"
            raise JournalDivergedError(self._where(), 0, reason)
        self._check_replica(started.replica)
        self._started = started
        self._heartbeat_ms = started.heartbeat_ms or self._heartbeat_ms
        wanted = range(started.slices) if self._slices is None else self._slices
        complete = not self.positions or len(self.positions) == len(wanted)
        for slice_ in wanted:
            self.positions.setdefault(slice_, START)
        return complete

    def on_batch(self, batch: SourceBatch, now_us: int) -> SourceBatch | None:
        """The batch if it goes on from the one before, None for a duplicate; StreamGapError."""
        self._heard_us = now_us
        if self._started is None:
            raise MalformedMessageError("a call's answer", "a batch came before Started")
        before = self.positions.get(batch.slice)
        if before is None:
            raise MalformedMessageError("a batch", f"slice {batch.slice} was not asked for")
        if batch.base_offset > before.offset:
            where = f"{self._where()} slice {batch.slice}"
            raise StreamGapError(where, before.offset, batch.base_offset)
        cost = cost_of(batch)
        self._outstanding = _sum(self._outstanding, cost)
        if batch.next_offset <= before.offset:
            self.on_handled(cost)
            return None
        self.positions[batch.slice] = Position(batch.next_offset, batch.commits[-1].write_id)
        return batch

    def on_beat(self, now_us: int) -> None:
        self._heard_us = now_us

    def on_replica(self, changed: ReplicaStarted, now_us: int) -> ReplicaStarted:
        """Something changed at the replica whose stream this is."""
        self._heard_us = now_us
        if self._started is None:
            raise MalformedMessageError("a call's answer", "it changed before Started")
        self._check_replica(changed)
        return changed

    def _check_replica(self, said: ReplicaStarted | None) -> None:
        asked = self._replica
        if asked is None:
            if said is not None:
                raise MalformedMessageError("a call's answer", "it speaks of replicas, we did not")
            return
        if said is None:
            raise MalformedMessageError("a call's answer", "it does not say which replica it is")
        if said.replica_id != self._expected:
            raise WrongReplicaError(self._peer, self._expected, said.replica_id)
        if said.entity_type != asked.entity_type:
            raise OtherEntityTypeError(self._peer, asked.entity_type, said.entity_type)

    def on_in_force(self, said: FilterInForce, now_us: int) -> FilterInForce:
        """A version is in force from now on; starts of slices that were not asked for are left
        out."""
        self._heard_us = now_us
        for slice_, start in said.starts.items():
            before = self.positions.get(slice_)
            if before is not None and start > before.offset:
                where = f"{self._where()} slice {slice_}"
                raise StreamGapError(where, before.offset, start)
        starts = {
            slice_: start for slice_, start in said.starts.items() if slice_ in self.positions
        }
        return FilterInForce(said.version, starts)

    def on_handled(self, cost: Credit) -> None:
        """Batches of this cost are handled for good."""
        self._due = _sum(self._due, cost)
        self._outstanding = _less(self._outstanding, cost)

    # --- what goes ---

    def take_credit(self) -> Credit | None:
        """Credit to give back now: by quarters of the window, or when nothing is left unhandled."""
        due, outstanding, window = self._due, self._outstanding, self._window
        if due == (0, 0):
            return None
        much = due.bytes * 4 >= window.bytes or due.events * 4 >= window.events
        if not much and (outstanding.events > 0 or outstanding.bytes > 0):
            return None
        self._due = Credit(0, 0)
        return due

    def change_filter(self, wanted: VersionedFilter) -> None:
        """To be sent on this call, if it was begun with another one."""
        self._wanted = wanted

    def take_filter(self) -> VersionedFilter | None:
        """A filter that the producer has not been told of."""
        if self._told.version == self._wanted.version:
            return None
        self._told = self._wanted
        return self._told

    def know(self, known: Known) -> None:
        """Tell the producer what we have by now; what it was not told yet is joined with it."""
        before = self._known.origins if self._known is not None else ()
        origins = {(one.replica, one.generation): one for one in (*before, *known.origins)}
        self._known = known._replace(origins=tuple(origins.values()))

    def take_known(self) -> Known | None:
        """What the producer has not been told of."""
        if self._started is None:
            return None
        known, self._known = self._known, None
        return known

    def on_sent(self, now_us: int) -> None:
        """Something went out: no beat is due for an interval."""
        self._sent_us = now_us

    def beat_due(self, now_us: int) -> bool:
        return now_us - self._sent_us >= self._heartbeat_ms * 1000

    def check_alive(self, now_us: int) -> None:
        """PeerSilentError when nothing came for three intervals."""
        silent_ms = (now_us - self._heard_us) // 1000
        if silent_ms > SILENT_INTERVALS * self._heartbeat_ms:
            raise PeerSilentError(self._peer, silent_ms)

    @property
    def heartbeat_ms(self) -> int:
        """The interval in force."""
        return self._heartbeat_ms

    @property
    def started(self) -> bool:
        """The producer answered."""
        return self._started is not None

    @property
    def has_room(self) -> bool:
        """The window is not used up. Before that no call is to be begun: on each a producer may
        send one commit without any credit, and what comes back would be more than the window."""
        left = _less(self._window, self._outstanding)
        return left.bytes > 0 and left.events > 0

    @property
    def outstanding(self) -> Credit:
        """Handed over and not handled, for the next call."""
        return self._outstanding

    def _where(self) -> str:
        return f"{self._stream_id} of {self._peer}"


def _less(one: Credit, other: Credit) -> Credit:
    return Credit(one.bytes - other.bytes, one.events - other.events)


def _sum(one: Credit, other: Credit) -> Credit:
    return Credit(one.bytes + other.bytes, one.events + other.events)

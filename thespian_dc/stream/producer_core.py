"""A producer's end of one call: what to send next, how much, and when the consumer is gone. Pure.

in: Start, Credit and Beat of the consumer, commits that are there, time    out: batches, beats, or
an error Laws:
- A slice's batches are contiguous: each begins where the one before ended.
- Nothing is sent beyond the credit, but with nothing outstanding one commit may always be, and
  commits of which nothing passed need none.
- Slices take turns: one that has much does not hold up another; while one waits for credit, no
  other takes it away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from thespian_dc.model.position import START
from thespian_dc.model.stream_errors import (
    PeerSilentError,
    ProtocolVersionError,
    SliceOutOfRangeError,
    WrongFirstMessageError,
)
from thespian_dc.projection.api import CommitView, SourceBatch
from thespian_dc.stream.batches import events_of
from thespian_dc.wire.conversion import PROTOCOL, Beat, Credit, FromConsumer, Start

BATCH_BYTES_MAX = 256 << 10
BATCH_EVENTS_MAX = 1000
HEARTBEAT_MS = (100, 2_000, 60_000)
"""Least, default (where a consumer names none) and greatest interval."""
SILENT_INTERVALS = 3


def check_start(message: FromConsumer | None) -> Start:
    """The call's first message as a Start of our protocol; WrongFirstMessageError otherwise."""
    if not isinstance(message, Start):
        found = "the end of the call" if message is None else type(message).__name__
        raise WrongFirstMessageError(found)
    if message.protocol != PROTOCOL:
        raise ProtocolVersionError(message.protocol, PROTOCOL)
    return message


class ProducerCore:
    """One call. slices: the entity type's count; raises SliceOutOfRangeError for positions beyond
    it."""

    def __init__(self, start: Start, slices: int, peer: str, now_us: int) -> None:
        for slice_ in start.positions:
            if slice_ >= slices:
                raise SliceOutOfRangeError(start.stream_id, slice_, slices)
        wanted = start.positions or dict.fromkeys(range(slices), START)
        self.offsets = {slice_: at.offset for slice_, at in wanted.items()}
        """The next offset to send, by slice."""
        least, default, greatest = HEARTBEAT_MS
        self.heartbeat_ms = min(max(start.heartbeat_ms or default, least), greatest)
        self._peer = peer
        self._initial, self._granted, self._sent = start.credit, start.credit, Credit(0, 0)
        # Slices that may have something to send, in the order of their turns.
        self._turns = deque(self.offsets)  # bounded by the slice count
        self._waiting: set[int] = set()
        self._first_in_line: int | None = None  # the slice that waits for credit
        self._heard_us = self._sent_us = now_us

    # --- what comes ---

    def on_message(self, message: FromConsumer, now_us: int) -> None:
        """Credit or Beat; a second Start is WrongFirstMessageError."""
        self._heard_us = now_us
        if isinstance(message, Credit):
            granted = self._granted
            self._granted = Credit(granted.bytes + message.bytes, granted.events + message.events)
        elif not isinstance(message, Beat):
            raise WrongFirstMessageError("a second Start")

    def on_ready(self, slice_: int) -> None:
        """There may be something at the slice's offset now."""
        if slice_ in self._waiting:
            self._waiting.discard(slice_)
            self._turns.append(slice_)

    # --- what goes ---

    def turns(self) -> list[int]:
        """The slices to look at, in order: read at `offsets[slice]`, then `form` or
        `on_nothing`."""
        return list(self._turns)

    def on_nothing(self, slice_: int) -> None:
        """Nothing is there; it takes no turn until `on_ready`."""
        self._turns.remove(slice_)
        self._waiting.add(slice_)

    def form(self, slice_: int, commits: Sequence[CommitView], head: int) -> SourceBatch | None:
        """The next batch of the slice from what is there, or None until there is more credit."""
        base = self.offsets[slice_]
        taken: list[CommitView] = []
        size = events = 0
        behind = self._first_in_line not in {None, slice_}
        for commit in commits:
            if behind and commit.body:
                break
            more = events_of(commit, base)
            cost = Credit(size + len(commit.body), events + more)
            full = cost.bytes > BATCH_BYTES_MAX or cost.events > BATCH_EVENTS_MAX
            if (taken and full) or not self._may_send(cost, alone=not taken):
                break
            taken.append(commit)
            size, events = cost
        if not taken:
            self._first_in_line = self._first_in_line if behind else slice_
            return None
        if not behind:
            self._first_in_line = None
        self._sent = Credit(self._sent.bytes + size, self._sent.events + events)
        self.offsets[slice_] = end = taken[-1].end_offset
        self._turns.remove(slice_)
        self._turns.append(slice_)
        return SourceBatch(slice_, base, end, max(head, end), taken)

    def _may_send(self, cost: Credit, alone: bool = True) -> bool:
        """Does this fit? alone: the commit is the first of its batch, which the law lets
        through."""
        if cost == (0, 0):
            return True
        left = Credit(
            self._granted.bytes - self._sent.bytes, self._granted.events - self._sent.events
        )
        if cost.bytes <= left.bytes and cost.events <= left.events:
            return True
        # What came back of what was sent: all of it, and nothing is outstanding.
        returned = Credit(
            self._granted.bytes - self._initial.bytes, self._granted.events - self._initial.events
        )
        idle = returned.events >= self._sent.events and returned.bytes >= self._sent.bytes
        return idle and alone

    # --- time ---

    def on_sent(self, now_us: int) -> None:
        """Something went out: no beat is due for an interval."""
        self._sent_us = now_us

    def beat_due(self, now_us: int) -> bool:
        """Is a heartbeat due? PeerSilentError when the consumer's own are missing."""
        silent_ms = (now_us - self._heard_us) // 1000
        if silent_ms > SILENT_INTERVALS * self.heartbeat_ms:
            raise PeerSilentError(self._peer, silent_ms)
        return now_us - self._sent_us >= self.heartbeat_ms * 1000

    def wakeup_us(self) -> int:
        """When to ask `beat_due` again."""
        silent_us = self._heard_us + (SILENT_INTERVALS * self.heartbeat_ms + 1) * 1000
        return min(self._sent_us + self.heartbeat_ms * 1000, silent_us)

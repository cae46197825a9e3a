"""A producer's end of one call: what to send next, how much, and when the consumer is gone. Pure.

in: Start, Credit, filters, Known and Beat of the consumer, commits that are there, time
out: batches, answers to filters, beats, or an error

Laws:
- A slice's batches are contiguous: each begins where the one before ended.
- Nothing is sent beyond the credit, but with nothing outstanding one commit may always be, and
  commits of which nothing passes need none. These are joined, and wait a little for one of which
  something does.
- What a replica stream leaves out (leaving_out.py) costs nothing either; the position moves on.
- A batch is evaluated under one filter; a new one counts from the batch that is formed next.
- Slices take turns: one that has much does not hold up another; while one waits for credit, no
  other takes it away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

from thespian_dc.model.criteria import UNFILTERED, FilterInForce, VersionedFilter
from thespian_dc.model.position import START
from thespian_dc.model.replication_handshake import Known
from thespian_dc.model.stream_errors import (
    MalformedMessageError,
    PeerSilentError,
    ProtocolVersionError,
    SliceOutOfRangeError,
    WrongFirstMessageError,
)
from thespian_dc.model.topics import PREFIX
from thespian_dc.projection.api import (
    CommitView,
    Facts,
    FactsCache,
    Selector,
    SourceBatch,
    append_empty,
)
from thespian_dc.stream.batches import events_of
from thespian_dc.stream.leaving_out import LeavingOut, ReplicaFacts, ReplicaSelector
from thespian_dc.wire.conversion import (
    PROTOCOL,
    Beat,
    Credit,
    FromConsumer,
    Offer,
    Start,
)

BATCH_BYTES_MAX = 256 << 10
BATCH_EVENTS_MAX = 1000
HELD_US = 200_000
HELD_EVENTS_MAX = 100_000
"""How long, and of how many events, a position is held back where nothing passes."""
HEARTBEAT_MS = (100, 2_000, 60_000)
"""Least, default (where a consumer names none) and greatest interval."""
SILENT_INTERVALS = 3
First = TypeVar("First", Start, Offer)


def check_first(kind: type[First], message: object) -> First:
    """The call's first message, None where there is none, as one of this kind and of our protocol;
    WrongFirstMessageError, ProtocolVersionError."""
    if not isinstance(message, kind):
        found = "the end of the call" if message is None else type(message).__name__
        raise WrongFirstMessageError(found)
    if message.protocol != PROTOCOL:
        raise ProtocolVersionError(message.protocol, PROTOCOL)
    return message


class _Turn:
    """A slice of the call: what was sent of it, and what was looked through behind that."""

    __slots__ = ("base", "held", "since_us")

    def __init__(self, base: int) -> None:
        self.base = base  # the next batch begins here
        self.held: CommitView | None = None  # from there on nothing passes; not sent yet
        self.since_us = 0  # when that began

    @property
    def offset(self) -> int:
        return self.held.end_offset if self.held is not None else self.base


class ProducerCore:
    """One call. slices: the entity type's count; raises SliceOutOfRangeError for positions beyond
    it, and what a filter that cannot be evaluated raises. facts: shared by the stream's calls.
    topic_prefix: of the tags that are topics. leaving_out: of a call between replicas, with facts
    of ReplicaFacts."""

    def __init__(
        self,
        start: Start,
        slices: int,
        peer: str,
        now_us: int,
        facts: FactsCache[Any] | None = None,
        topic_prefix: str = PREFIX,
        leaving_out: LeavingOut | None = None,
    ) -> None:
        for slice_ in start.positions:
            if slice_ >= slices:
                raise SliceOutOfRangeError(start.stream_id, slice_, slices)
        wanted = start.positions or dict.fromkeys(range(slices), START)
        self._slices = {slice_: _Turn(at.offset) for slice_, at in wanted.items()}
        least, default, greatest = HEARTBEAT_MS
        self.heartbeat_ms = min(max(start.heartbeat_ms or default, least), greatest)
        self._peer = peer
        self._leaving_out = leaving_out
        if facts is None:
            facts = FactsCache(Facts if leaving_out is None else ReplicaFacts)
        self._facts, self._topic_prefix = facts, topic_prefix
        self._selector = self._selector_of(start.filter)
        self._answer_due = start.filter != UNFILTERED
        self._initial, self._granted, self._sent = start.credit, start.credit, Credit(0, 0)
        # Slices that may have something to send, in the order of their turns.
        self._turns = deque(self._slices)  # bounded by the slice count
        self._waiting: set[int] = set()
        self._first_in_line: int | None = None  # the slice that waits for credit
        self._heard_us = self._sent_us = now_us

    def _selector_of(self, wanted: VersionedFilter) -> Selector:
        if self._leaving_out is not None:
            return ReplicaSelector(wanted, self._facts, self._topic_prefix, self._leaving_out)
        return Selector(wanted, self._facts, self._topic_prefix)

    # --- what comes ---

    def on_message(self, message: FromConsumer, now_us: int) -> None:
        """Credit, Beat, a filter, what a replica has; a second Start is WrongFirstMessageError."""
        self._heard_us = now_us
        if isinstance(message, Credit):
            granted = self._granted
            self._granted = Credit(granted.bytes + message.bytes, granted.events + message.events)
        elif isinstance(message, VersionedFilter):
            self._change_filter(message)
        elif isinstance(message, Known):
            if self._leaving_out is None:
                raise MalformedMessageError("a Known", "it belongs to replica streams")
            # What was looked through under lower positions is left out all the more.
            self._leaving_out.know(message.origins)
        elif not isinstance(message, Beat):
            raise WrongFirstMessageError("a second Start")

    def _change_filter(self, wanted: VersionedFilter) -> None:
        if wanted.version < self._selector.version:
            reason = f"version {wanted.version} came after {self._selector.version}"
            raise MalformedMessageError("a Filter", reason)
        self._selector = self._selector_of(wanted)
        self._answer_due = True
        for slice_, turn in self._slices.items():
            if turn.held is not None:  # looked through under the old one, and not sent
                turn.held = None
                self.on_ready(slice_)

    def on_ready(self, slice_: int) -> None:
        """There may be something at the slice's offset now."""
        if slice_ in self._waiting:
            self._waiting.discard(slice_)
            self._turns.append(slice_)

    def look_again(self) -> None:
        """What stands at the offsets may be seen otherwise now."""
        for slice_ in list(self._waiting):
            self.on_ready(slice_)

    @property
    def selector(self) -> Selector:
        """Of the filter in force."""
        return self._selector

    # --- what goes ---

    def take_answer(self) -> FilterInForce | None:
        """What is to be sent before the next batch, where a filter came. Of several that came
        meanwhile only the last was ever in force."""
        if not self._answer_due:
            return None
        self._answer_due = False
        starts = {slice_: turn.base for slice_, turn in self._slices.items()}
        return FilterInForce(self._selector.version, starts)

    def offset(self, slice_: int) -> int:
        """Where to read on in the slice."""
        return self._slices[slice_].offset

    @property
    def sent(self) -> dict[int, int]:
        """By slice, the offset below which all was sent."""
        return {slice_: turn.base for slice_, turn in self._slices.items()}

    @property
    def unhandled(self) -> int:
        """Events sent whose credit has not come back: nobody says that they are handled."""
        return self._sent.events - (self._granted.events - self._initial.events)

    def turns(self) -> list[int]:
        """The slices to look at, in order: read at `offset(slice)`, then `form` or `on_nothing`."""
        return list(self._turns)

    def on_nothing(self, slice_: int) -> None:
        """Nothing is there; it takes no turn until `on_ready`."""
        self._turns.remove(slice_)
        self._waiting.add(slice_)

    def form(
        self, slice_: int, commits: Sequence[CommitView], head: int, now_us: int
    ) -> SourceBatch | None:
        """The next batch of the slice from what is there.

        None where nothing of it passes, which is held for the batch that follows (the offset has
        moved on), or where more credit is needed.
        """
        turn = self._slices[slice_]
        taken, size, events = [turn.held] if turn.held else [], 0, 0
        behind = self._first_in_line not in {None, slice_}
        blocked = False
        for stored in commits:
            commit = self._selector.select(slice_, stored)
            more = events_of(commit, turn.base)
            if not more:
                commit = commit._replace(body=b"", kept=()) if commit.body else commit
                append_empty(taken, commit)
                continue
            alone = not events
            cost = Credit(size + len(commit.body), events + more)
            full = cost.bytes > BATCH_BYTES_MAX or cost.events > BATCH_EVENTS_MAX
            blocked = behind or not self._may_send(cost, alone)
            if blocked or (full and not alone):
                break
            taken.append(commit)
            size, events = cost
        if not behind:
            self._first_in_line = slice_ if blocked and not events else None
        if not events:
            return self._hold(slice_, taken, head, now_us)
        return self._batch(slice_, taken, head, Credit(size, events))

    def _hold(
        self, slice_: int, taken: list[CommitView], head: int, now_us: int
    ) -> SourceBatch | None:
        """Nothing passes: a position is enough, and a few of them a second."""
        turn = self._slices[slice_]
        if not taken or taken[0] is turn.held:
            return None
        turn.since_us = now_us if turn.held is None else turn.since_us
        turn.held = taken[0]
        self._turns.remove(slice_)
        self._turns.append(slice_)
        if turn.offset - turn.base < HELD_EVENTS_MAX:
            return None
        return self._batch(slice_, taken, head, Credit(0, 0))

    def held_long(self, now_us: int) -> int | None:
        """A slice whose position is to be sent though nothing of it passes: call `let_go`."""
        for slice_, turn in self._slices.items():
            if turn.held is not None and now_us - turn.since_us >= HELD_US:
                return slice_
        return None

    def let_go(self, slice_: int, head: int) -> SourceBatch:
        """The batch of what is held of a slice."""
        held = self._slices[slice_].held
        assert held is not None
        return self._batch(slice_, [held], head, Credit(0, 0))

    def _batch(self, slice_: int, taken: list[CommitView], head: int, cost: Credit) -> SourceBatch:
        turn, end = self._slices[slice_], taken[-1].end_offset
        batch = SourceBatch(
            slice_, turn.base, end, max(head, end), taken, self._selector.version
        )  # fmt: skip
        self._sent = Credit(self._sent.bytes + cost.bytes, self._sent.events + cost.events)
        turn.base, turn.held = end, None
        if slice_ in self._turns:
            self._turns.remove(slice_)
            self._turns.append(slice_)
        return batch

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
        """When to ask `beat_due` and `held_long` again."""
        silent_us = self._heard_us + (SILENT_INTERVALS * self.heartbeat_ms + 1) * 1000
        held = (turn.since_us + HELD_US for turn in self._slices.values() if turn.held is not None)
        return min(self._sent_us + self.heartbeat_ms * 1000, silent_us, *held)

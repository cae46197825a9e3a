"""What to do with what comes from one peer: which commands go to which entities, how far its log is
taken over, what waits. Pure.

in: batches, outcomes of commands, answers to lookups, ids that came into scope, pokes, time
out: Submit, Handled, LookUp, GetState
Laws:
- The cursor of a slice passes a batch when each of its events is taken (durably), known, or set
  aside; batches behind it may be done before. What is lost with this process comes again.
- One command of an entity is under way at a time, with its events in the peer's order.
- An event that waits for another one holds its entity and the cursor of its slice, nothing else.
  It is tried again when another link brought something to the entity, and now and then. After
  `look_up_after_us`, or at once where a filter is in force, the entity is read from the peer from
  its first event: it is behind, and what comes of it meanwhile is left to that reading.
- Bounded: batches by the source's window; what blocked entities keep gives its credit back only up
  to BLOCKED_EVENTS_MAX (one that is behind counts as one event); above it the window fills and
  nothing more comes. LOOK_UPS_MAX at once.

Long because a batch, an entity and a reading are three views of one state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from thespian_dc.entity.api import Absorbed, Replicated, ReplicatedState
from thespian_dc.model.ids import slice_of
from thespian_dc.model.position import START, Position
from thespian_dc.model.replication import Listed
from thespian_dc.projection.api import Lookup, SourceBatch
from thespian_dc.replication.pending import (
    PAUSE_US,
    Lane,
    Pending,
    Portion,
    Reading,
    Tracked,
    Waited,
)
from thespian_dc.replication.reading import Item

COMMAND_EVENTS_MAX = 500
COMMAND_BYTES_MAX = 256 << 10
"""Of the payloads in one command; a single event may be larger."""
BLOCKED_EVENTS_MAX = 20_000
LOOK_UPS_MAX = 8
LISTED_MAX = 1_000


class Submit(NamedTuple):
    """Send this to the entity; then on_outcome or on_failed."""

    pending: Pending
    command: Replicated | ReplicatedState


class Handled(NamedTuple):
    """The batch's credit may be given back."""

    batch: SourceBatch


class LookUp(NamedTuple):
    """Ask the peer; then on_looked_up, on_trimmed or on_look_up_failed."""

    lookup: Lookup


class GetState(NamedTuple):
    """Ask the peer for the entity's state; then on_state or on_look_up_failed. fresh: the one that
    it has stored was not enough."""

    entity_id: str
    fresh: bool


class Blocked(NamedTuple):
    """Why the cursor of a slice stands still, for people. missing: (replica, n) that must come
    first. text: what else is wrong."""

    slice: int
    entity_id: str
    since_us: int
    missing: tuple[str, int] | None
    text: str


Action = Submit | Handled | LookUp | GetState


class LinkCore:
    """One peer. cursors: of slices that were read before. filtered: a filter is in force, so that
    an entity's earlier events may have been left out."""

    def __init__(
        self,
        peer: str,
        slices: int,
        cursors: Mapping[int, Position],
        look_up_after_us: int,
        filtered: bool = False,
    ) -> None:
        self.peer, self.slices, self.filtered = peer, slices, filtered
        self._look_up_after_us = look_up_after_us
        self._lanes = [Lane(cursors.get(number, START)) for number in range(slices)]
        self._pending: dict[str, Pending] = {}
        self._blocked: dict[str, Pending] = {}
        self._blocked_events = 0
        self._due: list[tuple[int, int, Pending]] = []
        self._dues = 0
        self._to_read: dict[str, Pending] = {}
        self._read_now = 0
        self.coming_in: set[str] = set()
        """Ids that came into scope and are not caught up yet."""
        self.taken = 0
        """Events that are here now, or were before."""
        self.counts: Counter[str] = Counter()
        self.listed: dict[tuple[str, str, str], Listed] = {}
        """The last ones of LISTED_MAX."""

    def cursors(self) -> dict[int, Position]:
        """By slice: all below is done."""
        return {number: lane.cursor for number, lane in enumerate(self._lanes)}

    def blocked(self, limit: int) -> list[Blocked]:
        """Entities that something holds up, the longest first."""
        eldest = sorted(self._blocked.values(), key=lambda one: one.since_us)[:limit]
        return [Blocked(p.slice, p.entity_id, p.since_us, p.missing, p.text) for p in eldest]

    @property
    def blocked_count(self) -> int:
        return len(self._blocked)

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and nothing waits."""
        return not self._pending

    def wakeup_us(self) -> int | None:
        """When on_tick is due."""
        return self._due[0][0] if self._due else None

    # --- inputs ---

    def on_batch(
        self, batch: SourceBatch, by_entity: Mapping[str, list[Item]], now_us: int
    ) -> list[Action]:
        """The next one of its slice, and what it holds."""
        actions: list[Action] = []
        lane, tracked = self._lanes[batch.slice], Tracked(batch)
        lane.batches.append(tracked)
        for entity_id, items in by_entity.items():
            pending = self._pending.get(entity_id)
            if pending is None:
                pending = self._pending[entity_id] = Pending(entity_id, batch.slice)
                pending.portions.append(Portion(items, tracked, is_open=True))
                tracked.left += 1
                tracked.open += 1
                self._submit(pending, actions)
            elif pending.reading is not None:
                self._leave_to(pending.reading, tracked)
            else:
                has_room = pending.is_blocked and self._blocked_events < BLOCKED_EVENTS_MAX
                pending.portions.append(Portion(items, tracked, is_open=not has_room))
                tracked.left += 1
                tracked.open += not has_room
                self._blocked_events += len(items) if pending.is_blocked else 0
        if not tracked.open:
            self._give_back(tracked, actions)
        if not tracked.left:
            lane.advance()
        lane.tidy()
        return actions

    def on_outcome(self, pending: Pending, outcome: Absorbed, now_us: int) -> list[Action]:
        """What became of the entity's command."""
        actions: list[Action] = []
        taken, pending.taken = pending.taken, 0
        reason, through = outcome.reason, min(outcome.through, taken)
        self.taken += through
        if outcome.listed:
            self._list(outcome.listed)
        passed = min(taken, through + 1) if reason == "set_aside" else through
        if passed:
            if pending.is_blocked:
                self._unblock(pending)
            self._pass(pending, passed, actions)
        if reason == "set_aside" and any(one.what == "forked" for one in outcome.listed):
            self._pass_all(pending, actions)
        if reason == "waits":
            self._wait(pending, outcome.missing, now_us, actions)
            pending.text = str(outcome.error or "")
        elif reason == "delayed":
            due_us = now_us + max(1_000, outcome.delay_us)
            self._block(pending, "its class delays it", now_us, due_us, actions)
        elif not passed:
            text = f"the entity answered {outcome.reason or 'nothing'!r}"
            self._retry_later(pending, text, now_us, actions)
        else:
            self._go_on(pending, actions)
        return actions

    def on_failed(self, pending: Pending, text: str, now_us: int) -> list[Action]:
        """The command came to nothing, or nobody knows: it is sent again after a pause."""
        actions: list[Action] = []
        pending.taken = 0
        self._retry_later(pending, text, now_us, actions)
        return actions

    def on_looked_up(
        self, entity_id: str, items: list[Item], complete_through: int, below: int, more: bool
    ) -> list[Action]:
        """A piece of what the peer has of an entity."""
        actions: list[Action] = []
        pending = self._read_of(entity_id)
        if pending is not None:
            reading = pending.reading
            assert reading is not None
            reading.page, reading.next = items, complete_through + 1
            reading.below, reading.more = below, more
            self._go_on(pending, actions)
        return actions

    def on_trimmed(self, entity_id: str) -> list[Action]:
        """The peer has not all of the entity's events any more."""
        pending = self._read_of(entity_id)
        if pending is None or pending.reading is None:
            return []
        return [GetState(entity_id, pending.reading.is_stale)]

    def on_state(self, entity_id: str, state: ReplicatedState, seq_nr: int) -> list[Action]:
        """The state that the peer has of an entity, and the peer's seq_nr of it."""
        return self.on_looked_up(entity_id, [state], seq_nr, 0, more=True)

    def on_look_up_failed(self, entity_id: str, text: str, now_us: int) -> list[Action]:
        """It is asked again after a pause."""
        actions: list[Action] = []
        pending = self._read_of(entity_id)
        if pending is not None and pending.reading is not None:
            pending.reading.is_stale = False
            self._pause_reading(pending, actions)
            self._retry_later(pending, text, now_us, actions)
        return actions

    def come_in(self, entity_ids: Iterable[str]) -> list[Action]:
        """These came into scope: each is read from its first event."""
        actions: list[Action] = []
        for entity_id in entity_ids:
            self.coming_in.add(entity_id)
            pending = self._pending.get(entity_id)
            if pending is None:
                number = slice_of(entity_id, self.slices)
                pending = self._pending[entity_id] = Pending(entity_id, number)
            if pending.taken or pending.reading is not None:
                pending.is_read = True
            else:
                self._fall_behind(pending, actions)
        return actions

    def poke(self, entity_ids: Iterable[str], now_us: int) -> list[Action]:
        """Another link brought something to these: what waits for it is tried at once."""
        actions: list[Action] = []
        for entity_id in entity_ids if self._blocked else ():
            pending = self._blocked.get(entity_id)
            if pending is not None and pending.missing is not None and not pending.taken:
                self._try_again(pending, actions)
        return actions

    def on_tick(self, now_us: int) -> list[Action]:
        actions: list[Action] = []
        while self._due and self._due[0][0] <= now_us:
            _, _, pending = heappop(self._due)
            is_due = pending.is_blocked and pending.due_us and pending.due_us <= now_us
            if is_due and not pending.taken:
                self._try_again(pending, actions)
        return actions

    # --- commands ---

    def _go_on(self, pending: Pending, actions: list[Action]) -> None:
        """With what is next for an entity of which nothing is under way."""
        if pending.is_read:
            pending.is_read = False
            self._fall_behind(pending, actions)
        elif pending.reading is not None:
            reading = pending.reading
            if reading.page:
                self._submit(pending, actions)
            elif reading.more or reading.until > reading.below:
                self._look_up(pending, reading, actions)
            else:
                self._caught_up(pending, reading, actions)
        elif pending.portions:
            self._submit(pending, actions)
        else:
            if pending.is_blocked:
                self._unblock(pending)
            del self._pending[pending.entity_id]

    def _submit(self, pending: Pending, actions: list[Action]) -> None:
        reading = pending.reading
        source = [reading.page] if reading is not None else [one.items for one in pending.portions]
        chosen = _first_of(source)
        pending.taken, pending.due_us = len(chosen), 0
        first = chosen[0]
        if isinstance(first, ReplicatedState):
            actions.append(Submit(pending, first))
        else:
            events: Any = tuple(chosen)  # all of them RemoteEvents: see _first_of
            actions.append(Submit(pending, Replicated(events, self.peer)))

    def _pass(self, pending: Pending, count: int, actions: list[Action]) -> None:
        """The first items are done."""
        if pending.reading is not None:
            del pending.reading.page[:count]
            pending.reading.is_stale = False
            return
        portions = pending.portions
        while count:
            first = portions[0]
            if len(first.items) > count:
                del first.items[:count]
                return
            count -= len(first.items)
            self._finish(pending, portions.popleft(), actions)

    def _pass_all(self, pending: Pending, actions: list[Action]) -> None:
        """An entity that is set aside as a whole: nothing of it is taken."""
        if pending.reading is not None:
            pending.reading.page, pending.reading.more = [], False
            pending.reading.below = pending.reading.until
        while pending.portions:
            self._finish(pending, pending.portions.popleft(), actions)

    # --- waiting ---

    def _wait(
        self, pending: Pending, missing: tuple[str, int] | None, now_us: int,
        actions: list[Action],
    ) -> None:  # fmt: skip
        since_us = pending.since_us if pending.is_blocked else now_us
        waited = pending.waited
        if not pending.is_blocked and waited is not None and waited.missing == missing:
            since_us, pending.pause_us = waited.since_us, waited.pause_us
        overdue = self.filtered or now_us - since_us >= self._look_up_after_us
        has_room = self._blocked_events < BLOCKED_EVENTS_MAX
        if overdue and has_room and pending.reading is None:
            self._fall_behind(pending, actions)
            self._block(pending, "", now_us, 0, actions)
        else:
            self._retry_later(pending, "", now_us, actions)
            if pending.reading is not None:  # the peer itself has not what it waits for
                first = pending.reading.page[0]
                pending.reading.is_stale = missing is not None and type(first) is ReplicatedState
                self._pause_reading(pending, actions)
        pending.missing, pending.since_us = missing, since_us

    def _retry_later(self, pending: Pending, text: str, now_us: int, actions: list[Action]) -> None:
        due_us = now_us + pending.pause_us
        pending.pause_us = min(pending.pause_us * 2, PAUSE_US[1])
        self._block(pending, text, now_us, due_us, actions)

    def _block(
        self, pending: Pending, text: str, now_us: int, due_us: int, actions: list[Action]
    ) -> None:
        pending.text, pending.missing = text, None
        pending.due_us = due_us
        if due_us:
            self._dues += 1
            heappush(self._due, (due_us, self._dues, pending))
        if pending.is_blocked:
            return
        pending.is_blocked, pending.since_us = True, now_us
        self._blocked[pending.entity_id] = pending
        for portion in pending.portions:
            self._blocked_events += len(portion.items)
            if self._blocked_events <= BLOCKED_EVENTS_MAX:
                self._close(portion, actions)

    def _unblock(self, pending: Pending) -> None:
        if pending.missing is not None:
            pending.waited = Waited(pending.missing, pending.since_us, pending.pause_us)
        pending.is_blocked, pending.missing, pending.text = False, None, ""
        pending.pause_us, pending.due_us = PAUSE_US[0], 0
        del self._blocked[pending.entity_id]
        self._blocked_events -= sum(len(one.items) for one in pending.portions)

    def _try_again(self, pending: Pending, actions: list[Action]) -> None:
        reading = pending.reading
        if reading is None or not reading.is_under_way:
            self._go_on(pending, actions)
        elif reading.page:
            self._submit(pending, actions)

    # --- reading an entity as a whole ---

    def _fall_behind(self, pending: Pending, actions: list[Action]) -> None:
        """What came of the entity is left to a reading from its first event."""
        if pending.is_blocked:
            self._blocked_events -= sum(len(one.items) for one in pending.portions)
        reading = pending.reading
        if reading is not None:  # from the first event again
            reading.next, reading.more, reading.page = 1, True, []
        else:
            reading = pending.reading = Reading()
            self._blocked_events += 1
        while pending.portions:
            portion = pending.portions.popleft()
            self._leave_to(reading, portion.batch)
            self._close(portion, actions)
            self._left(pending.slice, portion.batch)
        self._look_up(pending, reading, actions)

    def _leave_to(self, reading: Reading, batch: Tracked) -> None:
        reading.until = batch.end
        if reading.hold is None:
            reading.hold = batch
            batch.left += 1

    def _look_up(self, pending: Pending, reading: Reading, actions: list[Action]) -> None:
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

    def _pause_reading(self, pending: Pending, actions: list[Action]) -> None:
        """Another entity may be read meanwhile; what was read of this one is read again."""
        reading = pending.reading
        assert reading is not None
        reading.page, reading.next, reading.more = [], reading.from_seq_nr, True
        self._read_others(reading, actions)

    def _read_others(self, reading: Reading, actions: list[Action]) -> None:
        if not reading.is_under_way:
            return
        reading.is_under_way = False
        self._read_now -= 1
        while self._to_read and self._read_now < LOOK_UPS_MAX:
            other = self._to_read.pop(next(iter(self._to_read)))
            if other.reading is not None and not other.reading.is_under_way:
                self._look_up(other, other.reading, actions)

    def _caught_up(self, pending: Pending, reading: Reading, actions: list[Action]) -> None:
        pending.reading = None
        self._blocked_events -= 1
        self.coming_in.discard(pending.entity_id)
        if reading.hold is not None:
            self._left(pending.slice, reading.hold)
        self._read_others(reading, actions)
        self._go_on(pending, actions)

    def _read_of(self, entity_id: str) -> Pending | None:
        """The entity if an answer about it is waited for."""
        pending = self._pending.get(entity_id)
        reading = None if pending is None else pending.reading
        waited_for = reading is not None and reading.is_under_way and not reading.page
        return pending if pending is not None and waited_for and not pending.taken else None

    # --- batches ---

    def _finish(self, pending: Pending, portion: Portion, actions: list[Action]) -> None:
        if portion.is_open:
            self._close(portion, actions)
        self._left(pending.slice, portion.batch)

    def _close(self, portion: Portion, actions: list[Action]) -> None:
        """It does not hold the batch's credit any more."""
        if portion.is_open:
            portion.is_open = False
            portion.batch.open -= 1
            if not portion.batch.open:
                self._give_back(portion.batch, actions)

    def _give_back(self, tracked: Tracked, actions: list[Action]) -> None:
        if tracked.batch is not None:
            actions.append(Handled(tracked.batch))
            tracked.batch = None

    def _left(self, slice_: int, tracked: Tracked) -> None:
        tracked.left -= 1
        if not tracked.left:
            self._lanes[slice_].advance()

    def _list(self, listed: Sequence[Listed]) -> None:
        for one in listed:
            self.counts[one.what] += 1
            key = (one.what, one.entity_id, one.origin)
            self.listed.pop(key, None)
            self.listed[key] = one
        while len(self.listed) > LISTED_MAX:
            del self.listed[next(iter(self.listed))]


def _first_of(source: Sequence[Sequence[Item]]) -> Sequence[Item]:
    """The items of one command: a state alone, or events up to the bounds."""
    if len(source) == 1 and len(source[0]) == 1:
        return source[0]
    chosen: list[Item] = []
    size = 0
    for items in source:
        for item in items:
            size += len(item.payload)
            is_state = isinstance(item, ReplicatedState)
            if chosen and (
                is_state or size > COMMAND_BYTES_MAX or len(chosen) >= COMMAND_EVENTS_MAX
            ):
                return chosen
            chosen.append(item)
            if is_state:
                return chosen
    return chosen

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

Beside it: batches.py (what holds cursors and credit), blocked.py (what is held up, until when) and
whole_entities.py (what is read from its first event).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from thespian_dc.entity.api import Absorbed, ReplicatedState
from thespian_dc.model.ids import slice_of
from thespian_dc.model.position import Position
from thespian_dc.model.replication import Listed
from thespian_dc.projection.api import SourceBatch
from thespian_dc.replication.batches import Batches, hold, leave_to
from thespian_dc.replication.blocked import Blocked, BlockedEntities
from thespian_dc.replication.link_actions import Action, GetState, Submit, command_of, first_of
from thespian_dc.replication.pending import Pending, Portion
from thespian_dc.replication.reading import Item
from thespian_dc.replication.whole_entities import WholeEntities

LISTED_MAX = 1_000


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
        self._batches = Batches(slices, cursors)
        self._blocked = BlockedEntities(self._batches)
        self._whole = WholeEntities(self._batches, self._blocked)
        self._pending: dict[str, Pending] = {}
        self.coming_in: set[str] = set()
        """Ids that came into scope and are not caught up yet."""
        self.taken = 0
        """Events that are here now, or were before."""
        self.counts: Counter[str] = Counter()
        self.listed: dict[tuple[str, str, str], Listed] = {}
        """The last ones of LISTED_MAX."""

    def cursors(self) -> dict[int, Position]:
        """By slice: all below is done."""
        return self._batches.cursors()

    def blocked(self, limit: int) -> list[Blocked]:
        """Entities that something holds up, the longest first."""
        return self._blocked.eldest(limit)

    @property
    def blocked_count(self) -> int:
        return len(self._blocked)

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and nothing waits."""
        return not self._pending

    def wakeup_us(self) -> int | None:
        """When on_tick is due."""
        return self._blocked.wakeup_us()

    # --- inputs ---

    def on_batch(
        self, batch: SourceBatch, by_entity: Mapping[str, list[Item]], now_us: int
    ) -> list[Action]:
        """The next one of its slice, and what it holds."""
        actions: list[Action] = []
        tracked = self._batches.begin(batch)
        for entity_id, items in by_entity.items():
            pending = self._pending.get(entity_id)
            if pending is None:
                pending = self._pending[entity_id] = Pending(entity_id, batch.slice)
                hold(pending, Portion(items, tracked, is_open=True))
                self._submit(pending, actions)
            elif pending.reading is not None:
                leave_to(pending.reading, tracked)
            else:
                has_room = pending.is_blocked and self._blocked.has_room
                hold(pending, Portion(items, tracked, is_open=not has_room))
                self._blocked.events += len(items) if pending.is_blocked else 0
        self._batches.begun(batch.slice, tracked, actions)
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
                self._blocked.unblock(pending)
            self._pass(pending, passed, actions)
        if reason == "set_aside" and any(one.what == "forked" for one in outcome.listed):
            self._pass_all(pending, actions)
        if reason == "waits":
            self._wait(pending, outcome.missing, now_us, actions)
            pending.text = str(outcome.error or "")
        elif reason == "delayed":
            due_us = now_us + max(1_000, outcome.delay_us)
            self._blocked.block(pending, "its class delays it", now_us, due_us, actions)
        elif not passed:
            text = f"the entity answered {outcome.reason or 'nothing'!r}"
            self._blocked.retry_later(pending, text, now_us, actions)
        else:
            self._go_on(pending, actions)
        return actions

    def on_failed(self, pending: Pending, text: str, now_us: int) -> list[Action]:
        """The command came to nothing, or nobody knows: it is sent again after a pause."""
        actions: list[Action] = []
        pending.taken = 0
        self._blocked.retry_later(pending, text, now_us, actions)
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
            self._whole.pause(pending.reading, actions)
            self._blocked.retry_later(pending, text, now_us, actions)
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
                self._whole.begin(pending, actions)
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
        for pending in self._blocked.due(now_us):
            self._try_again(pending, actions)
        return actions

    # --- commands ---

    def _go_on(self, pending: Pending, actions: list[Action]) -> None:
        """With what is next for an entity of which nothing is under way."""
        if pending.is_read:
            pending.is_read = False
            self._whole.begin(pending, actions)
        elif pending.reading is not None:
            reading = pending.reading
            if reading.page:
                self._submit(pending, actions)
            elif reading.more or reading.until > reading.below:
                self._whole.look_up(pending, reading, actions)
            else:
                self.coming_in.discard(pending.entity_id)
                self._whole.end(pending, reading, actions)
                self._go_on(pending, actions)
        elif pending.portions:
            self._submit(pending, actions)
        else:
            if pending.is_blocked:
                self._blocked.unblock(pending)
            del self._pending[pending.entity_id]

    def _submit(self, pending: Pending, actions: list[Action]) -> None:
        reading = pending.reading
        source = [reading.page] if reading is not None else [one.items for one in pending.portions]
        chosen = first_of(source)
        pending.taken, pending.due_us = len(chosen), 0
        actions.append(Submit(pending, command_of(chosen, self.peer)))

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
            self._batches.finish(pending, portions.popleft(), actions)

    def _pass_all(self, pending: Pending, actions: list[Action]) -> None:
        """An entity that is set aside as a whole: nothing of it is taken."""
        if pending.reading is not None:
            pending.reading.page, pending.reading.more = [], False
            pending.reading.below = pending.reading.until
        while pending.portions:
            self._batches.finish(pending, pending.portions.popleft(), actions)

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
        if overdue and self._blocked.has_room and pending.reading is None:
            self._whole.begin(pending, actions)
            self._blocked.block(pending, "", now_us, 0, actions)
        else:
            self._blocked.retry_later(pending, "", now_us, actions)
            if pending.reading is not None:  # the peer itself has not what it waits for
                first = pending.reading.page[0]
                pending.reading.is_stale = missing is not None and type(first) is ReplicatedState
                self._whole.pause(pending.reading, actions)
        pending.missing, pending.since_us = missing, since_us

    def _try_again(self, pending: Pending, actions: list[Action]) -> None:
        reading = pending.reading
        if reading is None or not reading.is_under_way:
            self._go_on(pending, actions)
        elif reading.page:
            self._submit(pending, actions)

    def _read_of(self, entity_id: str) -> Pending | None:
        """The entity if an answer about it is waited for."""
        pending = self._pending.get(entity_id)
        reading = None if pending is None else pending.reading
        waited_for = reading is not None and reading.is_under_way and not reading.page
        return pending if pending is not None and waited_for and not pending.taken else None

    def _list(self, listed: Sequence[Listed]) -> None:
        for one in listed:
            self.counts[one.what] += 1
            key = (one.what, one.entity_id, one.origin)
            self.listed.pop(key, None)
            self.listed[key] = one
        while len(self.listed) > LISTED_MAX:
            del self.listed[next(iter(self.listed))]

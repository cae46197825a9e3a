"""One entity in memory: the record beside the user's object. Pure. There may be 100,000 of them, so
it has slots, and what few entities need is made when it is needed."""

from __future__ import annotations

import enum
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from thespian_dc.entity.protocol import EntityRef
from thespian_dc.model.replication import StateMeta
from thespian_dc.model.replication_errors import OriginForkedError

if TYPE_CHECKING:
    from thespian_dc.entity.actions import Retraced
    from thespian_dc.entity.effects import Effects
    from thespian_dc.entity.entity_type import EntityType
    from thespian_dc.entity.hosted import Hosted, HostedSlice
    from thespian_dc.entity.notes import Notes
    from thespian_dc.entity.turn import Turn


class Phase(enum.Enum):
    """RECOVERING, LOOKING (whether commands were persisted before): commands wait. RUNNING.
    LEAVING: it stopped, or its memory is ahead of the log and cannot be trusted; commands wait
    until nothing of it is in flight. GONE: out of memory."""

    RECOVERING = "recovering"
    RUNNING = "running"
    LOOKING = "looking"
    LEAVING = "leaving"
    GONE = "gone"


Known = dict[str, tuple[int, bytes | None]]
"""Command id -> (seq_nr of its last record, its stored reply), oldest first. Ids are added to a
table and nothing else: what is to be forgotten is left out of the next one, since a state row that
is not written yet looks into the one of its time (rows.py)."""


class Instance:
    """An entity in memory.

    last: the newest run whose commit is not durable yet. effects: of the run under way, else None.
    keepers: timers, asks, and runs that wait for a proof of ownership, which keep it in memory.
    tainted: its state is not what the log says.
    asking: how many questions of a command with this id are not answered; such an id is not
    forgotten: a copy of the command may be persisted before it goes on.
    """

    __slots__ = (
        "actor", "asking", "effects", "entity_id", "keepers", "known", "last", "phase", "seq_nr",
        "slice", "stash", "state", "tainted", "type", "used_us", "waiting",
    )  # fmt: skip

    def __init__(self, type_: EntityType, entity_id: str, slice_: HostedSlice) -> None:
        self.type, self.entity_id, self.slice = type_, entity_id, slice_
        self.phase = Phase.RECOVERING
        self.actor: Any = None
        self.state: Any = None
        self.seq_nr = 0
        self.effects: Effects | None = None
        self.last: Effects | None = None
        self.waiting: deque[Turn] | None = None
        self.stash: list[Turn] | None = None
        self.known: Known | None = None
        self.asking: dict[str, int] | None = None
        self.keepers = 0
        self.tainted = False
        self.used_us = 0

    @property
    def ref(self) -> EntityRef:
        return EntityRef(self.type.name, self.entity_id)

    @property
    def host(self) -> Hosted:
        return self.slice.type.host

    @property
    def can_leave(self) -> bool:
        """Nothing of it is in flight, and nothing waits for it or in it."""
        return not (
            self.last or self.waiting or self.stash or self.keepers
            or self.phase is not Phase.RUNNING
        )  # fmt: skip

    def wait(self, turn: Turn) -> None:
        """Queue a command until the entity is ready."""
        if self.waiting is None:
            self.waiting = deque()  # bounded by limits.waiting_max of the host
        self.waiting.append(turn)

    def wait_first(self, turn: Turn) -> None:
        """Queue a command before all others."""
        if self.waiting is None:
            self.waiting = deque()  # bounded by limits.waiting_max of the host
        self.waiting.appendleft(turn)

    def remember(self, command_id: str, seq_nr: int, reply: bytes | None, limit: int) -> None:
        """A command with this id is persisted up to seq_nr. The last `limit` ids are remembered; up
        to half as many more, so that not every one makes a new table."""
        known = self.known
        if known is None:
            known = self.known = {}
        elif command_id in known or len(known) > limit + limit // 2 + len(self.asking or ()):
            known = self.known = self._without(command_id, len(known) - limit)
        known[command_id] = (seq_nr, reply)

    def _without(self, command_id: str, oldest: int) -> Known:
        """A table like the one there is, without this id and so many of the oldest."""
        known = self.known or {}
        kept = dict(islice(known.items(), max(oldest, 0), None))
        if self.asking:
            old = {id_: known[id_] for id_ in known if id_ in self.asking and id_ not in kept}
            kept = old | kept
        kept.pop(command_id, None)
        return kept

    def asks(self, command_id: str, questions: int) -> None:
        """A command puts so many questions more; negative: they are answered, or never will be."""
        if not command_id:
            return
        asking = self.asking = self.asking or {}
        asking[command_id] = asking.get(command_id, 0) + questions
        if asking[command_id] <= 0:
            del asking[command_id]


class ReplicatedInstance(Instance):
    """An entity of a replicated type in memory.

    vector, tips, time_us, epoch, leader, aside: as in model.replication.StateMeta, of the state in
    memory.
    failed: why the state cannot be trusted (an event is stored that the code cannot apply), or "".
    forked: (origin, n) of the event that set it aside, or None. origin, concurrent, recovering: of
    the event that is applied just now; origin "": none is. asked_us: the time that the command
    under way asked for, 0 where it did not. notes: of what was listed. retraced: what the log said
    about the command that runs next. owed: (origin, n) of the first event by which the state was
    to be made anew, and was not; () where nothing is owed.
    """

    __slots__ = (
        "aside", "asked_us", "concurrent", "epoch", "failed", "forked", "leader", "notes", "origin",
        "owed", "recovering", "retraced", "time_us", "tips", "vector",
    )  # fmt: skip

    def __init__(self, type_: EntityType, entity_id: str, slice_: HostedSlice) -> None:
        super().__init__(type_, entity_id, slice_)
        self.retraced: Retraced | None = None
        self.begin()

    def begin(self) -> None:
        """Nothing of it is known yet."""
        self.contains(StateMeta({}, {}))
        self.failed = self.origin = ""
        self.forked: tuple[str, int] | None = None
        self.notes: Notes = ()
        self.concurrent = self.recovering = False
        self.asked_us = 0

    def contains(self, state: StateMeta) -> None:
        """Its state is this one."""
        self.vector, self.tips = dict(state.vector), dict(state.tips)
        self.time_us, self.epoch, self.leader = state.time_us, state.epoch, state.leader
        self.aside = state.aside  # another one where it changes
        self.owed: tuple[str, int] | tuple[()] = ()

    @property
    def sets_aside(self) -> bool:
        """Does what comes late not count?"""
        replication = self.type.replication
        return replication is not None and replication.late_events == "set_aside"

    @property
    def trouble(self) -> str:
        """Why it takes no commands, whatever this replica's role; "": it does."""
        if self.forked is not None:
            return str(OriginForkedError(str(self.ref), *self.forked))
        return self.failed

    @property
    def content(self) -> StateMeta:
        """What its state contains."""
        return StateMeta(self.vector, self.tips, self.time_us, self.epoch, self.leader, self.aside)

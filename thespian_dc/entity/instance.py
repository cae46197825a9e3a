"""One entity in memory: the record beside the user's object. Pure. There may be 100,000 of them, so
it has slots, and what few entities need is made when it is needed."""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Any

from thespian_dc.entity.protocol import EntityRef
from thespian_dc.model.replication import StateMeta

if TYPE_CHECKING:
    from thespian_dc.entity.actions import Retraced
    from thespian_dc.entity.effects import Effects
    from thespian_dc.entity.entity_type import EntityType
    from thespian_dc.entity.hosted import Hosted, HostedSlice
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
"""Command id -> (seq_nr of its last record, its stored reply), oldest first."""


class Instance:
    """An entity in memory.

    last: the newest run whose commit is not durable yet. effects: of the run under way, else None.
    keepers: timers and asks that keep it in memory. tainted: its state is not what the log says.
    """

    __slots__ = (
        "actor", "effects", "entity_id", "keepers", "known", "last", "phase", "seq_nr", "slice",
        "stash", "state", "tainted", "type", "used_us", "waiting",
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
        """A command with this id is persisted up to seq_nr; the oldest of more than `limit` ids is
        forgotten."""
        known = self.known
        if known is None:
            known = self.known = {}
        while len(known) >= limit and command_id not in known:
            del known[next(iter(known))]
        known[command_id] = (seq_nr, reply)


class ReplicatedInstance(Instance):
    """An entity of a replicated type in memory.

    vector, tips, time_us, epoch, leader: as in model.replication.StateMeta, of the state in memory.
    failed: why the state cannot be trusted (an event is stored that the code cannot apply), or "".
    forked: (origin, n) of the event that set it aside, or None. origin, concurrent, recovering: of
    the event that is applied just now; origin "": none is. asked_us: the time that the command
    under way asked for, 0 where it did not. retraced: what the log said about the command that runs
    next.
    """

    __slots__ = (
        "asked_us", "concurrent", "epoch", "failed", "forked", "leader", "origin", "recovering",
        "retraced", "time_us", "tips", "vector",
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
        self.concurrent = self.recovering = False
        self.asked_us = 0

    def contains(self, state: StateMeta) -> None:
        """Its state is this one."""
        self.vector, self.tips = dict(state.vector), dict(state.tips)
        self.time_us, self.epoch, self.leader = state.time_us, state.epoch, state.leader

    @property
    def content(self) -> StateMeta:
        """What its state contains."""
        return StateMeta(self.vector, self.tips, self.time_us, self.epoch, self.leader)

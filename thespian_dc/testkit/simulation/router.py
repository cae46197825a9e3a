"""A RouterCore inside a simulated process, as clients and hosts have one: frames over the simulated
network, routes from the simulated registry."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.protocol import Command, ReplyAddress, Route, TypeRoutes
from thespian_dc.entity.router import command_id_of
from thespian_dc.entity.router_core import AskRoutes, Deliver, Outgoing, RouterCore, SendFrame
from thespian_dc.shell.frames import unpack
from thespian_dc.testkit.simulation.counter import Counter
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.process import Process

if TYPE_CHECKING:
    from thespian_dc.testkit.simulation.host import SimulatedHost

SENT_US = 2_000
"""After so long a sender knows whether its peer's process took the frame."""
FRAMES_KNOWN = 64
TICK_US = 150_000
"""A real router looks more often; here most of what it would find is nothing."""


class SimulatedRouter:
    """Of one incarnation of `process`. Frames go to members by name; deliver: each outcome."""

    def __init__(
        self,
        process: Process,
        network: Network,
        journal: SimulatedJournal,
        members: Mapping[str, SimulatedHost],
        slices: int,
        deliver: Callable[[Deliver], None],
        entity_type: str = Counter.entity_type,
    ) -> None:
        self._process, self._network, self._journal = process, network, journal
        self._members, self._slices, self._deliver = members, slices, deliver
        self._entity_type = entity_type
        self.client_id = f"{process.name}.{process.incarnation}:r"
        self.core = RouterCore(commands_max=1_000)
        self._tick_us: int | None = None

    def submit(self, command: Outgoing, timeout_s: float) -> None:
        self.submit_all([command], timeout_s)

    def submit_all(self, commands: list[Outgoing], timeout_s: float) -> None:
        self._perform(self.core.submit(commands, timeout_s, self._now_us))

    def on_answer(self, answer: Answer, member: str) -> None:
        item = (answer.to.correlation, int(answer.status), answer.value)
        if isinstance(answer.value, Route):
            self._process.world.hit("router: NOT_OWNER")
        self._perform(self.core.on_reply((), [item], member, self._now_us))

    def on_acknowledged(self, frame_nr: int, member: str) -> None:
        self._perform(self.core.on_reply([frame_nr], [], member, self._now_us))

    @property
    def _now_us(self) -> int:
        return self._process.world.now_us

    def _perform(self, actions: list[Any]) -> None:
        for action in actions:
            self._process.world.hit(f"router: {type(action).__name__}")
            match action:
                case SendFrame():
                    self._send(action)
                case AskRoutes():
                    answer = self._process.into(self._on_routes)
                    self._journal.call(self._process.name, self._read_routes, answer)
                case Deliver():
                    self._deliver(action)
        due_us = self.core.wakeup_us(self._now_us)
        if due_us is not None:
            due_us = max(due_us, self._now_us + TICK_US)
        if due_us is not None and (self._tick_us is None or due_us < self._tick_us):
            self._tick_us = due_us
            self._process.after(due_us - self._now_us, self._on_tick, due_us)

    def _on_tick(self, at_us: int) -> None:
        if self._tick_us == at_us:
            self._tick_us = None
            self._perform(self.core.on_tick(self._now_us))

    # --- frames ---
    def _send(self, frame: SendFrame) -> None:
        member, process = self._members[frame.address], self._process
        commands = [self._command(one) for one in frame.commands]
        acknowledge = process.into(self.on_acknowledged)
        deliver = member.into(member.on_frame)
        self._network.send(
            process.name, member.name, deliver,
            self.client_id, process.name, frame.frame_nr, commands, acknowledge,
        )  # fmt: skip
        process.after(SENT_US, self._on_sent, frame)

    def _on_sent(self, frame: SendFrame) -> None:
        is_there = self._members[frame.address].alive
        if not is_there:
            self._process.world.hit("router: host was gone")
        self._perform(self.core.on_sent(frame.address, frame.frame_nr, is_there, self._now_us))

    def _command(self, one: Outgoing) -> Command:
        """As a host unpacks it."""
        correlation = one.correlation if one.ticket is not None else -one.correlation
        reply_to = None
        if correlation > 0:
            reply_to = ReplyAddress(self._process.name, self.client_id, correlation)
        return Command(
            one.entity_type, one.entity_id, unpack(one.body), reply_to,
            command_id_of(self.client_id, correlation, one.command_id), one.epoch, one.since,
        )  # fmt: skip

    # --- routes ---
    def _read_routes(self) -> dict[str, TypeRoutes]:
        return {self._entity_type: routes_of(self._journal, self._slices, self._entity_type)}

    def _on_routes(self, view: dict[str, TypeRoutes]) -> None:
        self._perform(self.core.on_routes([view], self._now_us))


class KnownFrames:
    """The frames that one incarnation of a member has had."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=FRAMES_KNOWN))

    def is_overtaken(self, client_id: str, frame_nr: int) -> bool:
        return any(one > frame_nr for one in self._seen[client_id])

    def is_new(self, client_id: str, frame_nr: int) -> bool:
        seen = self._seen[client_id]
        if frame_nr in seen:
            return False
        seen.append(frame_nr)
        return True


def routes_of(
    journal: SimulatedJournal, slices: int, name: str = Counter.entity_type
) -> TypeRoutes:
    """The registry's owners of this entity type, as members' names, and the heads of the logs."""
    memory = journal.memory
    found = memory.owners(name)
    owners = tuple(
        (found[n].member_id.partition(".")[0], found[n].epoch) if n in found else ("", 0)
        for n in range(slices)
    )
    return TypeRoutes(slices, owners, journal.heads(name, slices))

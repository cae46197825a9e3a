"""A simulated host: a host core in one process, driven as by its shell.

It performs each action in order and feeds results back; a crash may come before any action, and
while an append is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from thespian_dc.entity import actions as entity
from thespian_dc.entity.core import HostCore
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.protocol import SENT_BEFORE, Command
from thespian_dc.entity.router_core import Outgoing
from thespian_dc.journal.api import Appended
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.settings import Limits
from thespian_dc.shell.frames import unpack
from thespian_dc.slices.actions import Append
from thespian_dc.slices.phases import Phase
from thespian_dc.testkit.simulation.journal import SimulatedJournal
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.oracle import Asking, Oracle, address_of
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.router import KnownFrames, SimulatedRouter
from thespian_dc.testkit.simulation.world import World

COMMIT_BYTES_MAX = 1_500
APPENDS_AT_ONCE = 2
LIMITS = Limits(passivate_after_s=3.0, resident_max=10, recoveries_max=4, known_commands=8)
FORWARD_TIMEOUT_S = 20.0
SENDS_BITS = 16
"""Of a client's correlation: how often the command had been sent."""
ACK_US = 10_000
"""Answers come first, as they do in one frame with an acknowledgement."""
CLOCKS_DIFFER_US = 2_000_000
RESTART_US = (100_000, 2_500_000)
APPEND_TAKES_US = 6_000
"""About how long a simulated append takes: a crash within it meets one that is under way."""


@dataclass
class Doom:
    """How this host is about to end. actions: crash before the action that is so many ahead."""

    actions: int | None = None
    in_append: bool = False
    appending: set[bytes] = field(default_factory=set)


class Doubt(NamedTuple):
    """An append with an unknown outcome: where it would be, and what is in it."""

    key: SliceKey
    base_offset: int
    entity_ids: list[str]


class SimulatedHost(Process):
    """clients: by name, `on_answer` of each; members: by name, this one too. Its clock differs from
    the world's, by another difference after each start."""

    def __init__(
        self,
        world: World,
        network: Network,
        journal: SimulatedJournal,
        clients: Mapping[str, Any],
        members: Mapping[str, SimulatedHost],
        name: str,
        types: Sequence[EntityType],
    ) -> None:
        super().__init__(world, name)
        self._members = members
        self._network, self._journal, self._clients = network, journal, clients
        self._types = types
        self.doom = Doom()
        self.oracles: Mapping[str, Oracle] = {}
        """By address, ordinary actors that entities may ask."""
        self.on_doubt: Callable[[Doubt], None] = lambda doubt: None
        """Told of an append with an unknown outcome, when the owner begins to find out."""
        self.on_crash_in_append: Callable[[], None] = lambda: None

    def boot(self) -> None:
        self.doom = Doom()
        self._ahead_us = self.clock_us()
        self._frames = KnownFrames()
        self._had: set[tuple[str, int]] = set()
        served = self._types[0]
        self._router = SimulatedRouter(
            self, self._network, self._journal, self._members, served.slices, _nobody_waits,
            served.name,
        )  # fmt: skip
        self._asking = Asking(self, self.oracles, self._on_message, self._on_settled)
        self.member_id = f"{self.name}.{self.incarnation}"
        self.core = self.make_core()
        self._phases: dict[SliceKey, Phase] = {}
        self._tick_us: int | None = None

    def clock_us(self) -> int:
        """By how much the clock of a host that starts now is ahead."""
        return self.world.rng.randint(-CLOCKS_DIFFER_US, CLOCKS_DIFFER_US)

    def make_core(self) -> HostCore:
        return HostCore(
            self._types, self.member_id, LIMITS, self.world.new_id,
            address=self.name, indexed=True, commit_bytes_max=COMMIT_BYTES_MAX,
            appends_at_once=APPENDS_AT_ONCE,
        )  # fmt: skip

    @property
    def now_us(self) -> int:
        """By this host's own clock."""
        return self.world.now_us + self._ahead_us

    # --- inputs ---
    def on_command(self, command: Command) -> None:
        """From a client that knows no frames: one that was overtaken by a later send of it says so
        no more than a frame would."""
        asked = command.reply_to.address, command.reply_to.correlation >> SENDS_BITS
        if asked in self._had:
            command = command._replace(epoch=SENT_BEFORE)
        self._had.add(asked)
        self._perform(self.core.on_commands([command], self.now_us))

    def on_frame(
        self,
        client_id: str,
        sender: str,
        frame_nr: int,
        commands: list[Command],
        acknowledge: Callable[[int, str], None],
    ) -> None:
        """From a router: each frame is taken once and acknowledged each time."""
        self.after(ACK_US, self._network.send, self.name, sender, acknowledge, frame_nr, self.name)
        if self._frames.is_overtaken(client_id, frame_nr):
            commands = [one._replace(epoch=SENT_BEFORE) for one in commands]
        if self._frames.is_new(client_id, frame_nr):
            self._perform(self.core.on_commands(commands, self.now_us))
        else:
            self.world.hit("host: known frame")

    def _on_result(self, result: Any) -> None:
        if isinstance(result, Appended):
            self.doom.appending.discard(result.commit.write_id)
        self._perform(self.core.on_result(result, self.now_us))

    def _on_message(self, oracle: str, message: Any) -> None:
        self._perform(self.core.on_message(address_of(oracle), message, self.now_us))

    def _on_settled(self, oracle: str) -> None:
        self._perform(self.core.on_settled(address_of(oracle), self.now_us))

    def _on_tick(self, at_us: int) -> None:
        if self._tick_us == at_us:
            self._tick_us = None
            self._perform(self.core.on_tick(self.now_us))

    # --- actions ---
    def _perform(self, actions: list[entity.Action]) -> None:
        self._note_phases()
        for action in actions:
            if not self.alive or self._ends_here():
                return
            self.world.hit(f"host: {type(action).__name__}")
            match action:
                case Append():
                    self._append(action)
                case entity.Answer(to, _, _):
                    client = self._clients[to.address]
                    answer = client.on_answer
                    self._network.send(self.name, client.name, answer, action, self.name)
                case entity.Forward(ref, body, None, command_id, since):
                    name = ref.entity_type, ref.entity_id
                    command = Outgoing(*name, body, None, command_id, None, since)
                    self._router.submit(command, FORWARD_TIMEOUT_S)
                case entity.Published():
                    pass  # a hint: consumers poll
                case entity.Report(event, where, what):
                    self.world.hit(f"host: reported {event}")
                    self.world.note(f"{self.member_id} reports {event} of {where}: {what}")
                case entity.Send(address, body):
                    self._asking.ask(address.addressDetails, unpack(body))
                case entity.Settle(address):
                    self._asking.settle(address.addressDetails)
                case entity.Forward():
                    raise AssertionError(f"these entities ask no entity: {action}")
                case _:
                    self._journal.perform(self.name, action, self.into(self._on_result))
        self._set_timer()

    def _append(self, action: Append) -> None:
        commit = action.commit
        if commit.time_us > self.now_us:
            self.world.hit("fault: append by a clock behind the last owner's")
        self.doom.appending.add(commit.write_id)
        self._journal.append(self.name, commit, self.into(self._on_result))
        if self.doom.in_append:
            delay_us = self.world.rng.randrange(APPEND_TAKES_US)
            self.after(delay_us, self._end_in_append, commit.write_id)

    def _end_in_append(self, write_id: bytes) -> None:
        if self.doom.in_append and write_id in self.doom.appending:
            self.world.hit("fault: crash during an append")
            self.crash(self.world.between(*RESTART_US))
            self.on_crash_in_append()

    def _ends_here(self) -> bool:
        if self.doom.actions is None:
            return False
        self.doom.actions -= 1
        if self.doom.actions >= 0:
            return False
        self.world.hit("fault: crash before an action")
        self.crash(self.world.between(*RESTART_US))
        return True

    def _set_timer(self) -> None:
        due_us = self.core.wakeup_us()
        if due_us is not None and (self._tick_us is None or due_us < self._tick_us):
            self._tick_us = max(due_us, self.now_us)
            self.after(self._tick_us - self.now_us, self._on_tick, self._tick_us)

    def _note_phases(self) -> None:
        """Count the transitions of all slice writers since the last input."""
        for slice_ in self.core._hosted.all_slices():
            before, phase = self._phases.get(slice_.key, Phase.OFF), slice_.writer.phase
            if phase is not before:
                self._phases[slice_.key] = phase
                self.world.hit(f"writer: {before.value} -> {phase.value}")
                if phase is Phase.READING_HEAD:
                    entity_ids = [one.entity_id for one in slice_.writer._in_flight]
                    self.on_doubt(Doubt(slice_.key, slice_.writer.head, entity_ids))


def _nobody_waits(_: object) -> None:
    """For the outcome of what one entity sends to another."""

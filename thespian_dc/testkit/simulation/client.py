"""A simulated client: sends commands, follows NOT_OWNER, sends again what has an id.

A command without an id is sent once: if no answer comes, nobody knows what became of it.
"""

from __future__ import annotations

from typing import Any

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.protocol import Command, ReplyAddress, Route, Status
from thespian_dc.model.entity_errors import AlreadyHandledError
from thespian_dc.model.ids import slice_of
from thespian_dc.shell.frames import unpack
from thespian_dc.testkit.simulation.counter import Add, Counter, Look, Seen
from thespian_dc.testkit.simulation.history import History, Sent, Told
from thespian_dc.testkit.simulation.journal import POISON, SimulatedJournal
from thespian_dc.testkit.simulation.member import SimulatedMember
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.world import World

RESEND_US = 700_000
ROUTES_US = 300_000
RETRY_US = 40_000
WITH_ID, LOOKS, POISONED, EMPTY = 0.7, 0.2, 0.01, 0.01


class SimulatedClient(Process):
    """Sends `commands` commands, a few at a time, to `entities` entities."""

    def __init__(
        self,
        world: World,
        network: Network,
        journal: SimulatedJournal,
        members: dict[str, SimulatedMember],
        history: History,
        name: str,
        slices: int,
        entity_ids: list[str],
        pause_us: int,
    ) -> None:
        super().__init__(world, name)
        self._network, self._journal, self._members = network, journal, members
        self._history, self._slices, self._entity_ids = history, slices, entity_ids
        self._pause_us = pause_us
        self._routes: dict[int, str] = {}
        self._commands: dict[int, tuple[Sent, Command]] = {}
        self._sends: dict[int, int] = {}
        """How often each command was sent: what waits for an earlier send does nothing."""
        self.sending = False

    def boot(self) -> None:
        self.sending = True
        self._look_around()
        self.after(self._pause_us, self._next)

    # --- what is asked ---
    def _next(self) -> None:
        if not self.sending:
            return
        rng = self.world.rng
        burst = rng.choice((1, 1, 1, 2, 5))
        entity_id = rng.choice(self._entity_ids)
        for _ in range(burst):
            self._ask(entity_id if rng.random() < 0.7 else rng.choice(self._entity_ids))
        self.after(self.world.between(self._pause_us // 2, self._pause_us * 3), self._next)

    def _ask(self, entity_id: str) -> None:
        world, rng = self.world, self.world.rng
        correlation = len(self._commands) + 1
        nonce = f"{self.name}-{correlation}"
        amounts: tuple[int, ...] = ()
        message: Any = Look(nonce)
        if not world.chance(LOOKS):
            amounts = tuple(rng.randint(1, 9) for _ in range(rng.choice((1, 1, 1, 2, 3))))
            amounts = () if world.faulty and world.chance(EMPTY) else amounts
            poisoned = world.faulty and world.chance(POISONED)
            message = Add(nonce, amounts, POISON if poisoned else b"")
        command_id = nonce if world.chance(WITH_ID) else ""
        reply_to = ReplyAddress(self.name, self.name, correlation)
        command = Command(Counter.entity_type, entity_id, message, reply_to, command_id)
        sent = Sent(nonce, command_id, entity_id, amounts, world.now_us)
        self._history.sent[nonce] = sent
        self._commands[correlation] = sent, command
        self._send(correlation)

    # --- to the owner of its slice, wherever that is ---
    def _send(self, correlation: int, sends: int = 0) -> None:
        """Send it, unless it was sent again meanwhile: `sends` is how often it had been."""
        sent, command = self._commands[correlation]
        if sent.ended or sends != self._sends.get(correlation, 0):
            return
        owner = self._routes.get(slice_of(sent.entity_id, self._slices))
        member = self._members.get(owner or "")
        if member is None:
            self.after(RETRY_US, self._send, correlation, sends)
            return
        self._sends[correlation] = sends + 1
        once = not sent.command_id
        deliver = member.into(member.on_command)
        self._network.send(self.name, member.name, deliver, command, once=once)
        self.after(RESEND_US, self._time_out, correlation, sends + 1)

    def _send_again(self, correlation: int) -> None:
        sends = self._sends[correlation]
        self.after(RETRY_US * min(sends, 12), self._send, correlation, sends)

    def _time_out(self, correlation: int, sends: int) -> None:
        sent, _ = self._commands[correlation]
        if sent.ended or sends != self._sends[correlation]:
            return
        if sent.command_id:
            self.world.hit("client: sent again")
            self._ask_routes()
            self._send(correlation, sends)
        else:
            sent.given_up = True
            self.world.hit("client: outcome unknown")

    def _look_around(self) -> None:
        self._ask_routes()
        self.after(ROUTES_US, self._look_around)

    def _ask_routes(self) -> None:
        read = self._journal.memory.owners
        answer = self.into(self._on_owners)
        self._journal.call(self.name, lambda: read(Counter.entity_type), answer)

    def _on_owners(self, owners: dict[int, Any]) -> None:
        for slice_, owner in owners.items():
            self._routes[slice_] = owner.member_id.partition(".")[0]

    # --- what comes back ---
    def on_answer(self, answer: Answer) -> None:
        """Once, twice, late, or not at all."""
        sent, _ = self._commands[answer.to.correlation]
        match answer.status, answer.value:
            case Status.NOT_OWNER, Route() as route:
                self.world.hit("client: followed NOT_OWNER")
                if route.address:
                    self._routes[route.slice] = route.address
                else:
                    self._ask_routes()
                if not sent.ended:
                    self._send_again(answer.to.correlation)
            case Status.OK, value:
                seen = unpack(value)
                assert isinstance(seen, Seen)
                sent.told.append(Told(self.world.now_us, seen, ""))
            case _, AlreadyHandledError() as known:
                sent.told.append(Told(self.world.now_us, None, type(known).__name__))
            case _, error:
                self._on_error(sent, answer.to.correlation, error)

    def _on_error(self, sent: Sent, correlation: int, error: Any) -> None:
        self.world.hit(f"client: told {type(error).__name__}")
        again = getattr(error, "retryable", False) or type(error).__name__ == "OutcomeUnknownError"
        if again and sent.command_id:
            if not sent.ended:
                self._send_again(correlation)
        else:
            sent.told.append(Told(self.world.now_us, None, type(error).__name__))

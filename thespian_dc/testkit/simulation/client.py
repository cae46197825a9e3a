"""A simulated client: sends commands, follows NOT_OWNER, sends again what has an id.

A command without an id is sent once: if no answer comes, nobody knows what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.protocol import (
    SENT_BEFORE,
    Command,
    ReplyAddress,
    Route,
    Status,
    TypeRoutes,
)
from thespian_dc.entity.router_core import Deliver, Outgoing
from thespian_dc.model.entity_errors import RevisionConflictError
from thespian_dc.model.errors import AskTimeoutError
from thespian_dc.model.ids import slice_of
from thespian_dc.shell.frames import pack, unpack
from thespian_dc.testkit.simulation.counter import Add, Consult, Counter, Look, Pass, Seen
from thespian_dc.testkit.simulation.history import History, Sent, Told
from thespian_dc.testkit.simulation.host import SENDS_BITS
from thespian_dc.testkit.simulation.journal import POISON, SimulatedJournal
from thespian_dc.testkit.simulation.member import SimulatedMember
from thespian_dc.testkit.simulation.network import Network
from thespian_dc.testkit.simulation.oracle import ORACLES
from thespian_dc.testkit.simulation.plan import Plan
from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.router import SimulatedRouter, routes_of
from thespian_dc.testkit.simulation.tally import AddAt, Clear
from thespian_dc.testkit.simulation.world import World

RESEND_US = 700_000
ROUTES_US = 300_000
RETRY_US = 40_000
WITH_ID, LOOKS, POISONED, EMPTY, PASSES = 0.4, 0.15, 0.01, 0.01, 0.05
CONSULTS, CHANGES = 0.15, 0.3
"""CHANGES: of commands to durable states: they name a revision, or delete."""


ASKED_IN_VAIN = 20
"""So often what became of a command is asked for where logs are trimmed."""
SENDS_MAX = 1 << SENDS_BITS
"""A correlation is the command's number times this, plus how often it had been sent."""


@dataclass(slots=True)
class _Asked:
    """A command and how often it was sent: what belongs to an earlier send does nothing."""

    number: int
    sent: Sent
    command: Command
    sends: int = 0


class SimulatedClient(Process):
    """Sends a few commands at a time until `sending` is taken back."""

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
        plan: Plan,
    ) -> None:
        super().__init__(world, name)
        self._plan = plan
        self._network, self._journal, self._members = network, journal, members
        self._history, self._slices, self._entity_ids = history, slices, entity_ids
        self._pause_us = pause_us
        self._routes: dict[int, tuple[str, int]] = {}
        self._heads = [0] * slices
        self._asked: list[_Asked] = []
        self._revisions: dict[str, int] = {}
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

    def sends_to(self, member: str, slice_: int) -> bool:
        """Takes this one for the slice's owner."""
        return self._routes.get(slice_, ("", 0))[0] == member

    def look(self, entity_id: str) -> None:
        """At this one, beside all else."""
        if self.sending:
            self._ask(entity_id, looks=1.0)

    def change(self, entity_id: str) -> None:
        """This one, beside all else."""
        if self.sending:
            self._ask(entity_id, looks=0.0)

    def _ask(self, entity_id: str, looks: float = LOOKS) -> None:
        world, rng = self.world, self.world.rng
        number = len(self._asked)
        nonce = f"{self.name}-{number}"
        amounts: tuple[int, ...] = ()
        message: Any = Look(nonce)
        if not world.chance(looks):
            amounts = tuple(rng.randint(1, 9) for _ in range(rng.choice((1, 1, 1, 2, 3))))
            amounts = () if world.faulty and world.chance(EMPTY) else amounts
            poisoned = world.faulty and world.chance(POISONED)
            message = Add(nonce, amounts, POISON if poisoned else b"")
        if amounts and world.chance(PASSES):
            onward, to = f"{nonce}-on", rng.choice(self._entity_ids)
            message = Pass(nonce, amounts, to, onward)
            self._history.sent[onward] = Sent(
                onward, onward, to, self._plan.stored(amounts), world.now_us, given_up=True,
                after=nonce,
            )  # fmt: skip
        elif amounts and self._plan.asks and world.chance(CONSULTS):
            message = Consult(nonce, amounts, rng.choice(ORACLES))
        elif amounts and self._plan.durable and world.chance(CHANGES):
            message = self._change(nonce, entity_id, amounts)
        command_id = nonce if world.chance(WITH_ID) else ""
        command = Command(Counter.entity_type, entity_id, message, None, command_id)
        if isinstance(message, Clear):
            amounts = (0,)
        sent = Sent(nonce, command_id, entity_id, self._plan.stored(amounts), world.now_us)
        sent.revision = getattr(message, "revision", None)
        self._history.sent[nonce] = sent
        self._asked.append(_Asked(number, sent, command))
        self._send(self._asked[-1], 0)

    def _change(self, nonce: str, entity_id: str, amounts: tuple[int, ...]) -> AddAt | Clear:
        """Of a durable state, at the revision that was last heard of, right or wrong."""
        revision = self._revisions.get(entity_id, 0)
        what = self.world.rng.randrange(4)
        if what < 2:
            return AddAt(nonce, amounts, revision)
        return Clear(nonce, revision if what == 2 else None)

    # --- to the owner of its slice, wherever that is ---
    def _send(self, asked: _Asked, sends: int) -> None:
        """Send it, unless it is answered, or was sent since it had been sent `sends` times."""
        if asked.sent.ended or sends != asked.sends:
            return
        slice_ = slice_of(asked.sent.entity_id, self._slices)
        owner, epoch = self._routes.get(slice_, ("", 0))
        member = self._members.get(owner)
        if member is None:
            self.after(RETRY_US, self._send, asked, sends)
            return
        asked.sends += 1
        if asked.sends == 1:
            asked.command = asked.command._replace(epoch=epoch, since=self._heads[slice_])
        else:
            asked.command = asked.command._replace(epoch=SENT_BEFORE)
        correlation = asked.number * SENDS_MAX + asked.sends
        command = asked.command._replace(reply_to=ReplyAddress(self.name, self.name, correlation))
        deliver = member.into(member.on_command)
        once = not command.command_id
        self._network.send(self.name, member.name, deliver, command, once=once)
        self.after(RESEND_US, self._time_out, asked, asked.sends)

    def _send_again(self, asked: _Asked) -> None:
        self.after(RETRY_US * min(asked.sends, 12), self._send, asked, asked.sends)

    def _time_out(self, asked: _Asked, sends: int) -> None:
        if asked.sent.ended or sends != asked.sends:
            return
        if asked.command.command_id:
            self.world.hit("client: sent again")
            self._ask_routes()
            self._send(asked, sends)
        else:
            asked.sent.given_up = True
            self.world.hit("client: outcome unknown")

    def _look_around(self) -> None:
        self._ask_routes()
        self.after(ROUTES_US, self._look_around)

    def _ask_routes(self) -> None:
        self._journal.call(self.name, self._read_routes, self.into(self._on_routes))

    def _read_routes(self) -> TypeRoutes:
        return routes_of(self._journal, self._slices)

    def _on_routes(self, found: TypeRoutes) -> None:
        self._routes |= {n: owner for n, owner in enumerate(found.owners) if owner[0]}
        self._heads = [max(pair) for pair in zip(self._heads, found.heads, strict=True)]

    # --- what comes back ---
    def on_answer(self, answer: Answer, member: str) -> None:
        """Once, twice, late, or not at all."""
        number, sends = divmod(answer.to.correlation, SENDS_MAX)
        asked = self._asked[number]
        told, is_latest = asked.sent.told, sends == asked.sends
        match answer.status, answer.value:
            case Status.NOT_OWNER, Route() as route:
                self.world.hit("client: followed NOT_OWNER")
                if route.address:
                    self._routes[route.slice] = (route.address, route.epoch)
                if is_latest:
                    self._send_again(asked)
            case Status.OK, bytes() as value:
                seen = unpack(value)
                assert isinstance(seen, Seen)
                told.append(Told(self.world.now_us, seen, ""))
                self._revisions[asked.sent.entity_id] = seen.seq_nr
            case _, error:
                name = type(error).__name__
                self.world.hit(f"client: told {name}")
                again = getattr(error, "retryable", False) or name == "OutcomeUnknownError"
                # Whether it was carried out may stand in what is trimmed: nobody knows any more.
                again &= not (self._plan.trims and asked.sends >= ASKED_IN_VAIN)
                if not (again and asked.command.command_id):
                    found = error.found if isinstance(error, RevisionConflictError) else None
                    told.append(Told(self.world.now_us, None, name, found))
                elif is_latest:
                    self._send_again(asked)


class RoutedClient(Process):
    """Sends by a RouterCore, as real clients do: every command has an id, all are sent again."""

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
        plan: Plan,
    ) -> None:
        super().__init__(world, name)
        self._plan = plan
        self._parts = network, journal, members, slices
        self._history, self._entity_ids, self._pause_us = history, entity_ids, pause_us
        self._count = 0
        self.sending = False

    def boot(self) -> None:
        self._router = SimulatedRouter(self, *self._parts, self._on_outcome)
        self.sending = True
        self._next()

    def _next(self) -> None:
        if not self.sending:
            return
        rng, entity_id = self.world.rng, self.world.rng.choice(self._entity_ids)
        for _ in range(rng.choice((1, 2, 5))):
            self._count += 1
            nonce, amounts = f"{self.name}-{self._count}", (rng.randint(1, 9),)
            stored = self._plan.stored(amounts)
            sent = Sent(nonce, nonce, entity_id, stored, self.world.now_us)
            self._history.sent[nonce] = sent
            body = pack(Add(nonce, amounts))
            command = Outgoing(Counter.entity_type, entity_id, body, sent)
            self._router.submit(command, rng.choice((4.0, 10.0, 20.0)))
        self.after(self.world.between(self._pause_us * 4, self._pause_us * 40), self._next)

    def on_answer(self, answer: Answer, member: str) -> None:
        if answer.to.client_id == self._router.client_id:
            self._router.on_answer(answer, member)

    def _on_outcome(self, outcome: Deliver) -> None:
        sent, value = outcome.ticket, outcome.value
        if outcome.status == Status.OK:
            sent.told.append(Told(self.world.now_us, unpack(value), ""))
        elif isinstance(value, AskTimeoutError):
            sent.given_up = True
            self.world.hit("router: outcome unknown")
        else:
            sent.told.append(Told(self.world.now_us, None, type(value).__name__))

"""Entities in this process, over any journal, with a clock of their own: an EntityDriver, and a
quick way to try an entity out. Ordinary actors run here too, each message at once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from thespian.actors import ActorAddress

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.inline import InlineHost
from thespian_dc.entity.protocol import Command, ReplyAddress, Status
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.settings import Limits
from thespian_dc.shell.frames import unpack_reply

CLIENT = "client"
TICK_US = 20_000
TICKS_MAX = 500


class LocalEntities:
    """One host with all slices. Time moves only in here: by TICK_US for each time it is looked at.

    types: entity classes, importable or not. journal: one of its own in memory where none is given.
    replication: one for each type that is replicated.
    """

    is_client, has_address = True, False
    forward: Any = None
    """forward(Forward): takes commands for entities of other types; None: they are refused."""

    def __init__(
        self, *types: type, journal: Journal | None = None, limits: Limits | None = None,
        slices: int = 4, replication: Sequence[Replication] = (),
    ) -> None:  # fmt: skip
        settings = {one.entity_type: one for one in replication}
        self.types = [
            EntityType.of(one, slices, False, settings.get(getattr(one, "entity_type", "")))
            for one in types
        ]
        self.journal = journal or open_journal(f"memory:{uuid.uuid4().hex}")
        self.limits = limits or Limits()
        self.now_us = 1_000_000
        self.answers: dict[int, Answer] = {}
        self.actors: dict[str, Any] = {}
        self.address = ActorAddress("host")
        self._count = 0
        self.restart()

    # --- an EntityDriver ---
    def ask(self, entity: Any, entity_id: str, message: Any, *, command_id: str = "") -> Any:
        """The reply; raises the entity's error."""
        return self.finish(self.begin_ask(entity, entity_id, message, command_id=command_id))

    def ask_many(self, entity: Any, entity_id: str, messages: Sequence[Any]) -> list[Any]:
        """The replies of one batch of commands, in their order."""
        numbers = [self._number() for _ in messages]
        self.host.commands(
            Command(entity.entity_type, entity_id, message, ReplyAddress(CLIENT, CLIENT, number))
            for message, number in zip(messages, numbers, strict=True)
        )
        return [self.finish(number) for number in numbers]

    def tell(self, entity: Any, entity_id: str, message: Any) -> None:
        """A command nobody waits for."""
        self.host.commands([Command(entity.entity_type, entity_id, message)])

    def begin_ask(
        self, entity: Any, entity_id: str, message: Any, *, command_id: str = ""
    ) -> int:
        """Send a command, a little later; `finish` waits for its reply."""
        self.tick()
        number = self._number()
        to = ReplyAddress(CLIENT, CLIENT, number)
        self.host.commands([Command(entity.entity_type, entity_id, message, to, command_id)])
        return number

    def finish(self, begun: int) -> Any:
        """The reply; raises the entity's error, or TimeoutError when all time has passed."""
        for _ in range(TICKS_MAX):
            if begun in self.answers:
                answer = self.answers.pop(begun)
                if answer.status is not Status.OK:
                    assert isinstance(answer.value, Exception), answer
                    raise answer.value
                return unpack_reply(answer.value)
            self.tick()
        raise TimeoutError(f"no answer after {TICKS_MAX * TICK_US / 1e6} s of this host's time")

    def create(self, actor_class: Any, *_: Any) -> ActorAddress:
        """An ordinary actor."""
        actor, address = actor_class(), ActorAddress(f"actor-{self._number()}")
        actor._myRef = _LocalRef(self, address)
        self.actors[str(address)] = actor
        return address

    def ask_actor(self, address: Any, message: Any) -> Any:
        """An ordinary actor's answer."""
        outside = self.create(_Outside)
        self.actors[str(address)].receiveMessage(message, outside)
        return self.actors[str(outside)].received.pop()

    def restart(self) -> None:
        """Everything in memory is gone; the journal stays."""
        self.answers.clear()
        self.host = InlineHost(
            self.journal, self.types, uuid.uuid4().hex, self._answered, self._sent,
            limits=self.limits, clock_us=lambda: self.now_us, address=self.address,
            create_actor=self.create, forward=self.forward,
        )  # fmt: skip
        self.host.tick()

    # --- beyond a driver ---
    def tick(self, by_us: int = TICK_US) -> None:
        """Let time pass."""
        self.now_us += by_us
        self.host.tick()

    def send(self, target: Any, message: Any, sender: Any) -> None:
        """From an ordinary actor."""
        if target == self.address:
            self.host.message(sender, message)
        else:
            self.actors[str(target)].receiveMessage(message, sender)

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _answered(self, answer: Answer) -> None:
        if isinstance(answer.to, ReplyAddress):
            self.answers[answer.to.correlation] = answer
        else:
            value = unpack_reply(answer.value)
            self._sent(answer.to, value)

    def _sent(self, address: Any, message: Any) -> None:
        self.send(address, message, self.address)


class _LocalRef:
    """What Thespian gives an actor, as far as ordinary actors in tests need it."""

    def __init__(self, entities: LocalEntities, address: ActorAddress) -> None:
        self._entities, self.address = entities, address

    def actor_send(self, target: Any, message: Any) -> None:
        self._entities.send(target, message, self.address)


class _Outside:
    """An outside caller."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    def receiveMessage(self, message: Any, sender: Any) -> None:
        self.received.append(message)

"""A node's host on simpleSystemBase: one actor, everything on the spot, between two calls nothing.

`start` is called directly by the node: on this base all actors are objects of one process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from thespian.actors import ActorSystemMessage, WakeupMessage

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.alone import Settled
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.inline import InlineHost
from thespian_dc.entity.protocol import Command, ReplyAddress, ToEntity
from thespian_dc.journal.api import open_journal
from thespian_dc.model.errors import UnexpectedMessageError
from thespian_dc.model.settings import Settings
from thespian_dc.shell.facts import warn
from thespian_dc.shell.frames import unpack_reply
from thespian_dc.shell.typed_actor import TypedActor

log = logging.getLogger(__name__)

OnAnswer = Callable[[int, int, Any], None]


class InlineHostActor(TypedActor):
    """Messages of ordinary actors are answers to its entities' questions."""

    def __init__(self) -> None:
        super().__init__()
        self.settings: Settings
        self.host: InlineHost
        self._begun = False
        self.clients: dict[str, OnAnswer] = {}
        self.projections: Any = None
        self._armed = 0

    def start(self, settings: Settings) -> None:
        """Open the journal and take all slices."""
        self.settings = settings
        types = [EntityType.of(e, settings.slices, importable=False) for e in settings.entities]
        self.host = InlineHost(
            open_journal(settings.journal),
            types,
            f"inline-{uuid4().hex[:12]}",
            self._answer,
            self.send,
            limits=settings.limits,
            address=self.myAddress,
            create_actor=self.createActor,
            report=lambda one: warn(log, one.event, where=one.where, what=one.what),
            # All messages of this base stand in one queue: what the actor sent comes before this.
            settle=lambda address: self.send(self.myAddress, Settled(address)),
        )
        self._begun = True
        self.host.tick()
        self._arm()

    def receiveMessage(self, msg: Any, sender: Any) -> None:
        if not self._begun:  # its journal could not be opened: it is told to end
            return
        if isinstance(msg, WakeupMessage):
            self._armed -= 1
            self.host.tick()
        elif isinstance(msg, Settled):
            self.host.settled(msg.address)
        elif isinstance(msg, Command):
            self.host.commands([msg])
        elif not isinstance(msg, ActorSystemMessage):
            self.host.message(sender, msg)
        self._arm()

    def submit(self, commands: list[Command]) -> None:
        """A client's commands; answers go to `clients`."""
        self.host.commands(commands)
        self._arm()

    def _arm(self) -> None:
        """One wake-up under way at a time: its handler asks for the next."""
        due_s = self.host.due_s()
        if due_s is not None and self._armed == 0:
            self._armed += 1
            self.wakeupAfter(timedelta(seconds=min(due_s, 1.0)))

    def _answer(self, answer: Answer) -> None:
        to = answer.to
        if isinstance(to, ReplyAddress):
            on_answer = self.clients.get(to.client_id)
            if on_answer is not None:
                on_answer(to.correlation, int(answer.status), answer.value)
        else:
            value = answer.value
            self.send(to, unpack_reply(value))


class InlineTypeActor(TypedActor):
    """The address of an entity type on simpleSystemBase."""

    def __init__(self) -> None:
        super().__init__()
        self.serves: tuple[str, Any] = ("", None)

    def receiveMessage(self, msg: Any, sender: Any) -> None:
        entity_type, host = self.serves
        if isinstance(msg, ToEntity):
            command = Command(entity_type, msg.entity_id, msg.message, sender, msg.command_id)
            self.send(host, command)
        elif isinstance(msg, Command):
            self.send(host, msg)
        elif not isinstance(msg, ActorSystemMessage):
            self.send(sender, UnexpectedMessageError(entity_type, type(msg).__name__))

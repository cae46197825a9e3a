"""An entity class created by `createActor(Cart)`; its first message is `Begin`.

Where a node of this actor system serves the type, the actor is a façade: it hands every message on
to the owning host, with the sender as it is. Elsewhere it serves this one entity by itself: a host
core with the journal's operations done on the spot.
No Thespian here: the actor is given, with its own `send` and `wakeupAfter`.
"""

from __future__ import annotations

import enum
import logging
import os
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from thespian_dc.entity.actions import Answer
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.inline import InlineHost
from thespian_dc.entity.protocol import Command, ReplyAddress
from thespian_dc.journal.api import open_journal
from thespian_dc.model.entity_errors import EffectError
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.ids import SliceKey, check_name, slice_of
from thespian_dc.model.kinds import check_kinds
from thespian_dc.model.settings import Settings
from thespian_dc.shell.facts import warn
from thespian_dc.shell.frames import unpack_reply

log = logging.getLogger(__name__)

LOOK_AGAIN_US = 500_000
"""How often a slice that was lost is claimed again while commands wait for it."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message to an entity class that was created as an actor: which entity it is."""

    entity_id: str
    settings: Settings

    def __post_init__(self) -> None:
        check_name("entity_id", self.entity_id)
        check_kinds(self, settings=Settings)


class Tick(enum.Enum):
    """The payload of the host's own wake-ups."""

    TICK = "tick"


@dataclass(frozen=True, slots=True)
class Settled:
    """To itself, where messages of all actors stand in one queue: what `address` sent before this
    has arrived."""

    address: Any


class Kind(enum.Enum):
    """Of a message, as the actor's own class tells: COMMAND: the user's. EXIT: the actor ends.
    SETTLED: the sender has handled what it had before. INTERNAL: nobody's business here."""

    COMMAND = "command"
    TICK = "tick"
    EXIT = "exit"
    SETTLED = "settled"
    INTERNAL = "internal"


FindHost = Callable[[Any, str, str], Any]
"""(actor, service, entity_type) -> where a node takes `Command`s for the type, or None."""


def receive(actor: Any, message: Any, sender: Any, find: FindHost) -> None:
    """A message to an entity class that is an actor of its own."""
    if isinstance(message, Begin):
        try:
            actor._alone = actor._alone or _begin(actor, message, find)
            actor._alone.check(message)
        except ThespianDcError as refused:  # raised, Thespian would call us again
            actor.send(sender, refused)
    elif actor._alone is not None:
        actor._alone.receive(message, sender)
    else:
        actor._not_begun(message, sender)


def _begin(actor: Any, begin: Begin, find: FindHost) -> Facade | Alone:
    address = find(actor, begin.settings.service, actor.entity_type)
    return Alone(actor, begin) if address is None else Facade(actor, begin, address)


class _Begun:
    """An actor that knows which entity it is."""

    def __init__(self, actor: Any, begin: Begin) -> None:
        self._actor, self._entity_id = actor, begin.entity_id

    def check(self, begin: Begin) -> None:
        """EffectError where it is told to be another: that is fixed by the first Begin."""
        if begin.entity_id != self._entity_id:
            raise EffectError(
                f"Begin({begin.entity_id!r})", f"an actor that is {self._entity_id!r} already",
                "create another actor for it",
            )  # fmt: skip


class Facade(_Begun):
    """Hands messages on to the host that owns the entity."""

    def __init__(self, actor: Any, begin: Begin, address: Any) -> None:
        super().__init__(actor, begin)
        self._address = address

    def receive(self, message: Any, sender: Any) -> None:
        if self._actor._kind_of(message) is Kind.COMMAND:
            command = Command(self._actor.entity_type, self._entity_id, message, sender)
            self._actor.send(self._address, command)


class Alone(_Begun):
    """Serves one entity: this actor's messages are its commands."""

    def __init__(self, actor: Any, begin: Begin) -> None:
        super().__init__(actor, begin)
        settings = begin.settings
        description = EntityType.of(type(actor), settings.slices)
        key = SliceKey(description.name, slice_of(begin.entity_id, settings.slices))
        self._host = InlineHost(
            open_journal(settings.journal),
            [description],
            f"alone-{os.urandom(6).hex()}",
            self._answer,
            actor.send,
            limits=settings.limits,
            keys=[key],
            address=actor.myAddress,
            make_actor=self._make_actor,
            create_actor=actor.createActor,
            report=lambda one: warn(log, one.event, where=one.where, what=one.what),
            settle=actor._settle,
        )
        self._armed: list[int] = []  # when the actor will be woken, in order
        self._host.tick()
        self._wake_up()

    def receive(self, message: Any, sender: Any) -> None:
        host, actor = self._host, self._actor
        match actor._kind_of(message):
            case Kind.EXIT:
                host.close()
                host.journal.close()
                return
            case Kind.TICK:
                del self._armed[:1]
                host.tick()
            case Kind.SETTLED:
                host.settled(message.address if isinstance(message, Settled) else sender)
            case Kind.COMMAND if host.core.expects(sender):
                host.message(sender, message)
            case Kind.COMMAND:
                host.commands([Command(actor.entity_type, self._entity_id, message, sender)])
        self._wake_up()

    def _make_actor(self, description: EntityType) -> Any:
        """The entity's own object: with the actor's address, since it has one here."""
        entity = description.cls()
        entity._myRef = self._actor._myRef
        return entity

    def _answer(self, answer: Answer) -> None:
        to = answer.to.address if isinstance(answer.to, ReplyAddress) else answer.to
        value = unpack_reply(answer.value)
        self._actor.send(to, value)

    def _wake_up(self) -> None:
        """Have Thespian wake the actor when the host has something to do."""
        now_us = self._host.clock_us()
        due_us = self._host.core.wakeup_us()
        if self._host.core.waits_for_slices:
            due_us = min(due_us or now_us + LOOK_AGAIN_US, now_us + LOOK_AGAIN_US)
        if due_us is not None and (not self._armed or due_us < self._armed[0]):
            insort(self._armed, due_us)
            delay = timedelta(microseconds=max(0, due_us - now_us))
            self._actor.wakeupAfter(delay, Tick.TICK)

"""TypeActor: the address of an entity type, for actors and callers that know no client.

Takes ToEntity from anybody, and Command from an entity class created as an actor; hands them on to
the hosts with the real sender, whom the entity answers directly. It holds no state but routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from thespian_dc.entity.handing import FrameSender
from thespian_dc.entity.protocol import Command, CommandFrame, ReplyFrame, ToEntity
from thespian_dc.entity.router import Outgoing, Router
from thespian_dc.model.errors import UnexpectedMessageError
from thespian_dc.shell import simple
from thespian_dc.shell.addresses import address_of, text_of
from thespian_dc.shell.frames import pack
from thespian_dc.shell.leaf_actor import LeafActor
from thespian_dc.shell.protocol import (
    Begin,
    GetRoutes,
    GetStatus,
    LeafSpec,
    Routes,
    Status,
    coordinator_name,
)
from thespian_dc.shell.talk import Talk

TYPE_ACTOR = "thespian_dc.entity.type_actor.TypeActor"
DELIVER_WITHIN_S = 60.0


def type_leaf(service: str, entity_type: str) -> LeafSpec:
    """The leaf that is a type's address."""
    return LeafSpec(f"thespian_dc:{service}:type:{entity_type}", "types", TYPE_ACTOR, entity_type)


def find_type_address(actor: Any, service: str, entity_type: str) -> Any:
    """Where a node of the actor's own system takes `Command`s for the type; None: none serves it.

    Asks the Admin and the coordinator, and waits for their answers: some milliseconds.
    """
    if type(actor._myRef).__module__.endswith("simpleSystemBase"):
        system = actor._myRef._system
        host = simple.instance_of(system, coordinator_name(service))
        served = host.settings.entities if host is not None else ()
        names = [entity.entity_type for entity in served]
        return host.myAddress if entity_type in names else None
    with Talk.of_actor(actor) as talk:
        coordinator = talk.coordinator(service)
        status = talk.ask(coordinator, GetStatus(), Status, 5.0) if coordinator else None
        served = status.settings.entities if status and status.settings else ()
        if entity_type not in [entity.entity_type for entity in served]:
            return None
        text = talk.leaf_address(coordinator, type_leaf(service, entity_type))
    return address_of(text) if text else None


class TypeActor(LeafActor):
    """settings: the entity type's name."""

    def begin(self, begin: Begin) -> None:
        self._entity_type: str = begin.settings
        self._router = Router(
            uuid4().hex[:12], self._send_frame, self._ask_routes, lambda outcomes: None
        )
        self._router.sender = FrameSender(self.address)

    def on_message(self, message: Any, sender: Any) -> None:
        if isinstance(message, ReplyFrame):
            if message.client_id == self._router.client_id:
                self._router.on_reply(message, text_of(sender))
        elif isinstance(message, Routes):
            self._router.on_routes(message.reported)
        elif isinstance(message, ToEntity):
            self._hand_on(message.entity_id, message.message, message.command_id, sender)
        elif isinstance(message, Command) and message.entity_type == self._entity_type:
            self._hand_on(
                message.entity_id, message.message, message.command_id, message.reply_to
            )
        else:
            self.send(sender, UnexpectedMessageError(self._entity_type, type(message).__name__))

    def on_tick(self, now: int) -> None:
        self._router.on_tick()

    def next_tick_us(self) -> int:
        return self._router.wakeup_us() or self._report_us

    def drained(self) -> bool:
        return not self._router.core.under_way()

    def _hand_on(self, entity_id: str, message: Any, command_id: str, sender: Any) -> None:
        command = Outgoing(
            self._entity_type, entity_id, pack(message), None, command_id, sender
        )
        self._router.submit([command], DELIVER_WITHIN_S)

    def _send_frame(
        self, address: str, frame: CommandFrame, on_done: Callable[[bool], None]
    ) -> None:
        self.transmit(address_of(address), frame, on_done)

    def _ask_routes(self) -> None:
        self.send(self._coordinator, GetRoutes())

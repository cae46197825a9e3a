"""The base classes of entities: Thespian actors whose state comes from a journal.

An entity is written as any Thespian actor: `receiveMsg_<Type>(self, message, sender)`. It runs in
three places unchanged: hosted (thousands in one process), alone (`createActor(Cart)`, then
`Begin`), and in the testkit's EntityProbe. What it does to the outside is recorded by the call and
takes place once what it persisted is durable (docs/entities.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ActorSystemMessage,
    ActorTypeDispatcher,
    WakeupMessage,
)
from thespian.system.messages.status import Thespian_ActorStatus, Thespian_StatusReq

from thespian_dc.entity.alone import Kind, Settled, Tick, receive
from thespian_dc.entity.effects import Chain, Effects, Keep, OpenAsk, Stage
from thespian_dc.entity.entity_type import Encoded
from thespian_dc.entity.instance import Instance
from thespian_dc.entity.protocol import EntityRef, ReplyAddress, Status
from thespian_dc.entity.recording import Recorded, deletion
from thespian_dc.entity.type_actor import find_type_address
from thespian_dc.model.entity_errors import EffectError, RevisionConflictError
from thespian_dc.shell.frames import pack


class _NoActor:
    """Stands where Thespian keeps an actor's own reference: a hosted entity has none."""

    def __getattr__(self, name: str) -> Any:
        raise EffectError(
            name, "an entity", "an entity has no address or process of its own; use an ordinary "
            "actor for this and talk to it by self.send or self.ask"
        )  # fmt: skip


class EntityActor(ActorTypeDispatcher):
    """What both kinds of entity have in common. Derive from EventSourcedActor or DurableStateActor.
    """

    entity_type: ClassVar[str] = ""
    """The stored name of the type; it must never change once records exist."""
    events: ClassVar[Sequence[Any]] = ()
    """Payload types it persists as events: classes or Registered(...)."""
    states: ClassVar[Sequence[Any]] = ()
    """Payload types its state is made of, beside plain values: for snapshots and durable states."""
    replies: ClassVar[Sequence[Any]] = ()
    """Reply types, beside plain values, that a command sent twice with one id is answered again."""
    upcasters: ClassVar[Sequence[Any]] = ()
    """Ways up from older versions of all of these."""
    snapshot_every: ClassVar[int] = 0
    """A snapshot whenever seq_nr passes a multiple of this; 0: none by number."""
    in_place_states: ClassVar[bool] = False
    """apply_event changes the state in place and may return None."""

    _base: ClassVar[Any]
    _durable_state: ClassVar[bool]
    _replicated: ClassVar[bool] = False
    _facts: ClassVar[Sequence[str]] = ("state", "entity_id", "seq_nr", "ref")
    """What the base class says of an entity: not for a subclass to define."""
    _entity: Instance | None = None
    _alone: Any = None
    _myRef: Any = _NoActor()  # noqa: N815  Thespian's name

    # --- what it is ---
    @property
    def state(self) -> Any:
        """The state as this handler found it. What is persisted moves it on after the handler."""
        return self._hosted("state").state

    @property
    def entity_id(self) -> str:
        return self._hosted("entity_id").entity_id

    @property
    def seq_nr(self) -> int:
        """The number of the entity's records so far; a durable state's revision."""
        return self._hosted("seq_nr").seq_nr

    @property
    def ref(self) -> EntityRef:
        """The entity's name: to be stored and sent, and sent to."""
        return self._hosted("ref").ref

    @property
    def myAddress(self) -> ActorAddress:
        if self._entity is not None and "_myRef" not in self.__dict__:
            raise EffectError(
                "myAddress", f"the hosted entity {self._entity.ref}", "an entity has no address of "
                "its own; send self.ref"
            )  # fmt: skip
        address: ActorAddress = super().myAddress
        return address

    # --- what a class may say ---
    def empty_state(self) -> Any:
        """The state before the first record."""
        return None

    def snapshot_when(self, state: Any, event: Any, seq_nr: int) -> bool:
        """Is a snapshot due after this event?"""
        return False

    def tags_for(self, state: Any, event: Any) -> Sequence[str]:
        """Tags of an event; state: after it. Filters of streams select by them."""
        return ()

    def recovery_completed(self) -> None:
        """The entity is in memory and handles its first command next. Timers are set here; it may
        send and ask, and not persist or reply."""

    # --- effects ---
    def reply(self, value: Any) -> None:
        """Answer the command."""
        self._effects("reply").answer(Status.OK, value)

    def none(self) -> Chain:
        """Persist nothing; for `self.none().then_reply(...)`."""
        effects = self._effects("none")
        effects.open_to_handlers("none")
        return effects

    def no_reply(self) -> None:
        """Whoever waits is not answered by this command: an answer comes another way, or none."""
        self._effects("no_reply").no_reply()

    def stash(self) -> None:
        """Put this command aside until unstash_all."""
        self._effects("stash").keep(Keep.STASH)

    def unstash_all(self) -> None:
        """Handle what is stashed, in its order, before any other command."""
        self._effects("unstash_all").keep(Keep.UNSTASH_ALL)

    def stop(self) -> None:
        """Leave memory once this is durable; the next command brings the entity back."""
        self._effects("stop").keep(Keep.STOP)

    def send(self, targetAddr: Any, msg: Any) -> None:
        """To an actor, an entity (EntityRef), or a sender, once what was persisted is durable."""
        if self._entity is None:
            super().send(targetAddr, msg)  # type: ignore[no-untyped-call]
            return
        if not isinstance(targetAddr, ActorAddress | EntityRef | ReplyAddress):
            kind = type(targetAddr).__name__
            raise EffectError("send", f"a message to a {kind}", "send to an address, ref or sender")
        self._effects("send").send(targetAddr, msg)

    def wakeupAfter(self, timePeriod: timedelta, payload: Any = None) -> None:
        """A WakeupMessage after a while, unless the entity has left memory; it stays for it."""
        if self._entity is None:
            super().wakeupAfter(timePeriod, payload)  # type: ignore[no-untyped-call]
        else:
            period_us = timePeriod // timedelta(microseconds=1)
            self._effects("wakeupAfter").wake_up_after(period_us, payload)

    def ask(
        self,
        address: Any,
        message: Any,
        *,
        on_reply: Callable[[Any], Any],
        on_timeout: Callable[[], Any] | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        """Ask an actor or entity; on_reply(answer) goes on with this command when it comes.

        Other commands are handled meanwhile. An entity's error, or a time-out without on_timeout,
        is this command's failure.
        """
        if not isinstance(address, ActorAddress | EntityRef):
            kind = type(address).__name__
            raise EffectError("ask", f"a question to a {kind}", "ask an address or an EntityRef")
        question = OpenAsk(address, pack(message), on_reply, on_timeout, int(timeout_s * 1e6))
        self._effects("ask").ask(question, message)

    def createActor(self, *args: Any, **kwargs: Any) -> Any:
        """Only in a `then` function: a handler may run again, an actor is created once."""
        if self._entity is None:
            return super().createActor(*args, **kwargs)  # type: ignore[no-untyped-call]
        effects, create = self._effects("createActor"), self._entity.host.create_actor
        if effects.stage is not Stage.THEN:
            raise EffectError(
                "createActor", effects.stage.value, "the handler may run again after a lost "
                "commit; create the actor in .then(...), once the command is durable"
            )  # fmt: skip
        if create is None:
            raise EffectError(
                "createActor", "this host", "its process has threads and must not fork; create the "
                "actor elsewhere and send its address here"
            )  # fmt: skip
        return create(*args, **kwargs)

    def logger(self, name: str | None = None) -> Any:
        """As Thespian's; a hosted entity's records carry its ref as the address."""
        if self._entity is None:
            return super().logger(name)  # type: ignore[no-untyped-call]
        facts = {"actorAddress": str(self._entity.ref)}
        return logging.LoggerAdapter(logging.getLogger(name), facts)

    # --- alone: an actor of its own ---
    def receiveMessage(self, message: Any, sender: Any) -> Any:
        """Only where the class was created by createActor; a host does not come this way."""
        return receive(self, message, sender, find_type_address)

    def _not_begun(self, message: Any, sender: Any) -> None:
        """Alone, and nobody has said yet which entity this is."""
        if self._kind_of(message) is Kind.COMMAND:
            error = EffectError(
                f"a {type(message).__name__}", f"a {type(self).__name__} that has not begun",
                "its first message must be Begin(entity_id, settings)",
            )  # fmt: skip
            self.send(sender, error)

    @staticmethod
    def _kind_of(message: Any) -> Kind:
        if isinstance(message, WakeupMessage) and message.payload is Tick.TICK:
            return Kind.TICK
        if isinstance(message, ActorExitRequest):
            return Kind.EXIT
        if isinstance(message, Thespian_ActorStatus | Settled):
            return Kind.SETTLED
        return Kind.INTERNAL if isinstance(message, ActorSystemMessage) else Kind.COMMAND

    def _settle(self, address: ActorAddress) -> None:
        if type(self._myRef).__module__.endswith("simpleSystemBase"):
            self.send(self.myAddress, Settled(address))
        else:
            # Thespian answers this itself, after everything the actor had received before: what it
            # sent while handling that comes first.
            self.send(address, Thespian_StatusReq())

    # --- inside ---
    def _hosted(self, what: str) -> Instance:
        if self._entity is None:
            raise EffectError(
                what, f"a {type(self).__name__} outside a host", "a node serves it, or it is "
                "created and told Begin(...), or EntityProbe tests it; its __init__ comes before"
            )  # fmt: skip
        return self._entity

    def _effects(self, what: str) -> Effects:
        instance = self._hosted(what)
        effects = instance.effects
        if effects is None:
            raise EffectError(
                what, f"code of {instance.ref} that runs outside a handler", "call it while a "
                "command is handled"
            )  # fmt: skip
        return effects

    @staticmethod
    def _wakeup_message(period_us: int, payload: Any) -> WakeupMessage:
        return WakeupMessage(timedelta(microseconds=period_us), payload)

    def __str__(self) -> str:
        return f"{{{type(self).__name__} @ {self._entity.ref if self._entity else 'no host'}}}"


class EventSourcedActor(EntityActor):
    """An entity whose state is the fold of its events."""

    _durable_state = False

    def apply_event(self, state: Any, event: Any) -> Any:
        """The state after the event. Pure: it is called live, on recovery, and for other replicas'
        events."""
        raise NotImplementedError(f"{type(self).__name__}.apply_event")

    def persist(self, events: Any) -> Chain:
        """Persist an event, or a list of events: all of one command's or none. Encoded now; applied
        after the handler. UnregisteredTypeError, UnencodableError: nothing was recorded."""
        instance = self._entity
        effects = None if instance is None else instance.effects
        if effects is None or effects.stage is not Stage.HANDLER:  # else there is nothing to check
            effects = self._effects("persist")
            effects.open_to_handlers("persist")
        encode = effects.instance.type.registry.encode
        if isinstance(events, list):
            recorded = [Recorded(event, *encode(event)) for event in events]
        else:
            manifest, payload = encode(events)
            recorded = [Recorded(events, manifest, payload)]
        return effects.persist(recorded)


class DurableStateActor(EntityActor):
    """An entity whose records each carry the whole state; seq_nr is its revision."""

    _durable_state = True

    def persist(
        self, state: Any, change_event: Any = None, *, expected_revision: int | None = None
    ) -> Chain:
        """Replace the state. change_event: of a registered type, for streams.

        RevisionConflictError where the revision is not expected_revision; it reaches the asker.
        """
        effects = self._changes("persist", expected_revision)
        manifest, payload = effects.instance.type.encode_state(state)
        change = self._encoded(change_event)
        return effects.persist([Recorded(change_event, manifest, payload, state, change)])

    def delete(self, change_event: Any = None, *, expected_revision: int | None = None) -> Chain:
        """Back to the empty state; the revision goes on."""
        effects = self._changes("delete", expected_revision)
        change = self._encoded(change_event)
        return effects.persist([deletion(self.empty_state(), change, change_event)])

    def _changes(self, what: str, expected_revision: int | None) -> Effects:
        effects, instance = self._effects(what), self._hosted(what)
        effects.open_to_handlers(what)
        if effects.events:
            raise EffectError(what, "a command that changed the state already", "persist once")
        if expected_revision is not None and expected_revision != instance.seq_nr:
            raise RevisionConflictError(str(instance.ref), expected_revision, instance.seq_nr)
        return effects

    def _encoded(self, event: Any) -> Encoded | None:
        if event is None:
            return None
        return Encoded(*self._hosted("persist").type.registry.encode(event))


EntityActor._base = EntityActor
EventSourcedActor._base = EventSourcedActor
DurableStateActor._base = DurableStateActor

__all__ = ["DurableStateActor", "EntityActor", "EventSourcedActor"]

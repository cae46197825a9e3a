"""A class that cannot be an entity is refused when it is registered, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from thespian.actors import ActorTypeDispatcher
from thespian.initmsgs import initializing_messages
from thespian.transient import transient
from thespian.troupe import troupe

from tests.unit.host_core import Host
from thespian_dc.entity.actor import DurableStateActor, EventSourcedActor
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.model.entity_errors import EffectError, EntityClassError
from thespian_dc.model.errors import RegistrationError, SettingsError, UnregisteredTypeError
from thespian_dc.model.node_errors import NotImportableError
from thespian_dc.testkit.entities import Account, Deposited
from thespian_dc.testkit.probe import EntityProbe


class Sound(EventSourcedActor):
    """The class that the others differ from."""

    entity_type = "sound"
    events = (Deposited,)

    def empty_state(self) -> int:
        return 0

    def apply_event(self, state: int, event: Deposited) -> int:
        return state + event.amount

    def receiveMsg_int(self, amount: int, sender: Any) -> None:
        self.persist(Deposited(amount)).then_reply(lambda state: state)


class Overrides(Sound):
    def receiveMessage(self, message: Any, sender: Any) -> None:
        """Not how an entity gets its commands."""


class TakesArguments(Sound):
    def __init__(self, name: str) -> None:
        super().__init__()


class DefinesState(Sound):
    state = 0


class Ordinary(ActorTypeDispatcher):
    entity_type = "ordinary"


class NoApply(EventSourcedActor):
    entity_type = "no_apply"
    events = (Deposited,)


class NoEvents(Sound):
    events = ()


class NoName(Sound):
    entity_type = ""


class BadName(Sound):
    entity_type = "a|b"


class BadSnapshots(Sound):
    snapshot_every = -1


class Coroutine(Sound):
    async def receiveMsg_str(self, command: str, sender: Any) -> None:
        """Called, it would do nothing."""


class Generator(Sound):
    def receiveMsg_str(self, command: str, sender: Any) -> Any:
        yield command


class LateEvents(Sound):
    async def apply_event(self, state: int, event: Any) -> int:
        """Called, it would make the state a coroutine."""
        return state


class SenderForgotten(Sound):
    def receiveMsg_str(self, command: str) -> None:
        """Thespian gives it the sender too."""


class StateForgotten(Sound):
    def apply_event(self, event: Any) -> Any:  # type: ignore[override]
        return event


class EmptyDict(Sound):
    empty_state = {}  # type: ignore[assignment] # noqa: RUF012


class DurableApplies(DurableStateActor):
    entity_type = "durable_applies"

    def apply_event(self, state: Any, event: Any) -> Any:
        return state


class Unstorable:
    """Neither a dataclass nor anything else with a stored form."""


class UnstorableEvents(Sound):
    events = (Unstorable,)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Overrides, "receiveMessage is overridden"),
        (TakesArguments, "__init__ takes arguments"),
        (DefinesState, "defines 'state'"),
        (Ordinary, "must derive from EventSourcedActor or DurableStateActor"),
        (NoApply, "no apply_event"),
        (NoEvents, "events is empty"),
        (NoName, "set entity_type"),
        (BadName, "set entity_type"),
        (BadSnapshots, "snapshot_every"),
        (Coroutine, "receiveMsg_str must be a plain function"),
        (Generator, "receiveMsg_str must be a plain function"),
        (LateEvents, "apply_event must be a plain function"),
        (SenderForgotten, r"receiveMsg_str\(self, message, sender\)"),
        (StateForgotten, r"apply_event\(self, state, event\)"),
        (EmptyDict, r"empty_state\(self\)"),
        (DurableApplies, "nothing would call it"),
    ],
)
def test_unfit_class_is_refused_by_name(bad: type, reason: str) -> None:
    """Before any actor exists: an error of the settings."""
    with pytest.raises(EntityClassError, match=reason) as refused:
        EntityType.of(bad)
    assert bad.__qualname__ in str(refused.value)
    assert isinstance(refused.value, SettingsError)


@pytest.mark.parametrize("bad", ["bank:Account", 5, Sound()])
def test_what_is_no_class_is_refused_as_that(bad: Any) -> None:
    for build in (EntityType.of, EntityProbe):
        with pytest.raises(EntityClassError, match="it is no class"):
            build(bad)


@pytest.mark.parametrize(
    ("decorate", "name"),
    [
        (transient(timedelta(seconds=1)), "@transient"),
        (troupe(max_count=2), "@troupe"),
        (initializing_messages([("first", str)]), "@initializing_messages"),
    ],
)
def test_decorators_that_take_over_messages_are_refused(decorate: Any, name: str) -> None:
    """They replace receiveMessage, which a hosted entity does not have."""
    decorated = decorate(type("Decorated", (Sound,), {"__module__": __name__}))
    with pytest.raises(EntityClassError, match=name):
        EntityType.of(decorated)


def test_unstorable_event_type_is_refused_at_registration() -> None:
    """Not when the first command persists one."""
    with pytest.raises(RegistrationError, match="Unstorable"):
        EntityType.of(UnstorableEvents)


def test_class_of_the_started_program_is_refused() -> None:
    """In the host's process __main__ is another program."""
    main = type("Cart", (Sound,), {"__module__": "__main__"})
    with pytest.raises(NotImportableError, match="module of its own"):
        EntityType.of(main)

    class Local(Sound):
        pass

    with pytest.raises(NotImportableError, match="in a function"):
        EntityType.of(Local)


def test_slices_are_a_power_of_two() -> None:
    """As everywhere."""
    with pytest.raises(SettingsError, match="power of two"):
        EntityType.of(Sound, slices=3)


# --- dispatch ---
@dataclass(frozen=True)
class Base:
    pass


@dataclass(frozen=True)
class Derived(Base):
    pass


class Older(Sound):
    def receiveMsg_Base(self, message: Base, sender: Any) -> Any:
        self.reply([*self.trail, "Older.Base"])

    def receiveMsg_Derived(self, message: Derived, sender: Any) -> Any:
        self.trail.append("Older.Derived")
        return self.SUPER


class Younger(Older):
    entity_type = "younger"

    def __init__(self) -> None:
        super().__init__()
        self.trail: list[str] = []

    def receiveMsg_Base(self, message: Base, sender: Any) -> Any:
        self.trail.append("Younger.Base")
        return self.SUPER

    def receiveMsg_Derived(self, message: Derived, sender: Any) -> Any:
        self.trail.append("Younger.Derived")
        return self.SUPER

    def receiveUnrecognizedMessage(self, message: Any, sender: Any) -> Any:
        self.reply(f"unrecognized {message!r}")


def test_super_walks_both_hierarchies_each_handler_once() -> None:
    """The message's classes first, and for each the entity's: Thespian's order."""
    host = Host(Younger).own()
    [number] = host.send(host.command(Younger, "a", Derived()))
    host.run()
    assert host.answers[number] == [
        "Younger.Derived", "Older.Derived", "Younger.Base", "Older.Base",
    ]  # fmt: skip


def test_unrecognized_messages_go_where_thespian_sends_them() -> None:
    """receiveUnrecognizedMessage, if the class has it."""
    host = Host(Younger).own()
    [number] = host.send(host.command(Younger, "a", 2.5))
    host.run()
    assert host.answers[number] == "unrecognized 2.5"


# --- outside a host ---
def test_class_outside_a_host_says_what_is_missing() -> None:
    """Somebody instantiates the class in a test of their own."""
    sound = Sound()
    with pytest.raises(EffectError, match="outside a host"):
        sound.persist(Deposited(1))
    with pytest.raises(EffectError, match="outside a host"):
        _ = sound.state


def test_effects_between_commands_are_refused() -> None:
    """The object is at hand, and no command is being handled."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", 0))
    host.run()
    actor = host.core._hosted.types["account"].entities["a"].actor
    with pytest.raises(EffectError, match="outside a handler"):
        actor.persist(Deposited(1))
    with pytest.raises(EffectError, match="handleDeadLetters"):
        actor.handleDeadLetters()


def test_unregistered_event_names_what_is_registered() -> None:
    """The remedy is in the message."""
    registry = EntityType.of(Sound).registry
    with pytest.raises(UnregisteredTypeError, match="Registered: Deposited"):
        registry.encode(Base())


def test_durable_state_needs_no_events() -> None:
    """Its records are states."""

    class Plain(DurableStateActor):
        entity_type = "plain"

    assert EntityType.of(Plain, importable=False).is_durable_state

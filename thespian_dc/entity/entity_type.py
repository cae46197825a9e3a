"""A user's entity class, compiled once: checks, payload registry, dispatch table. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any, NamedTuple

from thespian_dc.codec.api import Registry
from thespian_dc.model.entity_errors import EntityClassError
from thespian_dc.model.errors import CodecError, UnregisteredTypeError
from thespian_dc.model.ids import SLICES_DEFAULT, check_name, check_slices
from thespian_dc.model.node_errors import NotImportableError
from thespian_dc.model.record import VALUE_MANIFEST
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.setting_checks import is_lazy

HANDLER = "receiveMsg_"
UNRECOGNIZED = "receiveUnrecognizedMessage"
_CALLED = {
    "empty_state": "self", "apply_event": "self, state, event", "tags_for": "self, state, event",
    "snapshot_when": "self, state, event, seq_nr", "recovery_completed": "self",
    "replicated_event_received": "self, event, origin",
    "replicated_event_transformed": "self, event, origin",
}  # fmt: skip
"""What is called of a class beside its handlers, and with what."""

Handler = Callable[[Any, Any, Any], Any]
_DECORATORS = {
    "thespian.transient": "@transient ends the actor by a timer; idle entities are passivated here",
    "thespian.troupe": "@troupe spreads messages over several actors; an entity is one",
    "thespian.initmsgs": "@initializing_messages waits for messages; an entity has its state from "
    "the journal, use recovery_completed",
}


class Encoded(NamedTuple):
    """A payload in its stored form."""

    manifest: str
    payload: bytes


class Dispatch(dict[type, tuple[Handler, ...]]):
    """The handlers of each message class, worked out when the class is first met.

    Thespian's order: for each class the message descends from, each class the entity descends from.
    The next is called where one returns SUPER.
    """

    def __init__(self, entity: Any) -> None:
        super().__init__()
        self._entity = entity

    def __missing__(self, message_class: type) -> tuple[Handler, ...]:
        owners = self._entity.__mro__
        names = [HANDLER + one.__name__ for one in message_class.__mro__]
        found = [getattr(o, name) for name in names for o in owners if name in o.__dict__]
        if hasattr(self._entity, UNRECOGNIZED):
            found.append(getattr(self._entity, UNRECOGNIZED))
        self[message_class] = tuple(found)
        return self[message_class]


class EntityType:
    """What a host knows of a class. `of` makes it, or says what is wrong with the class."""

    def __init__(
        self, cls: Any, slices: int, registry: Registry, replication: Replication | None = None
    ) -> None:
        self.cls, self.name, self.slices, self.registry = cls, cls.entity_type, slices, registry
        self.is_durable_state: bool = cls._durable_state
        self.replicated: bool = cls._replicated
        self.replication = replication
        """This replica's settings; a host serves no replicated type without."""
        self.in_place: bool = cls.in_place_states
        self.snapshot_every: int = cls.snapshot_every
        self.empty_state: Callable[[Any], Any] = cls.empty_state
        self.apply_event: Callable[[Any, Any, Any], Any] | None = getattr(cls, "apply_event", None)
        self.wakeup: Callable[[int, Any], Any] = cls._wakeup_message
        self.super: Any = cls.SUPER
        base = cls._base
        self.snapshot_when = _if_overridden(cls, base, "snapshot_when")
        self.tags_for = _if_overridden(cls, base, "tags_for")
        self.recovery_completed = _if_overridden(cls, base, "recovery_completed")
        if self.replicated:
            self.received = _if_overridden(cls, base, "replicated_event_received")
            self.transformed = _if_overridden(cls, base, "replicated_event_transformed")
        self.handlers = Dispatch(cls)
        self._unstorable: set[type] = set()

    @classmethod
    def of(
        cls,
        entity: type,
        slices: int = SLICES_DEFAULT,
        importable: bool = True,
        replication: Replication | None = None,
    ) -> EntityType:
        """Compile a class. EntityClassError, RegistrationError or SettingsError where it cannot be
        an entity; NotImportableError where another process could not import it (unless importable
        is False: tests within one process). replication: its setting, of a replicated class."""
        check_class(entity)
        if replication is not None and not getattr(entity, "_replicated", False):
            why = (
                "it has a Replication setting, and does not derive from ReplicatedEventSourcedActor"
            )
            raise EntityClassError(entity.__qualname__, why)
        if importable:
            _check_importable(entity)
        kind: Any = entity
        types = [*kind.events, *kind.states, *kind.replies]
        registry = Registry(dict.fromkeys(types), upcasters=kind.upcasters)
        return cls(entity, check_slices(slices), registry, replication)

    # --- dispatch ---
    def commands(self) -> tuple[str, ...]:
        """The names of the types it handles."""
        names = [n[len(HANDLER) :] for n in dir(self.cls) if n.startswith(HANDLER)]
        return tuple(sorted(names))

    # --- stored forms ---
    def encode_state(self, state: Any) -> Encoded:
        """A durable state as a record's payload: under its own manifest where it is registered."""
        try:
            return Encoded(*self.registry.encode(state))
        except UnregisteredTypeError:
            return Encoded(VALUE_MANIFEST, self.registry.encode_value(state))

    def decode_state(self, manifest: str, payload: bytes) -> Any:
        """What `encode_state` got."""
        if manifest == VALUE_MANIFEST:
            return self.registry.decode_value(payload)
        return self.registry.decode(manifest, payload)

    def encode_reply(self, reply: Any) -> bytes | None:
        """A reply's stored form, or None where it has none: its type is not registered."""
        if type(reply) in self._unstorable:
            return None
        try:
            return self.registry.encode_value(reply)
        except UnregisteredTypeError:
            self._unstorable.add(type(reply))
        except CodecError:
            pass
        return None


def check_class(entity: Any) -> None:
    """EntityClassError where the class cannot be an entity as it is written."""
    name = getattr(entity, "__qualname__", repr(entity))
    if not issubclass(type(entity), type):
        raise EntityClassError(name, "it is no class: give the class, not an object or its name")
    base = getattr(entity, "_base", None)
    if base is None:
        raise EntityClassError(name, "it must derive from EventSourcedActor or DurableStateActor")
    if entity.receiveMessage is not base.receiveMessage:
        module = getattr(entity.receiveMessage, "__module__", "")
        why = "receiveMessage is overridden: write receiveMsg_<Type> for each command"
        raise EntityClassError(name, _DECORATORS.get(module, why))
    try:
        check_name("entity_type", entity.entity_type)
    except Exception as error:
        raise EntityClassError(name, f"{error}; set entity_type on the class") from error
    _check_declarations(entity, base, name)


def _check_declarations(entity: Any, base: Any, name: str) -> None:
    if entity._durable_state:
        if entity._replicated:
            raise EntityClassError(name, "a durable state cannot be replicated: its events can")
        if hasattr(entity, "apply_event"):
            raise EntityClassError(
                name, "it has an apply_event, and a DurableStateActor persists states: nothing "
                "would call it; derive from EventSourcedActor, or leave it out"
            )  # fmt: skip
    else:
        if entity.apply_event is base.apply_event:
            raise EntityClassError(name, "it has no apply_event(self, state, event)")
        if not entity.events:
            raise EntityClassError(name, "events is empty: list the event types it persists")
    for fact in base._facts:
        if getattr(entity, fact) is not getattr(base, fact):
            raise EntityClassError(name, f"it defines {fact!r}, which is the base class's")
    if any(_is_required(one) for one in signature(entity).parameters.values()):
        raise EntityClassError(name, "__init__ takes arguments; an entity begins with its state")
    _check_handlers(entity, name)
    for field in ("events", "states", "replies", "upcasters"):
        if not isinstance(getattr(entity, field), Sequence):
            raise EntityClassError(name, f"{field} must be a list")
    if not isinstance(entity.snapshot_every, int) or entity.snapshot_every < 0:
        raise EntityClassError(name, "snapshot_every must be a number of events, 0 for never")


def _check_handlers(entity: Any, name: str) -> None:
    """A handler that is a coroutine or a generator would be called, and nothing of it would run;
    one that takes something else would fail each command."""
    for one in dir(entity):
        is_handler = one.startswith(HANDLER) or one == UNRECOGNIZED
        given = "self, message, sender" if is_handler else _CALLED.get(one)
        if given is None:
            continue
        function = getattr(entity, one)
        if is_lazy(function):
            how = "; use self.ask to wait" if is_handler else ""
            raise EntityClassError(name, f"{one} must be a plain function{how}")
        if not _takes(function, given.count(",") + 1):
            raise EntityClassError(name, f"it needs {one}({given}), a method that takes just that")


def _takes(function: Any, count: int) -> bool:
    if isinstance(function, type) or not callable(function):
        return False
    try:
        signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # written in C: it does not say
        pass
    return True


def _is_required(parameter: Parameter) -> bool:
    fixed = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return parameter.default is Parameter.empty and parameter.kind in fixed


def _check_importable(entity: Any) -> None:
    name, module = entity.__qualname__, entity.__module__
    if module == "__main__":
        raise NotImportableError(
            f"__main__.{name}", "the program that was started", "move the class to a module of its "
            "own and import it from there: in another process __main__ is another program"
        )  # fmt: skip
    if "<locals>" in name:
        raise NotImportableError(
            f"{module}.{name}", module, "it is defined in a function; move it to the module's top"
        )


def _if_overridden(cls: Any, base: Any, name: str) -> Callable[..., Any] | None:
    method: Callable[..., Any] = getattr(cls, name)
    return None if method is getattr(base, name) else method

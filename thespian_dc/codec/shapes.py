"""How objects of one class become plain values and back: records (dataclasses, named tuples),
enums, messages.

A shape is compiled once per class; `take` and `build` are what runs per object. `build` takes any
stored value and raises ValueError (or what the class itself raises) when it does not fit.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from thespian_dc.codec.declare import Fields
from thespian_dc.codec.leaves import CONTAINER_BY_TYPE, LEAF_BY_TYPE, NATIVE
from thespian_dc.model.errors import RegistrationError

PLAIN: Final = frozenset({*NATIVE, *LEAF_BY_TYPE, *CONTAINER_BY_TYPE})


@dataclass(frozen=True, slots=True)
class Shape:
    """One class, compiled. hints: of a record's fields, by name, possibly still strings."""

    cls: type
    take: Callable[[Any], Any]
    build: Callable[[Any], Any]
    hints: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_record: bool = False  # stored as fields by name: only these have upcasters


def is_named_tuple(cls: type) -> bool:
    """typing.NamedTuple and collections.namedtuple classes."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_field_defaults")


def has_shape(cls: type) -> bool:
    """Can `shape_of` compile this class?"""
    if issubclass(cls, enum.Enum):
        return bool(cls.__members__)
    if issubclass(cls, Message):
        return cls is not Message
    if dataclasses.is_dataclass(cls) or is_named_tuple(cls) or cls in PLAIN:
        return True
    return _has_own_form(cls)


def _has_own_form(cls: type) -> bool:
    """A container of ours: `to_stored()` gives a storable value, `from_stored(value)` takes it."""
    return hasattr(cls, "to_stored") and hasattr(cls, "from_stored")


def shape_of(cls: type) -> Shape:
    """Compile a class. Raises RegistrationError when it has no storable shape."""
    if issubclass(cls, Message):
        return Shape(cls, _take_message, _message_builder(cls))
    if issubclass(cls, enum.Enum):
        return _enum_shape(cls)
    if dataclasses.is_dataclass(cls):
        return _dataclass_shape(cls)
    if is_named_tuple(cls):
        return _named_tuple_shape(cls)
    if cls in PLAIN:
        return Shape(cls, lambda value: value, _plain_builder(cls))
    if _has_own_form(cls):
        own: Any = cls
        return Shape(cls, own.to_stored, own.from_stored)
    raise RegistrationError(
        cls.__qualname__,
        "it is neither a dataclass, a NamedTuple, an Enum, a protobuf message nor a plain value; "
        "put @dataclass(frozen=True) above it",
    )


def _plain_builder(cls: type) -> Callable[[Any], Any]:
    def build(value: Any) -> Any:
        if type(value) is not cls:
            raise ValueError(f"a {type(value).__name__} is stored, not a {cls.__name__}")
        return value

    return build


# --- protobuf messages ---


def _take_message(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _message_builder(cls: Any) -> Callable[[Any], Any]:
    def build(value: Any) -> Any:
        if type(value) is not bytes:
            raise ValueError(f"a {type(value).__name__} is stored, not serialized protobuf")
        return cls.FromString(value)

    return build


# --- enums: by member name, so that values may be corrected; flags combine, so they go by value ---


def _enum_shape(cls: Any) -> Shape:
    if issubclass(cls, enum.Flag):
        return Shape(cls, lambda member: member.value, cls)

    def build(name: Any) -> Any:
        member = cls.__members__.get(name) if type(name) is str else None
        if member is None:
            raise ValueError(f"{cls.__name__} has no member {name!r}")
        return member

    return Shape(cls, lambda member: member.name, build)


# --- records ---


def _taker(names: tuple[str, ...]) -> Callable[[Any], Fields]:
    # Compiled, as dataclasses are: this runs for every event written, and a dict display costs a
    # third of a loop over the names. They are identifiers, or there would be no such fields.
    display = ", ".join(f"{name!r}: obj.{name}" for name in names)
    take: Callable[[Any], Fields] = eval(f"lambda obj: {{{display}}}")  # noqa: S307
    return take


def _at_once(cls: Any, build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The short way for stored fields that are exactly the class's own; `build` for all else."""

    def build_at_once(stored: Any) -> Any:
        try:
            return cls(**stored)
        except TypeError:
            return build(stored)

    return build_at_once


def _own_fields(cls: type, stored: Any, names: frozenset[str]) -> Fields:
    if type(stored) is not dict:
        raise ValueError(f"a {type(stored).__name__} is stored, not the fields of {cls.__name__}")
    return {name: value for name, value in stored.items() if name in names}


def _refuse_missing(cls: type, fields: Fields, required: tuple[str, ...]) -> None:
    missing = [name for name in required if name not in fields]
    if missing:
        raise ValueError(
            f"{cls.__name__} needs {', '.join(missing)}, not stored and without default"
        )


def _named_tuple_shape(cls: Any) -> Shape:
    names: tuple[str, ...] = cls._fields
    required = tuple(name for name in names if name not in cls._field_defaults)

    def build(stored: Any) -> Any:
        fields = _own_fields(cls, stored, frozenset(names))
        _refuse_missing(cls, fields, required)
        return cls(**fields)

    hints = {name: getattr(cls, "__annotations__", {}).get(name, Any) for name in names}
    return Shape(cls, _taker(names), _at_once(cls, build), hints, is_record=True)


def _dataclass_shape(cls: Any) -> Shape:
    _refuse_init_vars(cls)
    _refuse_content_beside_fields(cls)
    fields = dataclasses.fields(cls)
    names = tuple(field.name for field in fields)
    own_init = set(inspect.signature(cls).parameters) == {f.name for f in fields if f.init}
    through_init = frozenset(f.name for f in fields if f.init) if own_init else frozenset()
    build = _dataclass_builder(cls, frozenset(names), through_init, own_init)
    if len(through_init) == len(names):
        build = _at_once(cls, build)
    return Shape(
        cls,
        _taker(names),
        build,
        {field.name: field.type for field in fields},
        is_record=True,
    )


def _dataclass_builder(
    cls: Any, names: frozenset[str], through_init: frozenset[str], own_init: bool
) -> Callable[[Any], Any]:
    """Fields go through `__init__` (and so `__post_init__`), those with init=False are set after
    it.

    A class with an `__init__` of its own is restored without calling it: its arguments are not the
    fields.
    """
    required = tuple(
        field.name for field in dataclasses.fields(cls) if _lacks_default(field, own_init)
    )

    def build(stored: Any) -> Any:
        fields = _own_fields(cls, stored, names)
        _refuse_missing(cls, fields, required)
        if own_init:
            obj = cls(**{name: value for name, value in fields.items() if name in through_init})
        else:
            obj = object.__new__(cls)
            fields = {**_defaults(cls), **fields}
        for name, value in fields.items():
            if name not in through_init:
                object.__setattr__(obj, name, value)  # works for frozen classes too
        return obj

    return build


def _lacks_default(field: dataclasses.Field[Any], own_init: bool) -> bool:
    if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING:
        return False
    return field.init or not own_init  # init=False without default is `__post_init__`'s to set


def _defaults(cls: Any) -> Fields:
    defaults: Fields = {}
    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    return defaults


def _refuse_init_vars(cls: Any) -> None:
    # dataclasses keep InitVar pseudo-fields only in this mapping; it has no public reader.
    for name, field in cls.__dataclass_fields__.items():
        if field._field_type is dataclasses._FIELD_INITVAR:  # type: ignore[attr-defined]
            raise RegistrationError(
                f"{cls.__qualname__}.{name}",
                "an InitVar is not kept in the object, so it cannot be stored; make it a field",
            )


def _refuse_content_beside_fields(cls: type) -> None:
    bases = [base for base in cls.__mro__ if base in PLAIN]
    if bases:
        raise RegistrationError(
            cls.__qualname__,
            f"it is also a {bases[0].__name__}: what that holds is no field and would be lost",
        )

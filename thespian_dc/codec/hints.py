"""What type hints say before any value exists: which classes come along, and which fields can
never be stored.

Hints are read once, at registration. One that cannot be resolved (its import stands under
TYPE_CHECKING, its class is local to a function) says nothing: then the first value decides, still
before anything is written.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final

from thespian_dc.codec.declare import Registered
from thespian_dc.codec.shapes import PLAIN, Shape, has_shape, shape_of
from thespian_dc.model.errors import RegistrationError

_REFUSED_ANYHOW: Final = {
    bytearray: "it would come back as bytes; use bytes",
    memoryview: "it would come back as bytes; use bytes",
}


def with_reachable(types_: Iterable[type | Registered]) -> list[tuple[Registered, Shape]]:
    """The declared classes, and the records, enums and messages their hints lead to, each once.

    Raises RegistrationError for a class without shape, one declared twice differently, or a field
    that its hint shows cannot be stored.
    """
    declared: dict[type, Registered] = {}
    for item in types_:
        registered = item if isinstance(item, Registered) else Registered(_a_class(item))
        if declared.setdefault(registered.cls, registered) != registered:
            raise RegistrationError(
                registered.cls.__qualname__, "it is listed twice, with other settings"
            )
    shapes: dict[type, Shape] = {}
    doubtful: list[tuple[str, type]] = []
    pending = list(declared)
    while pending:
        cls = pending.pop(0)  # in the order declared, so that a clash of names blames the later
        if cls in shapes:
            continue
        shapes[cls] = shape_of(cls)
        for where, found in _field_classes(shapes[cls]):
            if found in PLAIN or found in shapes:
                continue
            if has_shape(found):
                pending.append(found)
            else:
                doubtful.append((where, found))
    for where, found in doubtful:
        _refuse_without_subclass(where, found, shapes)
    return [(declared.get(cls, Registered(cls)), shape) for cls, shape in shapes.items()]


def _a_class(item: Any) -> type:
    if not isinstance(item, type):
        raise RegistrationError(repr(item), "a payload type is a class or Registered(class, ...)")
    return item


def _refuse_without_subclass(where: str, found: type, shapes: Mapping[type, Shape]) -> None:
    """A plain base class or protocol is fine as a hint if something registered can stand for it."""
    if found in _REFUSED_ANYHOW:
        raise RegistrationError(where, f"{found.__qualname__}: {_REFUSED_ANYHOW[found]}")
    # Protocols cannot be asked for subclasses in general, so the first value decides.
    if getattr(found, "_is_protocol", False):
        return
    if any(issubclass(cls, found) for cls in (*shapes, *PLAIN)):
        return
    raise RegistrationError(
        where,
        f"values of {found.__qualname__} cannot be stored; use a dataclass, a NamedTuple, an Enum "
        "or a plain value, or register the subclasses that stand here",
    )


def _field_classes(shape: Shape) -> Iterable[tuple[str, type]]:
    for name, hint in shape.hints.items():
        where = f"{shape.cls.__qualname__}.{name}"
        for found in _classes_in(_resolved(shape.cls, name, hint)):
            yield where, found


def _resolved(cls: type, name: str, hint: Any) -> Any:
    """The hint as an object; Any where its names are not to be had at run time."""
    owner = next((base for base in cls.__mro__ if name in inspect.get_annotations(base)), cls)
    holder = types.SimpleNamespace(__annotations__={name: hint})
    names = vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {}
    try:
        return typing.get_type_hints(holder, names, {**vars(owner), owner.__name__: owner})[name]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any


def _classes_in(hint: Any) -> Iterable[type]:
    """The classes that a hint speaks of, through unions, aliases and type arguments."""
    if isinstance(hint, typing.NewType):
        yield from _classes_in(hint.__supertype__)
    elif typing.get_origin(hint) is typing.Literal:
        yield from (type(value) for value in typing.get_args(hint))
    elif typing.get_origin(hint) is not None:
        origin = typing.get_origin(hint)
        if isinstance(origin, type) and origin is not types.UnionType:
            yield origin
        for argument in typing.get_args(hint):
            yield from _classes_in(argument)
    elif isinstance(hint, type) and hint is not Any:
        yield hint

"""What cannot be stored exactly is refused by name, before anything is written."""

from __future__ import annotations

import pickle
from abc import ABC
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.unit.codec_types import Colour, Everything, Item, Told, registry
from thespian_dc.codec.api import Registered, Registry, Upcaster
from thespian_dc.model.errors import (
    CorruptPayloadError,
    RegistrationError,
    UnencodableError,
    UnknownManifestError,
    UnregisteredTypeError,
)

if TYPE_CHECKING:
    from decimal import Decimal

REGISTRY = registry()
T = TypeVar("T")


class Shape(ABC):  # noqa: B024 - a family needs no methods in common
    """A base class that is no payload itself."""


@dataclass(frozen=True)
class Circle(Shape):
    radius: int


@dataclass(frozen=True)
class Drawing:
    shapes: list[Shape]


@dataclass(frozen=True)
class Box(Generic[T]):
    content: T
    price: Decimal


class HasArea(Protocol):
    """A hint that only values can satisfy."""

    def area(self) -> int: ...


@dataclass(frozen=True)
class Loose:
    a: Any
    b: object
    c: Mapping[str, Sequence[int]]
    d: HasArea
    e: T  # type: ignore[valid-type]


def _record(hint: Any) -> type:
    return dataclass(type("Cart", (), {"__annotations__": {"items": hint}, "__module__": __name__}))


@pytest.mark.parametrize(
    "hint",
    [
        complex,
        "complex",
        list[complex],
        "dict[str, tuple[int, complex]]",
        complex | None,
        bytearray,
        defaultdict,
        defaultdict[str, int],
        deque[int],
        Callable[[int], str],
        Path,
        tzinfo,
        type[int],
        Shape,
        Enum,
    ],
    ids=str,
)
def test_a_field_whose_hint_cannot_be_stored_is_named_at_registration(hint: Any) -> None:
    """The earliest moment: before a node starts, not at the first such event in production."""
    with pytest.raises(RegistrationError, match=r"Cart\.items cannot be registered: "):
        Registry([_record(hint)])


@pytest.mark.parametrize("cls", [Loose, Box, Everything])
def test_hints_that_values_may_satisfy_are_accepted(cls: type) -> None:
    """Any, protocols, abstract containers, type variables, names known to the type checker only."""
    assert cls in Registry([cls]).types


def test_a_base_class_is_a_fine_hint_once_a_subclass_is_registered() -> None:
    """A field may be typed by the family, its members are what is stored."""
    with pytest.raises(RegistrationError, match=r"Drawing\.shapes"):
        Registry([Drawing])
    both = Registry([Drawing, Circle])
    drawing = Drawing([Circle(1)])
    assert both.decode(*both.encode(drawing)) == drawing


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": 1j}]}, "dict['a'][1]['b']: complex"),
        ([{1, 2}, {(1, Path("x"))}], "list[1] item "),
        ({Path("x"): 1}, "dict key PosixPath('x'): PosixPath"),
        (Told("x", [Told("y", object())]), "Told.inner[0].inner: object"),
        (Told("x", defaultdict(int)), "Told.inner: defaultdict cannot be stored (no such type"),
        (Counter("aab"), "Counter: Counter"),
        (OrderedDict(), "OrderedDict: OrderedDict"),
        ("lone \ud800", "str: str"),
        ({"a": {"\udfff": 1}}, "dict['a'] key '\\udfff': str"),
        (type("MyInt", (int,), {})(5), "MyInt: MyInt"),
        ([Circle(1)], "list[0]: Circle cannot be stored (no such type is registered"),
        (bytearray(b"x"), "bytearray: bytearray cannot be stored (no such type is registered; use"),
    ],
    ids=str,
)
def test_an_unencodable_value_is_named_with_the_path_to_it(value: Any, path: str) -> None:
    """The engineer must find the one value among thousands; and nothing was written."""
    with pytest.raises(UnencodableError) as caught:
        REGISTRY.encode_value(value)
    assert path in str(caught.value)
    assert "nothing was written" in str(caught.value)


def test_a_value_within_itself_is_refused_not_followed_for_ever() -> None:
    """A loop in a state is a bug that must not take the host with it."""
    loop: list[Any] = []
    loop.append(loop)
    for value in (loop, {"a": (loop,)}, Told("x", loop)):
        with pytest.raises(UnencodableError, match="nested too deep, or within itself"):
            REGISTRY.encode_value(value)
    with pytest.raises(UnencodableError, match="nested too deep, or within itself"):
        REGISTRY.encode(Told("x", loop))


def test_an_object_that_lost_a_field_is_refused() -> None:
    """A slot never set is no value."""
    item = object.__new__(Item)
    with pytest.raises(UnencodableError, match="Item: Item cannot be stored"):
        REGISTRY.encode(item)


def test_an_unregistered_type_is_refused_with_the_list_of_known_ones() -> None:
    """A subclass is another type: stored as its base, its own fields would be lost."""

    class Special(Told):
        pass

    with pytest.raises(UnregisteredTypeError, match=r"Special is not a registered.*Told/1"):
        REGISTRY.encode(Special("x", 1))
    with pytest.raises(UnregisteredTypeError):
        REGISTRY.encoder(Special)


def test_former_names_may_stand_in_a_list_and_one_alone_is_no_list() -> None:
    """A list could not be hashed; a lone name was taken for its letters."""
    with_list: Any = Registered(Item, aliases=["Former"])
    assert with_list == Registered(Item, aliases=("Former",))
    assert hash(with_list) == hash(Registered(Item, aliases=("Former",)))
    alone: Any = "Former"
    with pytest.raises(RegistrationError, match="aliases is a list"):
        Registered(Item, aliases=alone)


@pytest.mark.parametrize(
    ("types", "upcasters", "match"),
    [
        ([Registered(Item, name="a/b")], [], "name 'a/b' must be"),
        ([Registered(Item, name="")], [], "name '' must be"),
        ([Registered(Item, version=0)], [], "1 <= oldest <= version"),
        ([Registered(Item, version=2)], [], "nothing leads up from version 1"),
        ([Registered(Item, encoding="protobuf")], [], "encoding 'protobuf'"),
        ([Registered(Timestamp, encoding="json")], [], "encoding 'json'"),
        ([Registered(Item, encoding="xml")], [], "encoding 'xml'"),  # type: ignore[arg-type]
        ([Item, Registered(Circle, name="Item")], [], "the name 'Item' is taken by .*Item"),
        ([Item, Registered(Circle, aliases=("Item",))], [], "the name 'Item' is taken"),
        ([Item, Registered(Item, name="Other")], [], "listed twice"),
        (["Item"], [], "a payload type is a class"),
        ([Shape], [], "neither a dataclass"),
        ([Item], [Upcaster("Itm", 1, 2, dict)], "no registered class has this name"),
        ([Item], [Upcaster("Item", 1, 2, dict)], "not past the current version 1"),
        ([Registered(Item, version=2)], [Upcaster("Item", 2, 1, dict)], "must go up"),
        (
            [Registered(Item, version=2)],
            [Upcaster("Item", 1, 2, dict)] * 2,
            "another from version 1",
        ),
        ([Registered(Item, version=3)], [Upcaster("Item", 1, 3, dict)], "leads up from version 2"),
        ([Registered(Item, version=3)], [Upcaster("Item", 1, 2, dict)], "leads up from version 2"),
        ([Registered(Colour, version=2)], [Upcaster("Colour", 1, 2, dict)], "only dataclasses"),
    ],
)
def test_a_wrong_declaration_is_refused(types: Any, upcasters: Any, match: str) -> None:
    """Every way to declare something that would fail later fails now, and says what to change."""
    with pytest.raises(RegistrationError, match=match):
        Registry(types, upcasters=upcasters)


@pytest.mark.parametrize(
    "error",
    [
        RegistrationError("Cart.items", "no"),
        UnregisteredTypeError("Cart", ("A/1", "B/2")),
        UnencodableError("Cart.items[0]", "complex", "no such type is registered"),
        UnknownManifestError("X/1", ("A/1",), "register it"),
        CorruptPayloadError("X/1", "incomplete input"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_processes_whole(error: Exception) -> None:
    """Thespian pickles what an actor answers."""
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.args, str(back)) == (type(error), error.args, str(error))

"""Payload classes that the codec's tests share, and a strategy for their values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NewType
from uuid import UUID

from hypothesis import strategies as st

from thespian_dc.codec.api import Registered, Registry

Sku = NewType("Sku", str)


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Item:
    sku: Sku
    quantity: int
    colour: Colour | None = None


@dataclass(frozen=True)
class Everything:
    """One field of each kind that can be stored."""

    nothing: None
    flag: bool
    whole: int
    real: float
    text: str
    raw: bytes
    many: list[Item]
    by_name: dict[str, Item | Point]
    by_number: dict[int, str]
    by_pair: dict[tuple[str, int], Level]
    pair: tuple[int, str]
    several: tuple[Item, ...]
    unordered: set[str]
    fixed: frozenset[Level]
    at: datetime
    day: date
    o_clock: time
    took: timedelta
    price: Decimal
    key: UUID
    rights: Right
    kind: Literal["a", 1]
    anything: Any
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class Mutable:
    state: dict[str, int]
    total: int = field(init=False, default=0)


@dataclass(frozen=True)
class Tree:
    label: str
    children: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Told:
    """Written as json."""

    text: str
    inner: Any


def registry() -> Registry:
    """All of the above; Item, Point and the enums come along by type hints."""
    return Registry([Everything, Mutable, Tree, Registered(Told, encoding="json"), dict, list, str])


_offsets = st.integers(-86_399, 86_399).map(lambda s: timezone(timedelta(seconds=s)))
_datetimes = st.one_of(
    st.datetimes(), st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=_offsets)
)
_text = st.text(max_size=8)
_floats = st.floats(allow_nan=False)
_ints = st.one_of(st.integers(-100, 100), st.integers(-(2**64), 2**65), st.integers())
items = st.builds(Item, _text, _ints, st.sampled_from([None, *Colour]))
points = st.builds(Point, _ints, _floats)
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    _ints,
    _floats,
    _text,
    st.binary(max_size=8),
    _datetimes,
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.sampled_from([*Colour, *Level, Right.READ, Right.READ | Right.WRITE, Right(0)]),
    items,
    points,
)


# Functions below, so that the strategies' reprs stay short.
@st.composite
def leaves(draw: st.DrawFn) -> Any:
    """Any value without parts."""
    return draw(_leaves)


hashables = st.recursive(
    leaves(), lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=2))
)
_values = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(_text, st.just("$tuple"), hashables), inner, max_size=3),
        st.sets(hashables, max_size=3),
        st.builds(Told, _text, inner),
    ),
    max_leaves=8,
)


@st.composite
def values(draw: st.DrawFn) -> Any:
    """Any storable value."""
    return draw(_values)


everything = st.builds(
    Everything,
    nothing=st.none(),
    flag=st.booleans(),
    whole=_ints,
    real=_floats,
    text=_text,
    raw=st.binary(max_size=8),
    many=st.lists(items, max_size=2),
    by_name=st.dictionaries(_text, st.one_of(items, points), max_size=2),
    by_number=st.dictionaries(_ints, _text, max_size=2),
    by_pair=st.dictionaries(st.tuples(_text, _ints), st.sampled_from(Level), max_size=2),
    pair=st.tuples(_ints, _text),
    several=st.lists(items, max_size=2).map(tuple),
    unordered=st.sets(_text, max_size=2),
    fixed=st.frozensets(st.sampled_from(Level)),
    at=_datetimes,
    day=st.dates(),
    o_clock=st.times(),
    took=st.timedeltas(),
    price=st.decimals(allow_nan=False),
    key=st.uuids(),
    rights=st.sampled_from([Right.READ, Right.READ | Right.WRITE]),
    kind=st.sampled_from(["a", 1]),
    anything=values(),
    items=st.lists(items, max_size=2),
)


def typed(value: Any) -> Any:
    """A value with the type of each part beside it: equal only if values and types are.

    The sign of zero, the offset and the fold count too; == does not see them.
    """
    cls = type(value)
    if cls is float:
        return (cls, repr(value))
    if cls in {datetime, time}:
        return (cls, value.replace(tzinfo=None), value.utcoffset(), value.fold)
    if cls is Decimal:
        return (cls, str(value))
    if cls is dict:
        return (cls, [(typed(key), typed(item)) for key, item in value.items()])
    if cls in {list, tuple} or isinstance(value, Point):
        return (cls, [typed(item) for item in value])
    if cls in {set, frozenset}:
        # A sorted list: the order of a set within a set must not count.
        return (cls, sorted(repr(typed(item)) for item in value))
    if hasattr(value, "__dataclass_fields__"):
        names = value.__dataclass_fields__
        return (cls, [(name, typed(getattr(value, name))) for name in names])
    return (cls, value)

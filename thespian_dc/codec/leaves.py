"""The plain types that msgpack and json lack: their exact text forms and containers. Pure tables.

Law: codes and tags are stored in journals; they are only ever added, never changed or used again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

NATIVE: Final = frozenset({type(None), bool, int, float, str, bytes, list, dict})
"""What both dialects hold in a form of their own (bytes and big numbers excepted, see there)."""

OBJECT_CODE: Final = 16
"""The extension that carries an object of a registered type: tag length, tag, its plain value."""

# An aware time whose zone cannot say its offset would come back naive; fold has no place in ISO
# 8601.
_FOLD: Final = "~1"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A type stored as text, exactly; both functions raise ValueError where that cannot be."""

    code: int
    tag: str
    cls: type
    to_text: Callable[[Any], str]
    from_text: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Container:
    """A type stored as the list of its items."""

    code: int
    tag: str
    cls: type

    def restore(self, items: Any) -> Any:
        """The container of these items; ValueError unless they come as a list."""
        if type(items) is not list:
            raise ValueError(f"a {self.cls.__name__} without the list of its items")
        return self.cls(items)


def _moment_text(value: datetime | time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise ValueError("its time zone gives no offset for it; use a datetime or a fixed offset")
    return value.isoformat() + (_FOLD if value.fold else "")


def _datetime(text: str) -> datetime:
    if text.endswith(_FOLD):
        return datetime.fromisoformat(text[: -len(_FOLD)]).replace(fold=1)
    return datetime.fromisoformat(text)


def _time(text: str) -> time:
    if text.endswith(_FOLD):
        return time.fromisoformat(text[: -len(_FOLD)]).replace(fold=1)
    return time.fromisoformat(text)


def _timedelta_text(value: timedelta) -> str:
    return f"{value.days} {value.seconds} {value.microseconds}"


def _timedelta(text: str) -> timedelta:
    days, seconds, microseconds = (int(part) for part in text.split(" "))
    return timedelta(days, seconds, microseconds)


def _hex_int(text: str) -> int:
    return int(text, 16)  # base 16: linear in length, and outside Python's limit on decimal digits


LEAVES: Final = (
    Leaf(1, "$int", int, lambda value: format(value, "x"), _hex_int),
    Leaf(2, "$datetime", datetime, _moment_text, _datetime),
    Leaf(3, "$date", date, date.isoformat, date.fromisoformat),
    Leaf(4, "$time", time, _moment_text, _time),
    Leaf(5, "$timedelta", timedelta, _timedelta_text, _timedelta),
    Leaf(6, "$decimal", Decimal, str, Decimal),
    Leaf(7, "$uuid", UUID, str, UUID),
)
CONTAINERS: Final = (
    Container(11, "$tuple", tuple),
    Container(12, "$set", set),
    Container(13, "$frozenset", frozenset),
)

LEAF_BY_TYPE: Final = {leaf.cls: leaf for leaf in LEAVES}
CONTAINER_BY_TYPE: Final = {container.cls: container for container in CONTAINERS}

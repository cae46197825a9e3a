"""The json dialect: the same values as the msgpack one, in text that people and other programs can
read.

What JSON lacks is an object whose first key starts with "$": {"$decimal": "1.10"}, {"$tuple": [1,
2]}, {"$object": "Item/1", "value": {...}}. A dict with keys that are not text, or that start with
"$", is {"$dict": [[key, value], ...]}. Pure; the laws of packing.py hold here too.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from typing import Any, Final

from thespian_dc.codec.catalogue import Catalogue
from thespian_dc.codec.leaves import CONTAINER_BY_TYPE, CONTAINERS, LEAF_BY_TYPE, LEAVES

NESTING_MAX: Final = 100
"""Levels of any kind: readers recurse, and must not run out of stack on what was accepted."""

_DIGITS_MAX: Final = (
    64  # longer integers are written in base 16: Python refuses thousands of decimal digits
)


class JsonDialect:
    """`dumper` and `load`; both raise what json or a value raises, callers name what it was."""

    __slots__ = ("_catalogue", "_readers")

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._readers: dict[str, Callable[[Any], Any]] = {
            "$bytes": lambda text: base64.b64decode(text, validate=True),
            "$float": float,
            "$dict": dict,
            **{leaf.tag: leaf.from_text for leaf in LEAVES},
            **{container.tag: container.restore for container in CONTAINERS},
        }

    def dumper(self, take: Callable[[Any], Any]) -> Callable[[Any], bytes]:
        """A function from a value to `take(value)` as UTF-8 JSON without blanks."""

        def dump(value: Any) -> bytes:
            plain = self._plain(take(value), 0)
            return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()

        return dump

    def load(self, payload: bytes) -> Any:
        """The value that was dumped."""
        return json.loads(payload, object_hook=self._restored)

    def _plain(self, value: Any, depth: int) -> Any:
        if depth > NESTING_MAX:
            raise ValueError(f"nested more than {NESTING_MAX} levels deep")
        cls = type(value)
        if cls is str or cls is bool or value is None:
            return value
        if cls is int:
            return value if value.bit_length() <= _DIGITS_MAX else {"$int": format(value, "x")}
        if cls is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if cls is bytes:
            return {"$bytes": base64.b64encode(value).decode()}
        if cls is list:
            return [self._plain(item, depth + 1) for item in value]
        if cls is dict:
            return self._plain_dict(value, depth + 1)
        return self._tagged(value, cls, depth + 1)

    def _plain_dict(self, value: dict[Any, Any], depth: int) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self._plain(item, depth) for key, item in value.items()}
        pairs = value.items()
        return {
            "$dict": [[self._plain(key, depth), self._plain(item, depth)] for key, item in pairs]
        }

    def _tagged(self, value: Any, cls: type, depth: int) -> Any:
        leaf = LEAF_BY_TYPE.get(cls)
        if leaf is not None:
            return {leaf.tag: leaf.to_text(value)}
        container = CONTAINER_BY_TYPE.get(cls)
        if container is not None:
            return {container.tag: [self._plain(item, depth) for item in value]}
        registered = self._catalogue.by_type.get(cls)
        if registered is None:
            raise TypeError(f"{cls.__qualname__} has no stored form")
        tag, shape = registered
        return {"$object": tag, "value": self._plain(shape.take(value), depth)}

    def _restored(self, stored: dict[str, Any]) -> Any:
        """json's hook: each object, after the ones within it."""
        first = next(iter(stored), "")
        if not first.startswith("$"):
            return stored
        if first == "$object":
            builder = self._catalogue.builders.get(stored["$object"])
            if builder is None:
                raise self._catalogue.unknown(str(stored["$object"]))
            return builder(stored["value"])
        if first not in self._readers or len(stored) != 1:
            raise ValueError(f"unknown tag {first!r}")
        return self._readers[first](stored[first])

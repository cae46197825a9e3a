"""Stored payloads without the classes they were made of: what a tool can show of them. Pure.

The result is plain JSON (None, bool, int, float, str, list, dict with text keys), in the tags of
the json dialect: {"$decimal": "1.10"}, {"$tuple": [1, 2]}, {"$bytes": "base64"}, {"$object":
"Item/1", "value": {...}}. A protobuf message stays its bytes, {"$protobuf": "base64"}: only its
class knows more. The laws of packing.py about hostile bytes hold here too.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from typing import Any, Final

from msgpack import ExtType, Timestamp, Unpacker, unpackb

from thespian_dc.codec.leaves import CONTAINERS, LEAVES, OBJECT_CODE
from thespian_dc.codec.packing import NESTING_MAX
from thespian_dc.codec.text import NESTING_MAX as LEVELS_MAX

_INT_BITS_MAX: Final = 64
_LEAF_TAGS: Final = {leaf.code: leaf.tag for leaf in LEAVES}
_CONTAINER_TAGS: Final = {container.code: container.tag for container in CONTAINERS}


def readable(manifest: str, payload: bytes) -> Any:
    """The payload as plain JSON, by the encoding its manifest names; never raises.

    Bytes that are not what the manifest says come as {"$undecodable": "base64", "why": "..."}.
    """
    if not payload and manifest.startswith("$"):
        return None  # a deletion
    try:
        if manifest.endswith("+protobuf"):
            return {"$protobuf": _base64(payload)}
        if manifest.endswith("+json"):
            # A number that JSON lacks is no JSON of ours, yet it must not break the reader of this.
            value = json.loads(payload, parse_constant=lambda name: {"$float": name})
            _refuse_levels(value)
            return value
        return readable_value(payload)
    except (ValueError, RecursionError, MemoryError, TypeError, OverflowError) as error:
        return {"$undecodable": _base64(payload), "why": f"{type(error).__name__}: {error}"}


def readable_value(packed: bytes) -> Any:
    """A value in the msgpack dialect as plain JSON. Raises what msgpack or a value raises."""
    return _unpack(packed, 0, 0)


def _unpack(packed: bytes, depth: int, level: int) -> Any:
    """depth: extensions around this value; level: levels of any kind around it."""
    if depth > NESTING_MAX:
        raise ValueError(f"nested more than {NESTING_MAX} levels deep")
    walker = Unpacker(max_buffer_size=len(packed) or 1)
    walker.feed(packed)
    try:
        walker.skip()  # whatever gets to the end holds the lengths it states
    except Exception as error:
        raise ValueError("incomplete input") from error
    value = unpackb(packed, strict_map_key=False, unicode_errors="backslashreplace")
    return _plain(value, depth, level)


def _plain(value: Any, depth: int, level: int) -> Any:
    if level > LEVELS_MAX:
        raise ValueError(f"nested more than {LEVELS_MAX} levels deep")
    if type(value) is ExtType:
        return _extension(value.code, value.data, depth + 1, level + 1)
    if type(value) is list:
        return [_plain(item, depth, level + 1) for item in value]
    if type(value) is dict:
        return _plain_dict(value, lambda item: _plain(item, depth, level + 1))
    return _plain_leaf(value)


def _refuse_levels(value: Any) -> None:
    """ValueError where writing the value as JSON again could run out of stack."""
    level = [value]
    for _ in range(LEVELS_MAX + 1):
        inner = [item for item in level if type(item) in (list, dict) and item]
        if not inner:
            return
        level = [
            item for one in inner for item in (one.values() if type(one) is dict else one)
        ]
    raise ValueError(f"nested more than {LEVELS_MAX} levels deep")


def _plain_leaf(value: Any) -> Any:
    if type(value) is bytes:
        return {"$bytes": _base64(value)}
    if type(value) is float and not math.isfinite(value):
        return {"$float": repr(value)}
    if type(value) is int and value.bit_length() > _INT_BITS_MAX:
        return {"$int": format(value, "x")}
    if type(value) is Timestamp:  # msgpack's own type; the dialect does not write it
        return {"$timestamp": value.to_unix_nano()}
    return value


def _plain_dict(value: dict[Any, Any], plain: Callable[[Any], Any]) -> Any:
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: plain(item) for key, item in value.items()}
    return {"$dict": [[plain(key), plain(item)] for key, item in value.items()]}


def _extension(code: int, body: bytes, depth: int, level: int) -> Any:
    if code in _LEAF_TAGS:
        tag, text = _LEAF_TAGS[code], str(body, "ascii")
        return _whole_number(text) if tag == "$int" else {tag: text}
    if code in _CONTAINER_TAGS:
        return {_CONTAINER_TAGS[code]: _unpack(body, depth, level)}
    if code == OBJECT_CODE and body and 1 < 1 + body[0] < len(body):
        end = 1 + body[0]
        return {"$object": str(body[1:end], "ascii"), "value": _unpack(body[end:], depth, level)}
    return {"$extension": code, "bytes": _base64(body)}


def _whole_number(digits: str) -> Any:
    """Integers of msgpack's own end earlier than those that the json dialect writes as they are."""
    try:
        return _plain_leaf(int(digits, 16))
    except ValueError:
        return {"$int": digits}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")

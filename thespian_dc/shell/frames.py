"""Messages to bytes and back, inside one actor system. The only place that pickles.

Thespian pickles every message anyway and unpickles what any peer sends: inside an actor system all
peers are trusted. Nothing durable and nothing that leaves for another service comes through here.

Each message is packed apart from its frame: its size is known before it is queued, a caller that
changes it later changes nothing, and one that cannot be read (its class is missing at the receiver)
is an error of that message alone.
"""

from __future__ import annotations

import pickle
from typing import Any

from thespian_dc.model.errors import MessageUnreadableError, MessageUnsendableError

_PROTOCOL = 5
_AS_THEY_ARE = (int, type(None), bool, float)


def pack(message: Any) -> bytes:
    """The message's bytes; MessageUnsendableError where it cannot be pickled."""
    try:
        return pickle.dumps(message, _PROTOCOL)
    except Exception as cause:
        name = f"{type(message).__module__}.{type(message).__qualname__}"
        raise MessageUnsendableError(name, _reason(cause)) from cause


def pack_reply(reply: Any) -> Any:
    """As `pack`; but a number, a truth value or None as it is: whoever takes a reply unpacks bytes
    only."""
    return reply if type(reply) in _AS_THEY_ARE else pack(reply)


def unpack_reply(value: Any) -> Any:
    """What `pack_reply` was given; an exception too, packed or as it is."""
    return unpack(value) if isinstance(value, bytes) else value


def unpack(body: bytes) -> Any:
    """The message; MessageUnreadableError where this process cannot build it."""
    try:
        return pickle.loads(body)  # noqa: S301  see the module's docstring
    except Exception as cause:
        raise MessageUnreadableError(_reason(cause)) from cause


def pack_error(error: BaseException) -> bytes:
    """An exception's bytes; one that does not pickle travels as its text."""
    try:
        body = pickle.dumps(error, _PROTOCOL)
        pickle.loads(body)  # noqa: S301  an error may pickle and not come back
    except Exception:  # noqa: BLE001  whatever a user's exception does
        return pickle.dumps(MessageUnsendableError(type(error).__qualname__, str(error)), _PROTOCOL)
    return body


def pack_items(items: list[Any]) -> bytes:
    """A frame's items: tuples of strings, numbers, bytes and actor addresses."""
    return pickle.dumps(items, _PROTOCOL)


def unpack_items(blob: bytes) -> list[Any]:
    items: list[Any] = pickle.loads(blob)  # noqa: S301  see the module's docstring
    return items


def _reason(cause: Exception) -> str:
    return f"{type(cause).__name__}: {cause}"

"""What an asker is told when user code raised or its message is too large, and whether its address
was handed on. Pure."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from thespian_dc.entity.protocol import ReplyAddress
from thespian_dc.model.entity_errors import (
    ApplyEventReturnedNoneError,
    CommandFailedError,
    CommandRejectedError,
    UnknownCommandError,
)
from thespian_dc.model.errors import TooLargeError
from thespian_dc.model.replication_errors import NotTakenError
from thespian_dc.model.settings import Limits

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OURS = tuple(
    os.path.join(_PACKAGE, room)
    for room in ("entity", "codec", "shell", "crdt", "journal", "model", "slices")
)
_LIBRARY = os.path.dirname(os.__file__)
_AS_IT_IS = (
    ApplyEventReturnedNoneError, CommandRejectedError, NotTakenError, TooLargeError,
    UnknownCommandError,
)  # fmt: skip
_DEPTH_MAX = 6


def failure_of(
    error: BaseException, entity: str, handler: Any = None, *, went_on: bool = False
) -> Exception:
    """What the asker gets: CommandFailedError, or the error itself where it says all. handler: it
    is named where no line of user code raised."""
    if isinstance(error, _AS_IT_IS):
        return error
    where = _where(error.__traceback__) or _definition(handler)
    return CommandFailedError(type(error).__name__, entity, where, str(error), went_on)


def check_size(entity_type: str, entity_id: str, size_bytes: int, limits: Limits) -> None:
    """TooLargeError where a command's message is larger than the limit."""
    if size_bytes > limits.command_bytes_max:
        what = f"a command to {entity_type}|{entity_id}"
        raise TooLargeError(what, size_bytes, limits.command_bytes_max)


def mentions(message: Any, address: ReplyAddress, depth: int = _DEPTH_MAX) -> bool:
    """Does the message hold the address, in a field or inside containers, `depth` levels deep?"""
    if message is address or message == address:
        return True
    if depth == 0 or isinstance(message, str | bytes | int | float | type(None)):
        return False
    if isinstance(message, dict):
        parts = [*message.keys(), *message.values()]
    elif isinstance(message, list | tuple | set | frozenset):
        parts = list(message)
    else:
        slots = [name for kind in type(message).__mro__ for name in getattr(kind, "__slots__", ())]
        parts = [getattr(message, name, None) for name in slots]
        parts += getattr(message, "__dict__", {}).values()
    return any(mentions(part, address, depth - 1) for part in parts)


def reason_of(error: BaseException) -> str:
    """An error in words: of which type, in which line of user code if in any, and what it says."""
    where = _where(error.__traceback__)
    return f"{type(error).__name__}{f' at {where}' if where else ''}: {error}"


def _where(traceback: TracebackType | None) -> str:
    """file:line of the innermost frame that is the user's: below it are only our own calls, and
    Python's. "" where there is none."""
    found = ""
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        pythons = name.startswith((_LIBRARY, "<frozen")) and "site-packages" not in name
        if not pythons and not name.startswith(_OURS):
            found = f"{os.path.basename(name)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def _definition(handler: Any) -> str:
    """file:line where the handler begins."""
    code = getattr(handler, "__code__", None)
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code else "?"

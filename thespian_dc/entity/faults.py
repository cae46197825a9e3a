"""What an asker is told when user code raised, and whether its address was handed on. Pure."""

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

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OURS = tuple(os.path.join(_PACKAGE, room) for room in ("entity", "codec", "shell"))
_AS_IT_IS = (
    ApplyEventReturnedNoneError, CommandRejectedError, TooLargeError, UnknownCommandError,
)  # fmt: skip
_DEPTH_MAX = 6


def failure_of(error: Exception, entity: str) -> Exception:
    """What the asker gets: CommandFailedError, or the error itself where it says all."""
    if isinstance(error, _AS_IT_IS):
        return error
    return CommandFailedError(type(error).__name__, entity, _where(error.__traceback__), str(error))


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


def _where(traceback: TracebackType | None) -> str:
    """file:line of the innermost frame that is the user's: below it are only our own calls."""
    innermost = found = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        innermost = f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno}"
        if not code.co_filename.startswith(_OURS):
            found = innermost
        traceback = traceback.tb_next
    return found or innermost

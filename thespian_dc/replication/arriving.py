"""What sources bring, on its way to whoever handles it: a lone batch is handled by the thread that
brings it, since a change of threads is a good part of its way; all else by the main thread.

Laws: who handles anything has the turn. Nothing overtakes: what cannot be handled at once is put,
and so is all that comes before the main thread has done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock, get_ident
from typing import Any


class Put:
    """Something that was brought and is the main thread's now."""

    __slots__ = ("came",)

    def __init__(self, came: Any) -> None:
        self.came = came


class Arriving:
    """Made by the main thread. put: hands a Put to it. handle: at once, with the turn; False: it
    cannot, and nothing was done."""

    def __init__(self, put: Callable[[Put], None], handle: Callable[[Any], bool]) -> None:
        self._put, self._handle = put, handle
        self._main = get_ident()
        self.turn, self._order = RLock(), RLock()  # who handles something may bring more
        self._waiting = 0

    def is_main(self) -> bool:
        """Is this the thread that made it?"""
        return get_ident() == self._main

    def bring(self, came: Any) -> None:
        """From any thread."""
        with self._order:
            if not self._handle_at_once(came):
                self._waiting += 1
                self._put(Put(came))

    def _handle_at_once(self, came: Any) -> bool:
        if self._waiting or self.is_main() or not self.turn.acquire(blocking=False):
            return False
        try:
            return self._handle(came)
        finally:
            self.turn.release()

    def done(self, items: Iterable[Any]) -> None:
        """These were handled, with the turn."""
        with self._order:
            self._waiting -= sum(type(item) is Put for item in items)


def plain(items: Iterable[Any]) -> list[Any]:
    """The items as they were brought."""
    return [item.came if type(item) is Put else item for item in items]

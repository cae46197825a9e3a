"""From any thread to the thread that runs a Thespian transport: a queue and a wake-up.

Laws: the wake-up byte is written only when none is under way (one for a whole burst); `drain` takes
the byte before it empties the queue, so that nothing put meanwhile is forgotten; what is not taken
in one drain is signalled again, so that Thespian's own messages get their turn.
"""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from typing import Any

DRAIN_MAX = 20_000


class Bridge:
    """put() from any thread; drain() on the one thread that watches `fileno()`."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()  # bounded by what its users have in flight
        self._signalled = False
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def put(self, item: Any) -> None:
        self._items.append(item)
        if not self._signalled:
            self._signal()

    def drain(self) -> list[Any]:
        """What was put since, in order, at most DRAIN_MAX items; empty on a spurious wake-up."""
        with suppress(BlockingIOError, InterruptedError):
            self._reader.recv(4096)
        self._signalled = False
        items: list[Any] = []
        take = self._items.popleft
        try:
            while len(items) < DRAIN_MAX:
                items.append(take())
        except IndexError:
            return items
        self._signal()
        return items

    def close(self) -> None:
        """Only when nobody watches `fileno()` any more. What is put later is lost."""
        self._signalled = True
        self._reader.close()
        self._writer.close()

    def _signal(self) -> None:
        self._signalled = True
        # Full: a wake-up is under way. Closed: nobody reads any more.
        with suppress(OSError):
            self._writer.send(b"\0")

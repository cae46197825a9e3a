"""Where answers go: to a waiting thread, a batch, an event loop. Filled on the I/O thread.

A ticket is (sink, key); the I/O thread fills every answer of a reply frame and then calls `flush`
once per sink it touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from threading import Condition, Lock
from typing import Any, Protocol

from thespian_dc.entity.api import Deliver, Status
from thespian_dc.shell.frames import unpack_reply

OK = int(Status.OK)


class Sink(Protocol):
    def fill(self, key: Any, status: int, value: Any) -> None: ...

    def flush(self) -> None: ...


def deliver(outcomes: Sequence[Deliver]) -> None:
    """Fill all, then wake each sink once."""
    touched: list[Sink] = []
    last: Sink | None = None
    for ticket, status, value in outcomes:
        sink, key = ticket
        sink.fill(key, status, value)
        if sink is not last:
            last = sink
            touched.append(sink)
    for sink in dict.fromkeys(touched):
        sink.flush()


def outcome(status: int, value: Any) -> Any:
    """The reply, or the exception (returned, not raised)."""
    try:
        return unpack_reply(value)
    except Exception as unreadable:  # noqa: BLE001  it is the outcome of this one command
        return unreadable


def is_error(status: int, value: Any) -> bool:
    """An outcome that is to be raised: an ERROR, or a reply that could not be read."""
    return status != OK or isinstance(value, Exception)


class Waiter:
    """One thread that waits for one answer."""

    __slots__ = ("_lock", "status", "value")

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self.status, self.value = OK, None

    def fill(self, key: Any, status: int, value: Any) -> None:
        self.status, self.value = status, value

    def flush(self) -> None:
        self._lock.release()

    def wait(self, timeout_s: float) -> bool:
        return self._lock.acquire(timeout=timeout_s)


class Batch:
    """One thread that waits for many answers; keys are 0, 1, 2, …"""

    def __init__(self) -> None:
        self._news = Condition(Lock())
        self._ready: dict[int, tuple[int, Any]] = {}
        self.answered = 0

    def fill(self, key: Any, status: int, value: Any) -> None:
        self._ready[key] = (status, value)
        self.answered += 1

    def flush(self) -> None:
        with self._news:
            self._news.notify()

    def take(self, first: int) -> list[tuple[int, Any]]:
        """The answers from `first` on that are there without a gap."""
        ready, taken = self._ready, []
        while first in ready:
            taken.append(ready.pop(first))
            first += 1
        return taken

    def wait(self, first: int, answered: int, timeout_s: float) -> bool:
        """Until answer `first` is there or more than `answered` have come; False: neither did."""
        with self._news:
            return self._news.wait_for(
                lambda: first in self._ready or self.answered > answered, timeout_s
            )


class LoopSink:
    """Futures of one event loop; keys are the futures."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._filled: list[tuple[asyncio.Future[Any], int, Any]] = []

    def fill(self, key: asyncio.Future[Any], status: int, value: Any) -> None:
        self._filled.append((key, status, value))

    def flush(self) -> None:
        filled, self._filled = self._filled, []
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_resolve, filled)


def _resolve(filled: list[tuple[asyncio.Future[Any], int, Any]]) -> None:
    for future, status, value in filled:
        if future.done():
            continue
        result = outcome(status, value)
        if is_error(status, result):
            future.set_exception(result)
        else:
            future.set_result(result)

"""The one asyncio loop of a process for everything gRPC: a thread of its own, started on first use.

gRPC's asyncio layer is happiest with one loop per process; servers and clients of a process share
it. Never carried over a fork: a child that asks gets a loop of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from thespian_dc.stream.channels import Channels

log = logging.getLogger(__name__)

T = TypeVar("T")

SETTLE_S = 1.0


class LoopThread:
    """A running loop. `call` and `run` may be used from any other thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.channels = Channels()
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="streams", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            while not self._stopping:
                try:
                    self.loop.run_forever()
                except SystemExit:  # of a user's code: it is to end its own call, and no other
                    log.exception("loop_goes_on")
        finally:
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run `work` on the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def stop(self) -> None:
        """End the loop and its thread. Our tasks have ended; gRPC's own are given a moment."""
        self.run(_settle())
        self._stopping = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


async def _settle() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=SETTLE_S)


class _Shared:
    """The loop of process `pid` with the number of its users."""

    def __init__(self, pid: int) -> None:
        self.pid, self.users = pid, 0
        self.lock = threading.Lock()
        self.thread: LoopThread | None = None


_shared = _Shared(0)


def acquire_loop() -> LoopThread:
    """The process's loop; give it back with `release_loop`."""
    global _shared
    if _shared.pid != os.getpid():  # after a fork neither the parent's lock nor its loop is ours
        _shared = _Shared(os.getpid())
    with _shared.lock:
        if _shared.thread is None:
            _shared.thread = LoopThread()
        _shared.users += 1
        return _shared.thread


def release_loop() -> None:
    """The last user's release ends the loop."""
    with _shared.lock:
        _shared.users -= 1
        ended = _shared.thread if _shared.users == 0 else None
        if ended is not None:
            _shared.thread = None
    if ended is not None:
        ended.stop()

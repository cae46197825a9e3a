"""Wakes the local sources of a process when a host of its node has written something."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from thespian_dc.shell.doorbell import Bell


class Listener:
    """A thread that calls `ring` when the bell rang, until `close`. What rang is not looked at:
    sources read the journal."""

    def __init__(self, bell: Bell, ring: Callable[[], None]) -> None:
        self._bell, self._ring = bell, ring
        self._waken, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._main, name="bell", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; the bell is closed too."""
        os.write(self._waker, b"x")
        self._thread.join()
        self._bell.close()
        os.close(self._waken)
        os.close(self._waker)

    def _main(self) -> None:
        while True:
            ready, _, _ = select.select([self._waken, self._bell.fileno()], [], [])
            if self._waken in ready:
                return
            self._bell.hints()
            self._ring()

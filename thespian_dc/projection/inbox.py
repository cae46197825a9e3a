"""What a source hands over and a projection's thread takes, in order."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from thespian_dc.projection.api import SourceBatch


class Inbox:
    """`put` from any thread, all else on the projection's. None wakes it and says nothing.
    stopping: nothing is waited for any more."""

    def __init__(self, stopping: Event) -> None:
        self._stopping = stopping
        self._items: SimpleQueue[Any] = SimpleQueue()  # bounded by the source's credit
        self._held: list[Any] = []  # at most one item, taken too early
        self.put = self._items.put

    def take(self, wait_s: float) -> Any:
        """What waits, or None."""
        if self._held:
            return self._held.pop()
        try:
            return self._items.get(timeout=wait_s)
        except Empty:
            return None

    def take_batch(self, until_s: float) -> SourceBatch | None:
        """The next item if it is a batch and waits, or comes before time.monotonic() is until_s;
        anything else stays."""
        item = None
        while item is None:
            try:
                item = self._items.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                return None
            if self._stopping.is_set():
                return None
        if isinstance(item, SourceBatch):
            return item
        self.hold(item)
        return None

    def hold(self, item: Any) -> None:
        """Give back what was taken last; it is the next to be taken."""
        self._held = [item]

    @property
    def is_empty(self) -> bool:
        return not self._held and self._items.empty()

    def forget(self) -> None:
        """Drop what a stopped source left behind."""
        self._held.clear()
        while not self._items.empty():
            self._items.get()

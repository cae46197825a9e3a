"""Hints of fresh commits from a host to its node's producers. No Thespian here: the outbox sends.

At rest a commit travels whole and at once, so that a consumer at the tail need not wait for a poll.
Under load frames keep a distance and shrink to bare heads: the producer reads the journal, the host
keeps its time. Losing a frame costs a poll's delay and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit
from thespian_dc.shell.addresses import address_of
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.outbox import NOTHING, Outbox
from thespian_dc.shell.protocol import PublishedFrame

FRAME_BYTES_MAX = 32 << 10
"""Of commits in one frame; more than that is told by heads alone."""
SPACING_US = 5_000
"""Least distance of two frames to one producer: each costs the host's thread some hundred
microseconds."""


class _Waiting:
    """What one producer was not told yet. Bounded: FRAME_BYTES_MAX of commits, one head per
    slice."""

    __slots__ = ("commits", "heads", "sent_us", "size")

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.heads: dict[SliceKey, int] = {}
        self.size, self.sent_us = 0, 0

    def add(self, commit: Commit) -> None:
        self.size += commit.size_bytes
        self.commits.append(commit)
        if self.size > FRAME_BYTES_MAX:
            self.heads |= {one.key: one.end_offset for one in self.commits}
            self.commits.clear()
            self.size = 0

    @property
    def due_us(self) -> int | None:
        return self.sent_us + SPACING_US if self.commits or self.heads else None

    def take(self, now: int) -> PublishedFrame:
        frame = PublishedFrame(tuple(self.commits), tuple(self.heads.items()))
        self.commits.clear()
        self.heads.clear()
        self.size, self.sent_us = 0, now
        return frame


class Publishing:
    """`publish` each durable commit, `flush` at the end of a round and again at `due_us`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._producers: dict[str, _Waiting] = {}

    def on_producers(self, addresses: Sequence[str]) -> None:
        """The node's producers now, as "ip:port"."""
        known = self._producers
        self._producers = {one: known.get(one) or _Waiting() for one in addresses}

    def publish(self, commit: Commit) -> None:
        for waiting in self._producers.values():
            waiting.add(commit)

    def flush(self, now: int) -> None:
        """Send what is due."""
        for address, waiting in self._producers.items():
            due = waiting.due_us
            if due is not None and now >= due:
                make = partial(self._make, address)
                key = ("producer", address)
                self._outbox.offer(key, address_of(address), make, lambda: None)

    def due_us(self) -> int | None:
        """When `flush` is wanted next."""
        dues = [waiting.due_us for waiting in self._producers.values()]
        return min((due for due in dues if due is not None), default=None)

    def _make(self, address: str) -> Any:
        waiting, now = self._producers.get(address), now_us()
        if waiting is None or waiting.due_us is None or now < waiting.due_us:
            return NOTHING
        return waiting.take(now)

"""Fake time and one seeded source of chance. What runs in a world replays from its seed alone.

Laws:
- Nothing in a simulation reads a clock, another random source, or the order of a set.
- Things scheduled for the same microsecond run in the order in which they were scheduled.
- What was hit is counted here: a simulation that never met a fault proves nothing about it.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

START_US = 1_700_000_000_000_000
TRACE_LINES = 400
ASKED_EVERY = 1024


class World:
    """The scheduler. `faulty`: whether networks and journals do harm at the moment."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, random.Random(seed)
        self.now_us = START_US
        self.faulty = False
        self.steps = 0
        self.is_over: Callable[[], bool] = lambda: False
        """Asked now and then; nothing runs any more once it is."""
        self._ended = False
        self.hits: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=TRACE_LINES)
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._scheduled = 0

    def after(self, delay_us: int, run: Callable[..., object], *args: Any) -> None:
        """Call run(*args) when delay_us have passed."""
        self._scheduled += 1
        heappush(self._heap, (self.now_us + delay_us, self._scheduled, run, args))

    def run(self, for_us: int) -> None:
        """Let for_us pass: run all that is due, in order."""
        until_us = self.now_us + for_us
        while self._heap and self._heap[0][0] <= until_us and not self._ended:
            at_us, _, run, args = heappop(self._heap)
            self.now_us = at_us
            self.steps += 1
            run(*args)
            if not self.steps % ASKED_EVERY:
                self._ended = self.is_over()
        self.now_us = until_us

    def hit(self, name: str) -> None:
        """Count a fault, a transition or anything that a run must have met."""
        self.hits[name] += 1

    def note(self, text: str) -> None:
        """One line of the trace; the last ones are shown with a failure."""
        self.trace.append(f"{(self.now_us - START_US) / 1e6:10.6f} {text}")

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def between(self, low_us: int, high_us: int) -> int:
        """low_us..high_us, most often near the low end: few things are very late."""
        return low_us + int((high_us - low_us) * self.rng.random() ** 3)

    def new_id(self) -> bytes:
        """16 bytes, unique in this world."""
        return self.rng.getrandbits(128).to_bytes(16, "big")

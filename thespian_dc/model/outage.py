"""Which failures of what is tried again and again are worth a line. Pure.

in: each failure, each turn that is over, now_us     out: what to say, 0 for nothing
Law: at most a line a minute while it lasts. It is over where nothing failed for CALM_US: on a full
disk reads go on, and a small write may find room.
"""

from __future__ import annotations

SAID_EVERY_US = 60_000_000
CALM_US = 5_000_000


class Outage:
    """Of one thing that is tried at least every CALM_US."""

    def __init__(self) -> None:
        self._lasts = False
        self._since_us = self._failed_us = self._due_us = self._times = 0

    def on_failure(self, now_us: int) -> int:
        """How often it failed since the last line, this one included, where it is time for one."""
        if not self._lasts:
            self._lasts, self._since_us, self._due_us, self._times = True, now_us, now_us, 0
        self._failed_us = now_us
        self._times += 1
        if now_us < self._due_us:
            return 0
        times, self._times, self._due_us = self._times, 0, now_us + SAID_EVERY_US
        return times

    def on_turn(self, now_us: int) -> int:
        """From the first failure to the last, in microseconds, once it is over; at least 1."""
        if not self._lasts or now_us - self._failed_us < CALM_US:
            return 0
        self._lasts = False
        return max(1, self._failed_us - self._since_us)

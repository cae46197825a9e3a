"""Whose beat stands still, seen by one observer. Pure.

in: beats of complete readings of the rows, now_us by the observer's own clock
Law: no two clocks are compared, and where nothing can be read nothing stands still: only readings
count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class _Seen:
    """A beat as last read, since when it is that, and in how many readings since."""

    beat: int
    since_us: int
    still_reads: int = 0


class Beats:
    """Bounded by the rows of a reading. keep: a name that is not forgotten when its row is gone."""

    def __init__(self, keep: str = "") -> None:
        self._keep = keep
        self._seen: dict[str, _Seen] = {}

    def observe(self, beats: Mapping[str, int], now_us: int) -> Mapping[str, int]:
        """Beat by name, of all there are. How long those had stood still that moved now."""
        for name in self._seen.keys() - beats.keys() - {self._keep}:
            del self._seen[name]
        moved = {}
        for name, beat in beats.items():
            seen = self._seen.get(name)
            if seen is not None and seen.beat == beat:
                seen.still_reads += 1
                continue
            if seen is not None:
                moved[name] = now_us - seen.since_us
            self._seen[name] = _Seen(beat, now_us)
        return moved

    def since_us(self, name: str) -> int:
        """When this beat was first read as it is."""
        return self._seen[name].since_us

    def still_reads(self, name: str) -> int:
        """In how many readings it was the same since."""
        return self._seen[name].still_reads

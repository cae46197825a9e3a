"""Where a projection begins, by its settings: once per process, before its first run. Decides; the
run asks the source and stores."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from thespian_dc.model.errors import SettingsError
from thespian_dc.model.position import START, Position
from thespian_dc.model.setting_checks import check_start
from thespian_dc.model.settings import Projection


class Ask(NamedTuple):
    """Ask the source for a position of every slice: where it ends now (time_us: None), or before
    what was written at time_us. moves: also slices that have a position already."""

    time_us: int | None
    moves: bool


class Put(NamedTuple):
    """Move these slices, which have a position."""

    positions: Mapping[int, Position]


class Starts:
    """Of one projection in one process.

    A function decides over what is stored, whatever that is. Everything else counts only where
    nothing is stored.
    """

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._done = False
        self._now_us: int | None = None

    def decide(self, stored: Mapping[int, Position], now_us: int) -> Ask | Put | None:
        """What to do before a run; None: begin where the positions stand, or at the beginning.

        now_us: wall clock. "now" stays what it was at the first try, if a source does not answer.
        """
        start: Any = self._projection.start
        asked = not isinstance(start, str | datetime)
        if self._done or (stored and not asked):
            return None
        if asked:
            start = start(dict(stored))
            if isinstance(start, Mapping):
                return Put(self._checked(start, stored))
            if not isinstance(start, str | datetime):
                raise self._refused(start)
            check_start(self._projection.name, start)
        if start == "beginning" and asked and stored:
            return Put(dict.fromkeys(stored, START))
        if start in ("stored", "beginning"):
            return None
        if isinstance(start, datetime):
            return Ask(int(start.timestamp() * 1_000_000), moves=asked)
        first = self._now_us is None
        self._now_us = now_us if self._now_us is None else self._now_us
        return Ask(None if first else self._now_us, moves=asked)

    def on_placed(self) -> None:
        """It is stored: runs that follow go on from where the positions stand."""
        self._done = True

    def _checked(
        self, wanted: Mapping[Any, Any], stored: Mapping[int, Position]
    ) -> Mapping[int, Position]:
        for slice_, position in wanted.items():
            if slice_ not in stored or not isinstance(position, Position):
                raise self._refused({slice_: position})
        return dict(wanted)

    def _refused(self, answer: Any) -> SettingsError:
        return SettingsError(
            f"projection {self._projection.name}: start returned {answer!r}; it may return a "
            "Position for each slice it was given, 'stored', 'beginning', 'now' or a datetime"
        )

"""Where a slice writer can be, and how long it waits there. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Phase(enum.Enum):
    """Where a writer is; each phase but OFF and IDLE waits for the answer of one journal
    operation."""

    OFF = "off"
    CLAIMING = "claiming"
    READING_CLAIM = "reading claim"
    FINDING = "finding"
    INSTALLING = "installing"
    READING_INSTALL = "reading install"
    READING_LAST = "reading last"
    IDLE = "idle"
    APPENDING = "appending"
    READING_HEAD = "reading head"
    READING_ROW = "reading row"


# Looked up per command: a tuple compares by identity, a set would call the enum's hash.
OWNING = (Phase.IDLE, Phase.APPENDING, Phase.READING_HEAD, Phase.READING_ROW)


@dataclass(frozen=True, slots=True)
class Timing:
    """All in microseconds. retry: back-off after the first failure in a row, doubled each time up
    to retry_max.

    lost: range of the random back-off between a loss and the next claim; wide enough that two hosts
    that want the same slice look at each other's beats before they claim again.
    """

    append_timeout_us: int = 5_000_000
    answer_timeout_us: int = 10_000_000
    retry_us: int = 20_000
    retry_us_max: int = 1_000_000
    lost_us: tuple[int, int] = (200_000, 1_000_000)


DEFAULT_TIMING = Timing()
REFUSALS_MAX = 4
"""How often a submission is refused alone, with back-off between, before it is given up as
NotWritten; and any commit with an unresolved earlier send, before the slice is given up."""

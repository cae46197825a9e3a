"""How far a consumer is in a slice log. Pure."""

from __future__ import annotations

from typing import NamedTuple

NO_WRITE_ID = b""


class Position(NamedTuple):
    """The next offset a consumer wants, and the `write_id` of the commit that covers the offset
    before it.

    offset 0 goes with NO_WRITE_ID, and so does a position that was set by hand. A producer compares
    any other write_id with its own journal when a consumer connects: another one there is
    JournalDivergedError.
    """

    offset: int = 0
    write_id: bytes = NO_WRITE_ID


START = Position()

"""What a consumer wants of what was written before it came. Pure."""

from __future__ import annotations

import enum


class History(enum.Enum):
    """The values stand in the protocol.

    FULL: every event from its positions on. FROM_SNAPSHOTS: for each entity at most one event made
    of its snapshot, then the later events. LATEST: for each entity its last state only, then every
    later one.
    """

    FULL = 0
    FROM_SNAPSHOTS = 1
    LATEST = 2

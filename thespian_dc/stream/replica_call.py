"""What a source over a replica stream says of its own replica, and whom it tells what it hears."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from thespian_dc.model.replication_handshake import ReplicaStart, ReplicaStarted


class ReplicaCall(NamedTuple):
    """start: who we are and what we have, asked for whenever a call begins. peer_id: who must be at
    the other end. on_started: with each Started before its first batch, and when something of it
    changed. Both are called on the stream loop and must only hand over."""

    start: Callable[[], ReplicaStart]
    peer_id: str
    on_started: Callable[[ReplicaStarted], None]

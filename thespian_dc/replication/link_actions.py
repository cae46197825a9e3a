"""What a link is to do for its core, which does nothing itself (see link_core.py), and what one
command of it holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from thespian_dc.entity.api import Replicated, ReplicatedState
from thespian_dc.projection.api import Lookup, SourceBatch
from thespian_dc.replication.pending import Pending
from thespian_dc.replication.reading import Item

COMMAND_EVENTS_MAX = 500
COMMAND_BYTES_MAX = 256 << 10
"""Of the payloads in one command; a single event may be larger."""


class Submit(NamedTuple):
    """Send this to the entity; then on_outcome or on_failed."""

    pending: Pending
    command: Replicated | ReplicatedState


class Handled(NamedTuple):
    """The batch's credit may be given back."""

    batch: SourceBatch


class LookUp(NamedTuple):
    """Ask the peer; then on_looked_up, on_trimmed or on_look_up_failed."""

    lookup: Lookup


class GetState(NamedTuple):
    """Ask the peer for the entity's state; then on_state or on_look_up_failed. fresh: the one that
    it has stored was not enough."""

    entity_id: str
    fresh: bool


Action = Submit | Handled | LookUp | GetState


def first_of(source: Sequence[Sequence[Item]]) -> Sequence[Item]:
    """The items of one command: a state alone, or events up to the bounds."""
    if len(source) == 1 and len(source[0]) == 1:
        return source[0]
    chosen: list[Item] = []
    size = 0
    for items in source:
        for item in items:
            size += len(item.payload)
            is_state = isinstance(item, ReplicatedState)
            if chosen and (
                is_state or size > COMMAND_BYTES_MAX or len(chosen) >= COMMAND_EVENTS_MAX
            ):
                return chosen
            chosen.append(item)
            if is_state:
                return chosen
    return chosen


def command_of(chosen: Sequence[Item], peer: str) -> Replicated | ReplicatedState:
    """Of what `first_of` chose, of this peer's log."""
    first = chosen[0]
    if isinstance(first, ReplicatedState):
        return first
    events: Any = tuple(chosen)  # all of them RemoteEvents
    return Replicated(events, peer)

"""What a replica's links are doing, in its journal: for any process, at any time. Blocks.

One entry per entity type. It says when it was written: one that has grown old says nothing of now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from thespian_dc.journal.api import Journal
from thespian_dc.replication.link_facts import LinkFacts


class StoredStatus(NamedTuple):
    """node_id: of the node whose links these are. time_us: when it was written. links: see
    LinkFacts.plain."""

    node_id: str
    time_us: int
    links: tuple[dict[str, Any], ...]


def store_status(
    journal: Journal, entity_type: str, node_id: str, facts: Sequence[LinkFacts], time_us: int
) -> None:
    """Put it there; of two nodes that do so at once one is enough."""
    name = _name(entity_type)
    plain = [node_id, time_us, [one.plain() for one in facts]]
    journal.put_entry(name, journal.entry(name).version, plain)


def stored_status(journal: Journal, entity_type: str) -> StoredStatus | None:
    """What was stored last; None: never anything."""
    value = journal.entry(_name(entity_type)).value
    return None if value is None else StoredStatus(value[0], value[1], tuple(value[2]))


def _name(entity_type: str) -> str:
    return f"replica_status:{entity_type}"

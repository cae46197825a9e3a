"""What a replica's links are doing, in its journal: for any process, at any time. Blocks.

One entry per entity type. It says when it was written: one that has grown old says nothing of now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from thespian_dc.journal.api import Entry, Journal, change_entry
from thespian_dc.replication.link_facts import LENT, LinkFacts


class StoredStatus(NamedTuple):
    """node_id: of the node that wrote last, at time_us. links: see LinkFacts.plain, each as the
    node that has it wrote it (`node`)."""

    node_id: str
    time_us: int
    links: tuple[dict[str, Any], ...]


def store_status(
    journal: Journal, entity_type: str, node_id: str, facts: Sequence[LinkFacts], time_us: int
) -> None:
    """Put it there. Of a link that another node has, what stands there is kept."""

    def change(before: Entry) -> tuple[Any, None]:
        there = {one["peer"]: one for one in before.value[2]} if before.value else {}
        links = [
            there[one.peer] if one.state == LENT and one.peer in there
            else {**one.plain(), "node": one.node or node_id}
            for one in facts
        ]  # fmt: skip
        return [node_id, time_us, links], None

    change_entry(journal, _name(entity_type), change, lightly=True)


def stored_status(journal: Journal, entity_type: str) -> StoredStatus | None:
    """What was stored last; None: never anything."""
    value = journal.entry(_name(entity_type)).value
    return None if value is None else StoredStatus(value[0], value[1], tuple(value[2]))


def _name(entity_type: str) -> str:
    return f"replica_status:{entity_type}"

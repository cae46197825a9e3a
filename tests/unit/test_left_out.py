"""A replica that has read all logs through a filter: entities are lacking all the same, and who
promotes it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.link_groups import Router
from thespian_dc.model.criteria import Exclude, Filter, VersionedFilter
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.position import Position
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.replication.protocol import StartReplication, WantedChanged
from thespian_dc.replication.replica import RunningReplica

READ = {0: Position(9, b"w"), 1: Position(8, b"w")}
HIDES = Exclude.entity_ids("c-1")


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[RunningReplica]:
    """It has read all of its peer's log, but for one entity."""
    setting = Replication("cart", "eu", [Peer("us", "127.0.0.1:1")], wanted=HIDES)
    start = StartReplication("carts", f"sqlite:///{tmp_path}/eu.db", setting, 2)
    running = RunningReplica(start, "n1", lambda _: None)
    at = running.group.links["us"]._at
    at.progress = LinkProgress("journal", 0, READ, filter=HIDES)
    running.group.router = Router()  # type: ignore[assignment] # it sends nothing
    with closing(running._journal):
        yield running
        running.group.end()  # what comes into scope is asked for at its peer


def test_what_a_filter_leaves_out_is_lacking_until_it_was_read(replica: RunningReplica) -> None:
    """Its cursors do not say so: they passed the entity's events, and stay where they are."""
    replica.on_tick(1_000_000)
    assert "filter" in replica.left_out()
    replica.on_items([WantedChanged(VersionedFilter(2, Filter()))])
    assert replica.cursors(0) == {"us": {0: 9, 1: 8}}
    assert "still to be read" in replica.left_out()
    link = replica.group.links["us"]
    link._at.progress = link.progress()._replace(coming_in=frozenset())
    replica.on_tick(2_000_000)
    assert replica.left_out() == ""

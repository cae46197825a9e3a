"""A replica that calls by itself, read by one of several nodes: how far it is, the other ones know,
too. A recovery waits for what every peer had, and no node may have the calls of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.position import Position
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Remote
from thespian_dc.projection.api import JournalPositions
from thespian_dc.replication.link_run import Place, Run
from thespian_dc.replication.progress import KeptProgress
from thespian_dc.replication.protocol import StartReplication
from thespian_dc.replication.replica import RunningReplica
from thespian_dc.stream.client import RemoteSource

EDGES = [Peer("shop", edge=True), Peer("van", edge=True)]
FAR = {0: Position(9, b"w"), 1: Position(8, b"w")}


def put(*_: object) -> None:
    """Nothing comes."""


class OnCall(RemoteSource):
    """Has the call."""

    def heads(self) -> JournalPositions:
        return JournalPositions("journal", FAR)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningReplica]:
    """One whose links have not begun: no call is open here."""
    setting = Replication("cart", "eu", EDGES)
    start = StartReplication("carts", f"sqlite:///{tmp_path}/eu.db", setting, 2)
    running = RunningReplica(start, "n1", lambda _: None)
    with closing(running._journal):
        yield running


def test_how_far_another_node_is_with_an_edge_counts(node: RunningReplica) -> None:
    KeptProgress(node._journal, "cart", "shop").store(LinkProgress("journal", 0, FAR))
    assert node.cursors(0) == {"shop": {0: 9, 1: 8}, "van": {}}


def test_an_edge_is_asked_where_its_call_is(node: RunningReplica) -> None:
    """By the source that has it: the registry may name another node by now."""
    link = node.group.links["shop"]
    source = OnCall(Remote("carts", "127.0.0.1:1"), "eu")
    link.run = Run(1, link.peer, node._setting, Place(), source, put, put, set(), 0)
    assert node.heads("shop") == {0: 9, 1: 8}


def test_what_was_read_before_the_own_journal_was_restored_does_not(node: RunningReplica) -> None:
    KeptProgress(node._journal, "cart", "shop").store(LinkProgress("journal", 0, FAR))
    assert node.cursors(1) == {}

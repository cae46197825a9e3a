"""Links that nodes of one replica share: what the registry keeps of it, and what a group of links
makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.link_groups import AT, HERE, SOME, Group
from thespian_dc.entity.role_registry import begin_roles, change_roles
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.position import Position
from thespian_dc.model.replication_handshake import ReplicaStarted
from thespian_dc.model.role_errors import RetiredReplicaError
from thespian_dc.model.roles import retire
from thespian_dc.replication.leasing import Leasing, LinksNow, Share, stored_leases
from thespian_dc.replication.link_facts import LinkFacts
from thespian_dc.replication.progress import KeptProgress
from thespian_dc.replication.status import store_status, stored_status

BOTH = frozenset({"us", "ap"})
SECOND = 1_000_000
FURTHER = LinkProgress("journal", 0, {0: Position(9, b"w"), 1: Position(8, b"w")}, SOME.filter)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(f"sqlite:///{tmp_path}/eu.db")
    opened.slices("cart", 2)
    begin_roles(opened, HERE)
    yield opened
    opened.close()


class Node:
    """Reads what it is told to, until the test says otherwise."""

    def __init__(self, journal: Journal, name: str) -> None:
        self.leasing = Leasing(journal, "cart", name, BOTH, lambda _: None)
        self.read, self.heard = BOTH, dict[str, ReplicaStarted | RetiredReplicaError]()
        self.shares: list[Share] = []

    def look(self, now_us: int) -> None:
        self.leasing.on_links(LinksNow(BOTH, self.read, heard=self.heard))
        share = self.leasing.look(now_us)
        if share is not None:
            self.shares.append(share)

    def obey(self) -> None:
        read = self.shares[-1].read
        self.leasing.let_go(dict.fromkeys(self.read - read, FURTHER))
        self.read = read


def two(journal: Journal) -> list[Node]:
    """Two nodes that have shared the links out."""
    nodes = [Node(journal, "n1"), Node(journal, "n2")]
    for step in range(20):
        for node in nodes:
            node.look(step * SECOND // 2)
            if node.shares:
                node.obey()
    assert sorted(len(node.read) for node in nodes) == [1, 1]
    return nodes


def test_a_link_is_given_back_when_its_progress_is_stored(journal: Journal) -> None:
    first, second = Node(journal, "n1"), Node(journal, "n2")
    first.look(0)
    assert stored_leases(journal, "cart").holders.keys() == BOTH
    for step in range(1, 8):
        second.look(step * SECOND // 2)
        first.look(step * SECOND // 2)
    (peer,) = first.read - first.shares[-1].read
    held_by = stored_leases(journal, "cart").holders
    assert held_by[peer] == first.leasing._core.me  # it reads on, and so nobody else begins
    first.obey()
    first.look(4 * SECOND)
    assert KeptProgress(journal, "cart", peer).load() == FURTHER
    second.look(4 * SECOND)
    assert stored_leases(journal, "cart").holders[peer] == second.leasing._core.me
    assert second.shares[-1].stored[peer] == FURTHER


def test_a_clean_end_leaves_nothing(journal: Journal) -> None:
    first, second = two(journal)
    first.leasing.leave()
    assert [*stored_leases(journal, "cart").readers] == [second.leasing._core.me]
    second.look(11 * SECOND)
    assert second.shares[-1].read == BOTH


def test_what_a_peer_says_to_one_node_the_other_one_hears_once(journal: Journal) -> None:
    first, second = two(journal)
    (peer,) = first.read
    said = ReplicaStarted(peer, "cart", ("ap", "eu", "us"), epoch=3)
    first.heard = {peer: said}
    for step in range(4):
        first.look((12 + step) * SECOND)
        second.look((12 + step) * SECOND)
    assert [share.heard[peer] for share in second.shares if peer in share.heard] == [said]


def test_a_peers_refusal_is_heard_by_all_nodes(journal: Journal) -> None:
    first, second = two(journal)
    (peer,) = first.read
    first.heard = {peer: RetiredReplicaError("cart", "eu")}
    first.look(12 * SECOND)
    second.look(12 * SECOND)
    heard = second.shares[-1].heard[peer]
    assert isinstance(heard, RetiredReplicaError)
    assert heard.replica == "eu"


def test_a_fenced_peer_that_was_given_back_is_not_taken(journal: Journal) -> None:
    """Though this node has not heard of the fence yet."""
    first, second = two(journal)
    (peer,) = first.read
    change_roles(journal, "cart", lambda roles: retire(roles, "cart", peer, HERE.replicas))
    first.leasing.leave()
    second.look(11 * SECOND)
    assert peer not in second.shares[-1].read
    assert peer not in stored_leases(journal, "cart").holders


def test_the_status_keeps_what_each_node_says_of_its_links(journal: Journal) -> None:
    store_status(journal, "cart", "n1", [LinkFacts("ap", "up"), LinkFacts("us", "lent")], 1)
    store_status(journal, "cart", "n2", [LinkFacts("ap", "lent"), LinkFacts("us", "down")], 2)
    found = stored_status(journal, "cart")
    assert found is not None
    shown = [(one["peer"], one["state"], one["node"]) for one in found.links]
    assert shown == [("ap", "up", "n1"), ("us", "down", "n2")]


# --- the group ---


def lent_ap(of: Group) -> dict[str, LinkProgress]:
    return of.group.share({"us"}, {}, {"ap": "n2"}, {})


def test_a_link_that_another_node_has_is_closed_and_not_stored() -> None:
    of = Group()
    assert lent_ap(of) == {"ap": LinkProgress("journal", 0, AT, SOME.filter)}
    assert [one.peer for one in of.now_open()] == ["us"]
    assert of.group.progress().keys() == {"us"}
    facts = {one.peer: (one.state, one.node) for one in of.group.facts()}
    assert facts["ap"] == ("lent", "n2")
    assert of.group.snapshot().reading == {"ap", "us"}


def test_what_another_node_stored_is_said_to_the_own_peers() -> None:
    """So that they leave it out."""
    of = Group()
    lent_ap(of)
    of.group.share({"us"}, {"ap": FURTHER}, {"ap": "n2"}, {})
    known = {one.replica: one.offsets for one in of.group._what_to_say().known}
    assert known["ap"] == (9, 8)


def test_a_link_that_is_taken_over_begins_where_it_was_stored() -> None:
    of = Group()
    lent_ap(of)
    assert of.group.share({"us", "ap"}, {"ap": FURTHER}, {}, {}) == {}
    source = of.sources[-1]
    assert (source.peer, source.positions) == ("ap", dict(FURTHER.positions))
    assert [one.peer for one in of.now_open()] == ["us", "ap"]


def test_what_another_node_reads_anew_is_not_claimed_any_more() -> None:
    """An open call said that it is here: it ends, and the next one does not."""
    of = Group()
    lent_ap(of)
    before = of.now_open()
    of.group.share({"us"}, {"ap": FURTHER._replace(positions={})}, {"ap": "n2"}, {})
    (source,) = of.now_open()
    assert source not in before
    assert {one.replica for one in source.said.known} == {"us"}


def test_what_another_node_reached_under_another_filter_is_not_claimed() -> None:
    """Only of which life of its log the positions are is said."""
    of = Group()
    lent_ap(of)
    narrower = FURTHER._replace(filter=SOME.filter.spelled_out(), coming_in=frozenset({"a"}))
    of.group.share({"us"}, {"ap": narrower}, {"ap": "n2"}, {})
    known = {one.replica: one for one in of.group._what_to_say().known}
    assert (known["ap"].generation, known["ap"].offsets) == (narrower.generation, (0, 0))


def test_the_keeper_meets_whom_another_node_met() -> None:
    of = Group()
    lent_ap(of)
    said = ReplicaStarted("ap", "cart", ("ap", "eu", "us"), epoch=3)
    of.group.share({"us"}, {}, {"ap": "n2"}, {"ap": said})
    assert of.met == [said]


def test_a_fenced_peer_is_read_as_long_as_another_node_has_it() -> None:
    of = Group()
    lent_ap(of)
    of.group.links["ap"].close()
    assert "ap" in of.group.snapshot().reading
    of.group.share({"us"}, {}, {}, {})
    assert "ap" not in of.group.snapshot().reading

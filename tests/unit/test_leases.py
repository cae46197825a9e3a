"""Which node of a replica reads which peer: each decides for itself, by what stands in the
registry."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.replication.lease_core import (
    READERS_MAX,
    LeaseCore,
    Leases,
    Plan,
    Reader,
    leases_of,
    plain_of_leases,
    share_out,
)

SECOND = 1_000_000
LOOK_US = SECOND // 5
PEERS = frozenset({"us", "ap", "sa", "af"})


class Node:
    """One reader: what it is told to read it reads by its next look."""

    def __init__(self, world: World, name: str, peers: Collection[str], pid: int = 0) -> None:
        row = Reader(0, name, "machine", pid)
        self.core, self.world, self.peers = LeaseCore("cart", name, row), world, frozenset(peers)
        self.read = self.peers
        self.troubled: frozenset[str] = frozenset()
        self.plan: Plan

    def look(self) -> None:
        world = self.world
        troubled = self.troubled & self.read
        self.plan = self.core.on_read(
            world.stored, self.peers, self.read & self.peers, troubled, world.gone, world.now_us
        )
        world.stored, self.read = self.plan.after, self.plan.read


class World:
    """Nodes that live look in turn."""

    def __init__(self) -> None:
        self.now_us, self.stored = 0, Leases()
        self.nodes: dict[str, Node] = {}
        self.gone: set[str] = set()

    def begin(self, name: str, peers: Collection[str] = PEERS) -> Node:
        self.nodes[name] = Node(self, name, peers)
        return self.nodes[name]

    def kill(self, name: str) -> None:
        del self.nodes[name]

    def stop(self, name: str) -> None:
        self.stored = self.nodes.pop(name).core.leave(self.stored)

    def run(self, seconds: float) -> None:
        until_us = self.now_us + int(seconds * SECOND)
        while self.now_us < until_us:
            self.now_us += LOOK_US
            for node in list(self.nodes.values()):
                node.look()

    def readers(self, peer: str) -> list[str]:
        return sorted(name for name, one in self.nodes.items() if peer in one.read)

    def is_shared_out(self) -> bool:
        return all(len(self.readers(peer)) == 1 for peer in PEERS)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def pair(world: World) -> World:
    """Two nodes that have come to rest."""
    world.begin("a")
    world.run(1)
    world.begin("b")
    world.run(3)
    return world


def test_the_only_node_reads_all_at_once(world: World) -> None:
    node = world.begin("a")
    node.look()
    assert node.read == PEERS
    assert world.stored.holders == dict.fromkeys(PEERS, "a")


def test_who_is_alone_writes_nothing_and_is_no_dead_one_to_who_comes(world: World) -> None:
    """Its row stands still as long as nobody looks at it."""
    world.begin("a")
    world.run(1)
    before = world.stored
    world.run(60)
    assert world.stored == before
    world.begin("b")
    world.run(3)
    assert world.is_shared_out()
    assert set(world.stored.holders.values()) == {"a", "b"}
    world.kill("b")
    world.run(5)
    assert world.readers("us") == world.readers("ap") == ["a"]
    alone = world.stored
    world.run(5)
    assert world.stored == alone


def test_who_begins_reads_all_until_it_has_seen_the_others_beat(world: World) -> None:
    """It waits for nobody who may be dead."""
    first = world.begin("a")
    world.run(1)
    second = world.begin("b")
    second.look()
    assert (first.read, second.read) == (PEERS, PEERS)
    assert world.stored.holders == dict.fromkeys(PEERS, "a")
    world.run(2)
    assert world.is_shared_out()


def test_two_nodes_halve_the_peers(pair: World) -> None:
    assert pair.is_shared_out()
    assert [len(node.read) for node in pair.nodes.values()] == [2, 2]


def test_a_living_holder_stops_before_another_begins(pair: World) -> None:
    """But for who begins. Each node looks at what the others read just then."""
    pair.begin("c")
    pair.run(0.2)
    for _ in range(50):
        pair.now_us += LOOK_US
        for node in pair.nodes.values():
            before = node.read
            node.look()
            for peer in node.read - before:
                assert pair.readers(peer) == [node.core.me]
    assert pair.is_shared_out()
    assert sorted(len(node.read) for node in pair.nodes.values()) == [1, 1, 2]


def test_what_is_served_is_not_given_back(pair: World) -> None:
    """Its progress is not stored yet."""
    one = next(iter(pair.nodes.values()))
    served = one.read
    plan = one.core.on_read(pair.stored, frozenset(), served, (), (), pair.now_us)
    assert plan.read == frozenset()
    assert {peer for peer, name in plan.after.holders.items() if name == one.core.me} == served
    plan = one.core.on_read(plan.after, frozenset(), frozenset(), (), (), pair.now_us)
    assert one.core.me not in plan.after.holders.values()


def test_a_dead_nodes_peers_are_taken_over(pair: World) -> None:
    pair.kill("a")
    pair.run(1.8)
    assert not pair.is_shared_out()
    pair.run(1.6)
    assert pair.nodes["b"].read == PEERS
    assert pair.stored.readers.keys() == {"b"}


def test_a_process_of_this_machine_that_is_gone_is_dead_at_once(pair: World) -> None:
    pair.kill("a")
    pair.gone = {"a"}
    pair.run(0.2)
    assert pair.nodes["b"].read == PEERS


def test_a_clean_stop_hands_over_at_once(pair: World) -> None:
    pair.stop("a")
    pair.run(0.2)
    assert pair.nodes["b"].read == PEERS


def test_who_was_thought_dead_comes_back(pair: World) -> None:
    """As after a long pause: it reads what it had until it looks, and then its share."""
    asleep = pair.nodes.pop("a")
    pair.run(5)
    assert pair.nodes["b"].read == PEERS
    pair.nodes["a"] = asleep
    assert asleep.read
    pair.run(2)
    assert pair.is_shared_out()
    assert asleep.read


def test_a_registry_that_was_away_kills_nobody(pair: World) -> None:
    """Only readings count."""
    before = dict(pair.stored.holders)
    pair.now_us += 60 * SECOND
    pair.run(3)
    assert pair.stored.holders == before


def test_a_dead_row_from_before_holds_nobody_up(world: World) -> None:
    """A replica of one node that died, and is started on another machine."""
    row = Reader(9, "before", "elsewhere", 1, tuple(sorted(PEERS)))
    world.stored = Leases({"before": row}, dict.fromkeys(PEERS, "before"))
    node = world.begin("a")
    node.look()
    assert node.read == PEERS
    world.run(4)
    assert node.read == PEERS
    assert world.stored.readers.keys() == {"a"}
    assert world.stored.holders == dict.fromkeys(PEERS, "a")


def test_only_who_lists_a_peer_reads_it(world: World) -> None:
    world.begin("a", PEERS - {"af"})
    world.begin("b")
    world.run(4)
    assert world.is_shared_out()
    assert world.readers("af") == ["b"]


def test_who_does_not_reach_a_peer_leaves_it_to_others(pair: World) -> None:
    node = pair.nodes["a"]
    node.troubled = node.read
    pair.run(9)
    assert node.read
    pair.run(3)
    assert node.read.isdisjoint(node.troubled)
    assert pair.is_shared_out()
    node.troubled = frozenset()
    pair.run(60)
    assert pair.is_shared_out()
    assert len(node.read) == 2  # after a while it may again


def test_a_peer_that_nobody_reaches_is_tried_by_one(pair: World) -> None:
    for node in pair.nodes.values():
        node.troubled = frozenset({"us"})
    pair.run(40)
    for _ in range(100):
        pair.run(0.2)
        assert len(pair.readers("us")) <= 1
    assert pair.stored.holders.keys() == PEERS


def test_a_reader_too_many_waits_for_a_place(world: World) -> None:
    rows = {f"n{number}": Reader(0, "n") for number in range(READERS_MAX)}
    world.stored = Leases(rows)
    node = world.begin("late")
    node.look()
    assert "late" not in world.stored.readers
    world.run(4)  # they are all dead
    assert world.stored.readers.keys() == {"late"}


NAMES = st.sets(st.text("abcdefgh", min_size=1, max_size=4), min_size=1, max_size=12)


@given(NAMES, NAMES)
def test_shares_are_fair_and_whole(peers: set[str], readers: set[str]) -> None:
    rows = {name: Reader(0, "n", peers=tuple(sorted(peers))) for name in readers}
    found = share_out("cart", rows)
    assert found.keys() == peers
    counts = [list(found.values()).count(name) for name in readers]
    assert max(counts) - min(counts) <= 1
    assert found == share_out("cart", dict(reversed(rows.items())))


def test_leases_are_stored_as_they_are() -> None:
    row = Reader(3, "node", "machine", 7, ("ap", "us"), ("us",))
    leases = Leases({"node.1": row}, {"us": "node.1"})
    assert leases_of(plain_of_leases(leases)) == leases
    assert leases_of(None) == Leases()

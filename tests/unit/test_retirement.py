"""A replica leaves for good: the others end with the same of its events, in any topology."""

from __future__ import annotations

from random import Random

import pytest

from thespian_dc.model.roles import Roles, Stage, met, retire, retired, staged
from thespian_dc.replication.retirement import is_complete, next_stage, waits_for

TOPOLOGIES = {
    "mesh": {(a, b) for a in "abcd" for b in "abcd" if a != b},
    "chain": {(a, b) for a, b in zip("abcd"[:-1], "abcd"[1:], strict=True)},
    "star": {("a", b) for b in "bcd"},
}


class Node:
    """A replica with one slice: a log of numbers that d wrote, and how far it has read others'."""

    def __init__(self, name: str, group: str) -> None:
        self.roles = Roles(name)
        self.log: list[int] = []
        self.cursors = {peer: {0: 0} for peer in group if peer != name}


class World:
    """d retires; what it wrote reached the others in part."""

    def __init__(self, random: Random, topology: str) -> None:
        self.random = random
        pairs = TOPOLOGIES[topology]
        self.linked = {
            name: {b for a, b in pairs | {(b, a) for a, b in pairs} if a == name} for name in "abcd"
        }
        self.nodes = {name: Node(name, "abcd") for name in "abcd"}
        self.nodes["d"].log = list(range(6))

    def linked_to(self, name: str) -> set[str]:
        return self.linked[name] - set(self.nodes[name].roles.fenced)

    def step(self) -> None:
        name, other = self.random.sample("abcd", 2)
        node, peer = self.nodes[name], self.nodes[other]
        if other in self.linked_to(name) and name not in peer.roles.fenced:
            if self.random.random() < 0.5:
                node.roles = met(node.roles, peer.roles)
            else:
                self.read(node, peer, other)
        if "d" in node.roles.retiring:
            self.advance(node)

    def read(self, node: Node, peer: Node, other: str) -> None:
        at = node.cursors[other][0]
        for event in peer.log[at : at + self.random.randint(1, 3)]:
            if event not in node.log:
                node.log.append(event)
            node.cursors[other][0] += 1

    def advance(self, node: Node) -> None:
        name = node.roles.replica_id
        stage = next_stage(
            node.roles, "d", self.linked_to(name), node.cursors, (len(node.log),), "abcd"
        )
        if stage is not None:
            node.roles = staged(node.roles, "d", stage)
        if is_complete(node.roles, "d", "abcd"):
            node.roles = retired(node.roles, "d")


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("seed", range(60))
def test_when_it_is_retired_all_others_have_the_same_of_it(topology: str, seed: int) -> None:
    random = Random(seed)
    world = World(random, topology)
    for _ in range(random.randint(0, 60)):
        world.step()
    starter = world.nodes["a"]
    starter.roles = retire(starter.roles, "cart", "d", "abcd")
    others = [world.nodes[name] for name in "abc"]
    for _ in range(3000):
        world.step()
        done = [node for node in others if "d" in node.roles.retired]
        if done:
            break
    else:
        raise AssertionError([waits_for(node.roles, "d", "abcd") for node in others])
    assert len({frozenset(node.log) for node in others}) == 1
    for _ in range(300):
        world.step()
    assert len({frozenset(node.log) for node in others}) == 1


def _retiring(**stages: Stage) -> Roles:
    return Roles("a", retiring={"d": stages})


def test_nobody_is_fenced_while_its_link_is_open() -> None:
    assert next_stage(_retiring(), "d", "bd", {}, (0,), "abd") is None
    assert next_stage(_retiring(), "d", "b", {}, (4,), "abd") == Stage(0, 0, (4,))


def test_the_next_round_needs_what_each_peer_had_in_the_last() -> None:
    roles = _retiring(a=Stage(0, 0, (4,)), b=Stage(0, 0, (7,)))
    assert next_stage(roles, "d", "b", {"b": {0: 6}}, (9,), "abd") is None
    assert next_stage(roles, "d", "b", {"b": {0: 7}}, (9,), "abd") == Stage(0, 1, (9,))
    assert next_stage(roles, "d", "bc", {"b": {0: 7}, "c": {0: 9}}, (9,), "abcd") is None
    assert waits_for(roles, "d", "abcd")["c"] == "was not told to retire it, or did not say so yet"


def test_a_restored_journal_begins_again() -> None:
    roles = Roles("a", 1, retiring={"d": {"a": Stage(0, 1, (4,)), "b": Stage(0, 1, (7,))}})
    assert next_stage(roles, "d", "b", {"b": {0: 9}}, (2,), "abd") == Stage(1, 0, (2,))


def test_the_last_two_need_one_round_and_the_last_one_none() -> None:
    both = _retiring(a=Stage(0, 1, (4,)), b=Stage(0, 1, (7,)))
    assert is_complete(both, "d", "abd")
    assert not is_complete(both, "d", "abcd")
    assert is_complete(_retiring(a=Stage(0, 0, (4,))), "d", "ad")
    assert not is_complete(_retiring(), "d", "ad")

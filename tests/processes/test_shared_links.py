"""Two nodes over one journal are one replica: each peer is read by one of them, and by the other
one when that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.processes.replicas import Replica, agree, replicas
from tests.processes.running import free_port, running
from thespian_dc.client.api import Client
from thespian_dc.journal.api import open_journal
from thespian_dc.replication.leasing import stored_leases
from thespian_dc.replication.management import Replicas
from thespian_dc.testkit.eventually import eventually

IDS = ("x", "y", "z")
SETTLED_S = 60.0


@dataclass
class Nodes:
    """Of the replica a; peers: the others."""

    nodes: list[Replica]
    peers: dict[str, Replica]

    def reader(self, peer: str) -> Replica | None:
        """The one node that reads it; None as long as there is not exactly one, and one call."""
        states = [one.links().get(peer, {}).get("state") for one in self.nodes]
        if sorted(map(str, states)) != ["lent"] * (len(states) - 1) + ["up"]:
            return None
        return self.nodes[states.index("up")] if calls(self.peers[peer]) == 1 else None

    def settled(self, peer: str) -> Replica:
        found = eventually(lambda: self.reader(peer), SETTLED_S)
        assert found is not None
        return found

    def other(self, one: Replica) -> Replica:
        (other,) = [node for node in self.nodes if node is not one]
        return other


def calls(peer: Replica) -> int:
    """How many streams are open at its producer."""
    return int(peer.node.status()["producers"][0]["calls"])


@contextmanager
def two_nodes(folder: Path, names: str) -> Iterator[Nodes]:
    """names: a, which reads the others; they read nobody."""
    with replicas(folder, names, ["a" + one for one in names[1:]]) as found, running() as system:
        first = found.pop("a")
        settings = replace(first.settings, listen=f"127.0.0.1:{free_port()}")
        node = system.start(settings)
        client = Client.connect(system.system, settings.service)
        yield Nodes([first, Replica("a", settings, system, node, client)], found)
        client.close()


def write(peer: Replica, times: int) -> None:
    for _ in range(times):
        for entity_id in IDS:
            peer.change(entity_id, 1)


def test_a_killed_nodes_link_goes_on_at_the_other_one(tmp_path: Path) -> None:
    """Nothing is lost, nothing comes twice."""
    with two_nodes(tmp_path, "ab") as of:
        (peer,) = of.peers.values()
        of.settled("b")
        write(peer, 5)
        for entity_id in IDS:
            agree(of.nodes, entity_id, (5, {"b": 5}))
        reader = of.settled("b")
        left = of.other(reader)
        reader.system.kill_all()
        of.nodes = [left]
        write(peer, 5)
        for entity_id in IDS:
            agree([left], entity_id, (10, {"b": 10}))
        assert of.settled("b") is left


def test_a_node_that_is_stopped_hands_its_link_over(tmp_path: Path) -> None:
    """Its place among the readers is free as soon as it has ended: nobody waits for its death."""
    with two_nodes(tmp_path, "ab") as of:
        (peer,) = of.peers.values()
        reader = of.settled("b")
        left = of.other(reader)
        write(peer, 2)
        reader.end()
        of.nodes = [left]
        with closing(open_journal(left.settings.journal)) as journal:
            (row,) = stored_leases(journal, "tally").readers.values()
        assert row.node == left.node.status()["node_id"]
        write(peer, 2)
        for entity_id in IDS:
            agree([left], entity_id, (4, {"b": 4}))
        assert of.settled("b") is left


def test_two_peers_are_read_by_a_node_each(tmp_path: Path) -> None:
    """The status of the replica, from any process, says by which."""
    with two_nodes(tmp_path, "abc") as of:
        nodes = {one.node.status()["node_id"]: one for one in of.nodes}

        def shown() -> dict[str, Replica | None]:
            links = Replicas(of.nodes[0].settings.journal, "tally").status().links
            return {one["peer"]: nodes.get(one["node"]) for one in links.links} if links else {}

        def is_shared() -> bool:
            readers = {peer: of.reader(peer) for peer in of.peers}
            return (
                None not in readers.values()
                and readers["b"] is not readers["c"]
                and (shown() == readers)
            )

        eventually(is_shared, SETTLED_S)
        for peer in of.peers.values():
            write(peer, 2)
        for entity_id in IDS:
            agree(of.nodes, entity_id, (4, {"b": 2, "c": 2}))

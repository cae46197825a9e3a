"""Nodes of replicas that prove who they are by certificates, and one that shows another's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tests.processes.replicas import WITHIN_S, Replica, Tally, agree
from tests.processes.running import free_port, running
from tests.streams.certificates import Authority
from thespian_dc.client.api import Client
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Settings, Tls
from thespian_dc.testkit.eventually import eventually


@contextmanager
def bound(folder: Path, certificates: dict[str, Tls]) -> Iterator[list[Replica]]:
    """Replicas that dial each other, each with its certificate, and take each for the one whose
    certificate shows `<id>.shop`."""
    ports = {name: free_port() for name in certificates}
    with ExitStack() as stack:
        found = []
        for name, tls in certificates.items():
            peers = [
                Peer(one, f"127.0.0.1:{port}", tls=tls, identity=f"{one}.shop")
                for one, port in ports.items()
                if one != name
            ]
            settings = Settings(
                service=f"tallies-{name}", journal=f"sqlite:///{folder}/{name}.db",
                entities=[Tally], listen=f"127.0.0.1:{ports[name]}", tls=tls, slices=4,
                replication=[Replication(Tally, name, peers)],
            )  # fmt: skip
            system = stack.enter_context(running())
            node = system.start(settings)
            client = Client.connect(system.system, settings.service)
            found.append(Replica(name, settings, system, node, client))
        yield found
        for one in found:
            one.client.close()


def with_certificate(replica: Replica, tls: Tls) -> None:
    """Start its node again with another certificate."""
    (group,) = replica.settings.replication
    peers = [replace(one, tls=tls) for one in group.peers]
    replica.end()
    replica.settings = replace(replica.settings, tls=tls, replication=[replace(group, peers=peers)])
    replica.begin()


def test_an_id_under_anothers_certificate_is_refused_by_name_at_both_ends(tmp_path: Path) -> None:
    """Nothing comes or goes, both take commands, and with the right certificate all comes."""
    ours = Authority(tmp_path / "ours")
    mine = {name: ours.tls(f"{name}.shop") for name in "ab"}
    with bound(tmp_path, mine) as (a, b):
        a.change("x", 1)
        b.change("x", 10)
        agree([a, b], "x", (11, {"a": 1, "b": 1}))
        with_certificate(b, ours.tls("c.shop"))
        b.change("x", 100)
        a.change("x", 1000)
        eventually(lambda: "ReplicaIdentityError" in b.links()["a"]["error"], WITHIN_S)
        eventually(lambda: "wrong name" in a.links()["b"]["error"], WITHIN_S)
        assert a.read("x") == (1011, {"a": 2, "b": 1})
        assert b.read("x") == (111, {"a": 1, "b": 2})
        with_certificate(b, mine["b"])
        agree([a, b], "x", (1111, {"a": 2, "b": 2}))

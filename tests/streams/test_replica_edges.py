"""A replica that only dials: it brings its own log to the hub, which reads it as any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.streams.asking import asked
from tests.streams.certificates import Authority
from tests.streams.material import ENTITY_TYPE, SLICES
from tests.streams.replicas import OWN, READER, STREAM, THIRD, Link, Log, came_in, replication
from thespian_dc.entity.api import change_roles
from thespian_dc.journal.api import Journal, StateRow, open_journal
from thespian_dc.model.errors import JournalDivergedError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.position import Position
from thespian_dc.model.replication_handshake import Known, OriginPositions
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.stream_errors import PeerUnavailableError, UnknownStreamError
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.relay import EdgeSource
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.lookups import EntityState

A, B = "c-1", "c-2"
SLICE_A = slice_of(A, SLICES)
HUB = Replication(ENTITY_TYPE, READER, peers=[Peer(OWN, edge=True), Peer(THIRD)])
SECOND = Replication(ENTITY_TYPE, THIRD, peers=[Peer(OWN, edge=True), Peer(READER)])


class EdgeLink(Link):
    """The hub's link to the edge."""

    def __init__(self, journal: Journal, setting: Replication = HUB, **changes: Any) -> None:
        super().__init__(1, **changes)
        call = ReplicaCall(lambda: self.start, OWN, self.said.append)
        self.source = EdgeSource(journal, setting, OWN, "shop/us", call)


class Star(NamedTuple):
    """A hub, its journal, and what starts the edge."""

    hub: StreamServer
    port: int
    journal: Journal
    edge: Callable[..., StreamServer]
    link: Callable[..., EdgeLink]


@pytest.fixture
def star(log: Log, journal_url: str, tmp_path: Path) -> Iterator[Callable[..., Star]]:
    servers: list[StreamServer] = []
    links: list[EdgeLink] = []
    journals: list[Journal] = []

    def start(setting: Replication = HUB, **changes: Any) -> Star:
        hub_url = f"sqlite:///{tmp_path}/{setting.replica_id}.db"
        hub = StreamServer(StartProducer("hub", hub_url, (), "127.0.0.1:0", SLICES,
                                         replication=(setting,), **changes))  # fmt: skip
        servers.append(hub)
        port = hub.start()
        journal = open_journal(hub_url)
        journals.append(journal)

        def edge(
            tls: Any = None, identity: str = "", third_at: str = "", **more: Any
        ) -> StreamServer:  # fmt: skip
            peers = [Peer(READER, f"127.0.0.1:{port}", tls, identity, edge=True),
                     Peer(THIRD, third_at, edge=bool(third_at))]  # fmt: skip
            setting = replication(peers=peers, **more)
            server = StreamServer(StartProducer("edge", journal_url, (), "", SLICES,
                                                replication=(setting,)))  # fmt: skip
            servers.append(server)
            server.start()
            return server

        def link(**more: Any) -> EdgeLink:
            links.append(EdgeLink(journal, setting, **more))
            return links[-1]

        return Star(hub, port, journal, edge, link)

    yield start
    for one in links:
        one.source.stop()
    for server in reversed(servers):
        server.stop()
    for journal in journals:
        journal.close()


def test_the_log_of_an_edge_is_read_as_any_other(log: Log, star: Any) -> None:
    """Live and before, with what is left out, reported and learnt on the way."""
    world = star()
    world.edge()
    log.wrote(A)
    log.took(READER, (A, 3))
    log.took(THIRD, (A, 40))
    link = world.link().open()
    eventually(lambda: [one.meta.origin for one in link.came] == [OWN, THIRD])
    assert link.said[0].replica_id == OWN
    link.tell(Known((OriginPositions(THIRD, 0, (1 << 30,) * SLICES),)))
    log.wrote(B)
    eventually(lambda: link.entities == [A, A, B])
    log.took(THIRD, (A, 41))
    log.wrote(A)
    eventually(lambda: [one.offset for one in link.came if one.entity_id == A] == [0, 2, 4])


def test_questions_are_answered_on_its_call(log: Log, star: Any) -> None:
    """Before anything is read, and beside it."""
    world = star()
    world.edge()
    log.wrote(A, A)
    log.journal.write_states(SliceKey(ENTITY_TYPE, SLICE_A), [StateRow(A, 1, 0, b"state")])
    link = world.link()
    eventually(lambda: world.hub.calls == 0)
    heads = eventually(lambda: link.source.heads().positions)
    assert heads[SLICE_A].offset == 2
    link.open()
    eventually(lambda: link.entities == [A, A])
    found = came_in(link.look_up(A).commits)
    assert [(one.meta.origin, one.offset) for one in found] == [(OWN, 0), (OWN, 1)]
    state = link.state_of(A)
    assert isinstance(state, EntityState)
    assert (state.seq_nr, state.body) == (1, b"state")


def test_an_edge_is_read_where_it_calls(log: Log, star: Any) -> None:
    """Another node of the hub began later; its own server has no call."""
    world = star()
    star()
    world.edge()
    log.wrote(A)
    link = world.link().open()
    eventually(lambda: link.entities == [A])


def test_an_edge_is_asked_on_its_call_though_another_node_began_since(log: Log, star: Any) -> None:
    """The registry names that one by now, where the edge has no call."""
    world = star()
    world.edge()
    log.wrote(A)
    link = world.link().open()
    eventually(lambda: link.entities == [A])
    star()
    assert link.source.heads().positions[SLICE_A].offset == 1


def test_an_edge_brings_its_log_to_two_hubs(log: Log, star: Any) -> None:
    """To each what that one lacks; one that is gone holds up nobody."""
    one, two = star(), star(SECOND)
    one.edge(third_at=f"127.0.0.1:{two.port}")
    log.wrote(A)
    log.took(THIRD, (A, 40))
    first, second = one.link().open(), two.link(replica_id=THIRD).open()
    eventually(lambda: [came.meta.origin for came in first.came] == [OWN, THIRD])
    eventually(lambda: [came.meta.origin for came in second.came] == [OWN])
    two.hub.stop()
    log.wrote(B)
    eventually(lambda: first.entities == [A, A, B])


def test_what_was_written_before_an_edge_became_a_replica_is_read_too(log: Log, star: Any) -> None:
    """It is the edge's own, counted by its numbers; nothing was rewritten."""
    log.put([log._record(A, [])._replace(meta=None) for _ in range(2)])
    world = star()
    world.edge()
    link = world.link().open()
    log.wrote(A)
    eventually(lambda: [one.offset for one in link.came] == [0, 1, 2])
    before = [(one.meta.origin, one.meta.n, one.meta.others) for one in link.came[:2]]
    assert before == [(OWN, 1, {}), (OWN, 2, {})]


def test_another_link_takes_over_where_the_first_one_ended(log: Log, star: Any) -> None:
    """The edge calls again at once."""
    world = star()
    edge = world.edge()
    log.wrote(A)
    first = world.link().open()
    eventually(lambda: first.entities == [A])
    first.source.stop()
    second = world.link().open({SLICE_A: Position(1, log.written[0].write_id)})
    log.wrote(A)
    eventually(lambda: [one.offset for one in second.came] == [1])
    assert edge.facts()["pushes"][0]["connected"]
    assert world.hub.facts()["edges"] == [f"{STREAM} of {OWN}"]


def test_why_an_edge_refuses_is_told_by_its_name(log: Log, star: Any) -> None:
    world = star()
    world.edge()
    log.wrote(A)
    link = world.link().open({SLICE_A: Position(9, b"w" * 16)})
    eventually(lambda: link.failed)
    assert type(link.failed[0]) is JournalDivergedError
    other = world.link(replica_id=THIRD).open()
    eventually(lambda: other.error is not None)
    assert "us" in str(other.error)


def test_an_edge_that_is_started_again_is_read_on(log: Log, star: Any) -> None:
    world = star()
    edge = world.edge()
    log.wrote(A)
    link = world.link().open()
    eventually(lambda: link.entities == [A])
    edge.stop()
    eventually(lambda: link.source.reconnects >= 1)
    assert isinstance(link.source.last_error, PeerUnavailableError)
    log.wrote(A)
    world.edge()
    eventually(lambda: [one.offset for one in link.came] == [0, 1])
    assert len(link.said) == 2


def test_a_hub_that_is_started_again_is_found(log: Log, star: Any) -> None:
    """By its links too: the registry says where its calls are now."""
    world = star()
    world.edge()
    log.wrote(A)
    link = world.link().open()
    eventually(lambda: link.entities == [A])
    world.hub.stop()
    again = StreamServer(StartProducer("hub", world.journal.url, (), f"127.0.0.1:{world.port}",
                                       SLICES, replication=(HUB,)))  # fmt: skip
    again.start()
    log.wrote(A)
    try:
        eventually(lambda: [one.offset for one in link.came] == [0, 1], deadline_s=20)
    finally:
        again.stop()


def test_nobody_is_let_in_who_is_not_listed_as_an_edge(log: Log, star: Any) -> None:
    """A peer that could be dialled does not push its log."""
    world = star(replace(HUB, peers=[Peer(OWN, "127.0.0.1:1"), Peer(THIRD, edge=True)]))
    edge = world.edge()
    eventually(lambda: edge.facts()["pushes"][0]["error"])
    assert "OriginRefusedError" in edge.facts()["pushes"][0]["error"]


def test_an_edge_proves_who_it_is(log: Log, star: Any, ours: Authority) -> None:
    bound = replace(HUB, peers=[Peer(OWN, edge=True, identity="eu.shop"), Peer(THIRD)])
    world = star(bound, tls=ours.tls("127.0.0.1"))
    stranger = world.edge(ours.tls("ap.shop"))
    eventually(lambda: "ReplicaIdentityError" in stranger.facts()["pushes"][0]["error"])
    stranger.stop()
    world.edge(ours.tls("eu.shop"))
    log.wrote(A)
    link = world.link().open()
    eventually(lambda: link.entities == [A])


def test_an_edge_brings_its_log_to_nobody_but_the_peer(
    log: Log, star: Any, ours: Authority
) -> None:
    """What answers there must show the certificate that the peer's id is bound to."""
    world = star(tls=ours.tls("127.0.0.1", also="us.shop"))
    lured = world.edge(ours.tls("eu.shop"), identity="ap.shop")
    eventually(lambda: "wrong name" in lured.facts()["pushes"][0]["error"])
    lured.stop()
    world.edge(ours.tls("eu.shop"), identity="us.shop")
    log.wrote(A)
    link = world.link().open()
    eventually(lambda: link.entities == [A])


def test_a_retired_edge_is_refused(log: Log, star: Any) -> None:
    world = star()
    change_roles(world.journal, ENTITY_TYPE, lambda roles: replace(roles, retired=frozenset({OWN})))
    edge = world.edge()
    eventually(lambda: "RetiredReplicaError" in edge.facts()["pushes"][0]["error"])


def test_nobody_reads_an_edge_without_the_registrys_word(log: Log, star: Any) -> None:
    """The relay serves whoever can read the journal, and only what that says."""
    world = star()
    world.edge()
    target, _ = world.journal.entry(f"replica_edge:{STREAM}:{OWN}").value
    port = int(target.rpartition(":")[2])
    for more in ({}, {"metadata": {"edge-line": "guessed"}}):
        with pytest.raises(UnknownStreamError):
            asked(port, "heads", stream_id=STREAM, **more)


def test_an_edge_is_missed_by_name_where_no_hub_ever_ran(log: Log) -> None:
    link = EdgeLink(log.journal).open()
    eventually(lambda: link.source.reconnects >= 2)
    assert "has run yet" in str(link.source.last_error)
    link.source.stop()

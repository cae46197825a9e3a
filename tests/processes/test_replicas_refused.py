"""Nodes whose settings of replication cannot be right: said by name, and nothing comes to harm."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes.replicas import WITHIN_S, Replica, agree, replicas
from thespian_dc.journal.api import open_journal
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_errors import ReplicaIdChangedError
from thespian_dc.testkit.eventually import eventually


def begin_as(replica: Replica, replica_id: str, *peers: Peer) -> None:
    """Start its node with another Replication; the settings keep it."""
    before = replica.settings.replication[0]
    group = Replication(before.entity, replica_id, peers or before.peers)
    replica.settings = replace(replica.settings, replication=[group])
    replica.begin()


def test_a_journal_is_not_written_under_another_replicas_id(tmp_path: Path) -> None:
    """A changed setting would give numbers to events that another replica gave already."""
    with replicas(tmp_path, "ab") as found:
        a, b = found.values()
        a.change("x", 1)
        agree([b], "x", (1, {"a": 1}))
        a.end()
        with pytest.raises(ReplicaIdChangedError, match=r"'a'.*'z'"):
            begin_as(a, "z")
        begin_as(a, "a")
        a.change("x", 1)
        agree([a, b], "x", (2, {"a": 2}))
        with closing(open_journal(a.settings.journal)) as journal:
            assert journal.verify("tally") == []


def test_lists_that_do_not_match_are_reported_at_the_handshake(tmp_path: Path) -> None:
    """a lists a replica that b does not know: b is told so and gets nothing; both take commands,
    and with the same list all comes."""
    with replicas(tmp_path, "ab") as found:
        a, b = found.values()
        a.change("x", 1)
        agree([b], "x", (1, {"a": 1}))
        a.end()
        (to_b,) = a.settings.replication[0].peers
        begin_as(a, "a", to_b, Peer("c"))
        a.change("x", 1)
        b.change("x", 10)
        eventually(lambda: "ReplicaListsDifferError" in b.links()["a"]["error"], WITHIN_S)
        assert "'b' does not know c" in b.links()["a"]["error"]
        agree([a], "x", (12, {"a": 2, "b": 1}))
        assert b.read("x") == (11, {"a": 1, "b": 1})
        (to_a,) = b.settings.replication[0].peers
        b.end()
        begin_as(b, "b", to_a, Peer("c"))
        agree([b], "x", (12, {"a": 2, "b": 1}))

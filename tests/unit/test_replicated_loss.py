"""Commits and slices that are lost under events of other replicas."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.host_core import SECOND, Host
from tests.unit.replicated_entities import (
    Chronicle,
    Noted,
    Tell,
    Write,
    fresh,
)
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.protocol import SENT_BEFORE, Absorbed, RemoteEvent, Replicated
from thespian_dc.journal.api import Appended, Outcome, append_wait
from thespian_dc.model.replication import (
    ORIGIN_META,
    ReplicaMeta,
    read_remote,
    remote_meta,
)
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Limits
from thespian_dc.slices.actions import Append, CommitAt, FoundCommit

sound = pytest.fixture(autouse=True)(fresh)


def host(journal: Any = None, member_id: str = "m1", start_us: int = SECOND) -> Host:
    replication = Replication(Chronicle, "b", [Peer("a")])
    return Host(
        Chronicle, journal=journal, member_id=member_id, start_us=start_us,
        replication=[replication], limits=Limits(known_commands=32),
    ).own()  # fmt: skip


def event(n: int) -> RemoteEvent:
    encoded = EntityType.of(Chronicle, importable=False).registry.encode(Noted(f"n{n}"))
    return RemoteEvent(*encoded, [], remote_meta(ReplicaMeta("a", n, {}, n, n)))


def replicated(host: Host, *events: RemoteEvent) -> Any:
    return host.command(Chronicle, "x", Replicated(events, "a"), "c-1")._replace(epoch=1)


def test_the_answer_comes_when_it_is_durable() -> None:
    """Also for what was known already, while its commit is under way (90)."""
    one = host()
    first, again, query = one.send(
        replicated(one, event(1)), replicated(one, event(1)), one.command(Chronicle, "x", Tell())
    )
    one.run(Append)
    assert one.answers == {}
    assert one.step(Append)
    one.run()
    assert one.answers == {
        first: Absorbed(1), again: Absorbed(1), query: (("n1", "a", False),)
    }  # fmt: skip
    assert len(one.journal.read_entity(one.keys[0], "x")) == 1
    assert one.journal.read_entity(one.keys[0], "x")[0].record.command_id == ""


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_commit_of_which_nothing_is_known_needs_no_command_id(is_stored: bool) -> None:
    """What the entity contains decides, once the slice is read again."""
    one = host()
    [number] = one.send(replicated(one, event(1), event(2))._replace(command_id=""))
    one.run(but=Append)
    [append] = one.drop(Append)
    if is_stored:
        append_wait(one.journal, [append.commit])
    other_owner = host(one.journal, "m2", one.now_us + SECOND)
    other_owner.send(replicated(other_owner, *(event(n) for n in range(1, 4))))
    other_owner.run()
    one.take(one.core.on_result(Appended(append.commit, Outcome.UNKNOWN), one.now_us))
    one.run(but=CommitAt)
    for row in one.drop(CommitAt):
        one.take(one.core.on_result(FoundCommit(row, None), one.now_us))
    one.until(lambda: number in one.answers)
    assert one.answers[number] == Absorbed(2)
    stored = one.journal.read_entity(one.keys[0], "x")
    metas = [found.record.meta or {} for found in stored]
    assert [read_remote(meta[ORIGIN_META]).n for meta in metas] == [1, 2, 3]


def test_what_comes_from_replicas_is_never_looked_up_by_its_id() -> None:
    """Though a router gives it one, and the entity has forgotten as many as it remembers: only the
    command that waits beside it is."""
    one = host()
    one.send(replicated(one, *(event(n) for n in range(1, 301))))
    one.run()
    one.send(replicated(one, event(301)))
    write_, again = (
        command._replace(epoch=SENT_BEFORE)
        for command in (
            one.command(Chronicle, "x", Write(("mine",)), "id"), replicated(one, event(302)),
        )
    )  # fmt: skip
    one.send(write_, again)
    one.run()
    assert one.core.counts["looked_up"] == 1
    assert len(one.answers) == 4
    assert len(one.journal.read_entity(one.keys[0], "x")) == 303

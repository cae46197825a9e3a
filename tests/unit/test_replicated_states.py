"""A state in place of trimmed events: joined with what a replica has, never stored as it came."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from thespian.actors import ActorAddress

from tests.unit.host_core import Host
from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import (
    Chronicle,
    Noted,
    Tell,
    Write,
    fresh,
    texts,
    write,
)
from thespian_dc.entity.actions import Retrace
from thespian_dc.entity.protocol import Absorbed, EntityRef, ReplicatedState
from thespian_dc.entity.rows import unpack_row
from thespian_dc.model.record import SNAPSHOT_META, STATE
from thespian_dc.model.replication import ORIGIN_META, read_state
from thespian_dc.model.replication_errors import (
    OriginForkedError,
    OwnEventsTrimmedError,
    ReplicatedEntityFailedError,
)
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.slices.actions import Append
from thespian_dc.stream.transform import Originals, stored_registry

sound = pytest.fixture(autouse=True)(fresh)


@pytest.fixture(autouse=True)
def often_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chronicle, "snapshot_every", 1)


def state_of(replica: Replica) -> ReplicatedState:
    """As a peer sends it: from its state row."""
    replica.state()
    replica.local.tick(10_000_000)
    row = replica.local.journal.read_state(replica.key(), "x")
    assert row is not None
    encoded, _, content, _ = unpack_row(row)
    assert content is not None
    return ReplicatedState(
        *encoded, dict(content.vector), dict(content.tips), content.time_us, content.epoch,
        replica.id, content.leader, content.aside,
    )  # fmt: skip


def trim(replica: Replica) -> None:
    head = replica.local.journal.find_head(replica.key()).head
    assert replica.local.journal.trim(replica.key(), head) > 0


def test_a_late_joiner_begins_with_a_state() -> None:
    """And goes on with the events after it; recovery begins with it too."""
    a, b, c = group(Chronicle, "a", "b", "c")
    write(a, "one", "two")
    b.pull(a)
    write(b, "three")
    a.pull(b)
    assert c.ask(state_of(a)) == Absorbed(1)
    assert (c.state(), c.content()) == (a.state(), a.content())
    write(a, "four")
    c.absorb(a.events())
    for _ in range(2):
        assert texts(c.state()) == ["one", "two", "three", "four"]
        assert c.vector() == {"a": 3, "b": 1}
        c.restart()
    for found in c.records():
        c.local.journal.delete_state(c.key(), found.record.entity_id)
    c.restart()
    assert texts(c.state()) == ["one", "two", "three", "four"], "replay begins with the record"


def test_what_the_state_lacks_is_applied_on_top() -> None:
    """As concurrent, in the order of this log; the joined vector is stored, and the joined state
    goes on to others."""
    a, b, c = group(Chronicle, "a", "b", "c")
    write(a, "one")
    b.pull(a)
    write(b, "mine", "too")
    write(a, "two")
    assert b.ask(state_of(a)) == Absorbed(1)
    joined = (
        ("one", "a", False), ("two", "a", False), ("mine", "b", True), ("too", "b", True),
    )  # fmt: skip
    for _ in range(2):
        assert b.state() == joined
        assert b.vector() == {"a": 2, "b": 2}
        b.restart()
    record = b.records()[-1].record
    assert record.kind == STATE
    assert record.meta is not None
    assert record.meta[SNAPSHOT_META] is True, "readers know that it stands for all before it"
    assert read_state(record.meta[ORIGIN_META]) == b.content()
    assert b.content().tips == {}, "nobody said which commit wrote a's last event"
    assert b.absorb(a.events()) == Absorbed(2), "they are known, not others"
    a.pull(b)
    c.pull(b)
    assert a.vector() == c.vector() == b.vector()
    assert sorted(texts(a.state())) == sorted(texts(c.state())) == sorted(texts(joined))
    write(c, "after")
    settle(a, b, c)
    assert {tuple(sorted(texts(one.state()))) for one in (a, b, c)} == {
        ("after", "mine", "one", "too", "two")
    }


def test_readers_of_the_log_see_the_state() -> None:
    """Streams and projections decode it as they decode a state that a history begins with."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(b, "mine")
    b.ask(state_of(a))
    (commit,) = b.local.journal.read(b.key(), b.records()[-1].offset)
    ((_, _, event),) = Originals("s", stored_registry(Chronicle)).events(commit, None)
    assert event.payload == b.state()
    assert (event.seq_nr, (event.meta or {}).get(SNAPSHOT_META)) == (2, True)


def test_a_state_that_is_covered_changes_nothing() -> None:
    """The same, or an older one."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    old = state_of(a)
    write(a, "two")
    settle(a, b)
    for state in (old, state_of(a)):
        assert b.ask(state) == Absorbed(1)
    assert len(b.records()) == 2


def test_time_and_epoch_are_the_greater_ones() -> None:
    """Of both."""
    a = Replica(Chronicle, "a", "ab", clock_us=3_600_000_000, active="a")
    b = Replica(Chronicle, "b", "ab", active="a")
    a.ask(Write(("one",), time=True))
    b.ask(state_of(a))
    assert b.content() == a.content()
    assert (b.content().epoch, b.content().leader) == (1, "a")
    a.role(epoch=2, active="b")
    b.role(epoch=2, active="b")
    write(b, "two")
    a.ask(state_of(b))
    content = a.content()
    assert (content.epoch, content.leader) == (2, "b")
    assert content.time_us > 3_600_000_000
    assert dict(content.vector) == {"a": 1, "b": 1}


def test_own_events_that_are_trimmed_are_named() -> None:
    """Nothing is stored: the state would lose them."""
    a, b = group(Chronicle, "a", "b")
    write(b, "mine", "too")
    write(a, "one")
    state_of(b)
    trim(b)
    b.restart()
    answer = b.ask(state_of(a))
    assert (answer.through, answer.reason, answer.missing) == (0, "waits", ("b", 1))
    assert isinstance(answer.error, OwnEventsTrimmedError)
    assert answer.error.args == ("chronicle|x", "b", 1)
    assert b.vector() == {"b": 2}
    assert texts(b.ask(Tell())) == ["mine", "too"]


ORACLE = ActorAddress("oracle")


class Asking(Chronicle):
    """Writes what an actor answers."""

    entity_type = "asking"

    def receiveMsg_int(self, command: int, sender: Any) -> None:
        self.ask(ORACLE, "?", on_reply=lambda answer: self.persist(Noted(answer)).then_reply(len))


def test_what_is_written_while_the_log_is_asked_is_on_top_too() -> None:
    """An answer comes between the question to the log and its answer: the log is asked again."""
    a = Replica(Asking, "a", "ab")
    write(a, "theirs")
    b = Host(Asking, replication=[Replication(Asking, "b", [Peer("a")])]).own()
    b.send(b.command(Asking, "x", Write(("mine",))))
    b.run()
    b.send(b.command(Asking, "x", 1))
    b.run()
    [number] = b.send(b.command(Asking, "x", state_of(a)))
    assert [type(one) for one in b.pending] == [Retrace]
    b.take(b.core.on_message(ORACLE, "answered", b.now_us))
    b.run(but=Append)
    assert number not in b.answers, "it must not be joined without what is on its way"
    b.run()
    assert b.answers[number] == Absorbed(1)
    peeked = b.core.peek(EntityRef("asking", "x"))
    assert peeked is not None
    assert texts(peeked[0]) == ["theirs", "mine", "answered"]


def test_a_state_of_another_history_sets_the_entity_aside() -> None:
    """Its last event of an origin is another one under the same number."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    b.pull(a)
    elsewhere = Replica(Chronicle, "a", "ab")
    write(elsewhere, "one, again")
    c = Replica(Chronicle, "c", "abc")
    c.pull(elsewhere)
    answer = b.ask(state_of(c))
    assert isinstance(answer.error, OriginForkedError)
    assert [one.what for one in answer.listed] == ["forked"]
    with pytest.raises(OriginForkedError):
        write(b, "two")


def test_a_state_that_code_cannot_read_or_join_waits_for_code_that_can() -> None:
    """By name; nothing is stored, and the entity goes on."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(b, "mine")
    good = state_of(a)
    Chronicle.spoilt = "mine"
    for bad in (good, replace(good, manifest="nobody knows")):
        answer = b.ask(bad)
        assert (answer.through, answer.reason) == (0, "waits")
        assert isinstance(answer.error, ReplicatedEntityFailedError)
        assert "a state of a: " in str(answer.error)
    Chronicle.spoilt = ""
    assert b.vector() == {"b": 1}
    assert b.ask(good) == Absorbed(1)


def test_a_state_heals_a_failed_entity() -> None:
    """What its code could not apply is inside it."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two")
    Chronicle.spoilt = "two"
    b.pull(a)
    with pytest.raises(ReplicatedEntityFailedError):
        b.ask(Tell())
    Chronicle.spoilt = ""
    write(a, "three")
    assert b.ask(state_of(a)) == Absorbed(1)
    assert texts(b.ask(Tell())) == ["one", "two", "three"]

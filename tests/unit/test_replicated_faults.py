"""What goes wrong at a replicated entity stays with it, has a name, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest

from tests.unit.host_core import SECOND, Host
from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import Chronicle, Noted, Retold, Tell, Write, flags, texts
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.protocol import SENT_BEFORE, Absorbed, RemoteEvent, Replicated
from thespian_dc.journal.api import Appended, Outcome, append_wait
from thespian_dc.model.errors import JournalUnavailableError, TooLargeError
from thespian_dc.model.record import CONTROL, EVENT
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
    ORIGIN_META,
    ReplicaMeta,
    Role,
    read_remote,
    remote_meta,
)
from thespian_dc.model.replication_errors import (
    OriginForkedError,
    ReplicaRecoveringError,
    ReplicaRetiredError,
    ReplicatedEntityFailedError,
    StandbyError,
)
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Limits
from thespian_dc.slices.actions import Append, CommitAt, FoundCommit


@pytest.fixture(autouse=True)
def sound() -> Iterator[None]:
    Chronicle.looked, Chronicle.spoilt = [], ""
    yield
    Chronicle.looked, Chronicle.spoilt = [], ""


def write(replica: Replica, *what: str, entity_id: str = "x") -> Any:
    return replica.ask(Write(what), entity_id)


# --- code that cannot apply what is stored ---
def test_a_handler_that_raises_fails_its_entity_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is stored all the same, and passed on; other entities go on; code that can apply
    it recovers the entity, with everything."""
    monkeypatch.setattr(Chronicle, "snapshot_every", 1)
    a, b, c = group(Chronicle, "a", "b", "c")
    write(a, "one", "two")
    write(a, "three")
    write(a, "other", entity_id="y")
    Chronicle.spoilt = "two"
    answer = b.absorb(a.events()[:2])
    assert (answer.through, answer.reason) == (2, "")
    ((listed),) = answer.listed
    assert (listed.what, listed.origin, listed.n) == ("failed", "a", 2)
    assert "cannot apply two" in listed.text
    b.pull(a)
    for _ in range(2):
        with pytest.raises(ReplicatedEntityFailedError, match="record 2: ValueError"):
            write(b, "mine")
        assert b.ask(Tell(), "y") == (("other", "a", False),)
        assert b.vector() == {"a": 3}
        assert [found.record.kind for found in b.records()] == [EVENT] * 3
        b.local.tick(10_000_000)  # no row may be written of a state that cannot be trusted
        b.restart()
    write(a, "four")
    assert b.pull(a) == 1
    Chronicle.spoilt = ""
    c.pull(b)
    assert texts(c.state()) == ["one", "two", "three", "four"]
    b.restart()
    assert write(b, "mine") == 5
    assert texts(b.state()) == ["one", "two", "three", "four", "mine"]


def test_a_type_that_is_not_known_fails_its_entity_alone() -> None:
    """A peer runs newer code: its events wait here, stored, for the code that knows them."""

    class Newer(Chronicle):
        events: ClassVar[Sequence[Any]] = [Noted, Retold]

        def receiveMsg_str(self, what: str, sender: Any) -> None:
            self.persist(Retold(what)).then_reply(len)

    a = Replica(Newer, "a", "ab")
    old = Replica(Chronicle, "b", "ab")
    write(a, "one")
    a.ask("two")
    write(a, "three")
    answer = old.absorb(a.events())
    assert (answer.through, answer.reason) == (3, "")
    assert [one.what for one in answer.listed] == ["failed"]
    with pytest.raises(ReplicatedEntityFailedError, match="record 2: UnknownManifestError"):
        write(old, "mine")
    new = Replica(Newer, "b", "ab", journal=old.local.journal, clock_us=60_000_000)
    assert texts(new.state()) == ["one", "two", "three"]


@pytest.mark.parametrize("hook", ["tags_for", "snapshot_when"])
def test_other_code_that_raises_fails_the_entity_too(hook: str) -> None:
    """The tags it came with stand."""

    def raising(self: Any, *_: Any) -> Any:
        if self.replica_id == "b":
            raise ZeroDivisionError("oh")
        return ["of a"] if hook == "tags_for" else False

    kind = type("Raising", (Chronicle,), {hook: raising})
    a, b = group(kind, "a", "b")
    write(a, "one")
    answer = b.absorb(a.events())
    assert (answer.through, [one.what for one in answer.listed]) == (1, ["failed"])
    if hook == "tags_for":
        assert [found.record.tags for found in b.records()] == [["of a"]]
    with pytest.raises(ReplicatedEntityFailedError, match="ZeroDivisionError"):
        write(b, "two")


def test_an_own_event_that_cannot_be_replayed_fails_the_entity() -> None:
    """What others send is stored all the same: no link stands still for it."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(b, "two")
    Chronicle.spoilt = "two"
    b.restart()
    assert b.absorb(a.events()) == Absorbed(1)
    with pytest.raises(ReplicatedEntityFailedError):
        b.ask(Tell())
    Chronicle.spoilt = ""
    b.restart()
    assert texts(b.state()) == ["two", "one"]


def test_a_state_that_cannot_be_kept_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are; the row comes with a later one."""
    monkeypatch.setattr(Chronicle, "snapshot_every", 1)
    monkeypatch.setattr(
        Chronicle, "apply_event", lambda self, state, event: (*state, (event.text, object(), 0))
    )
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    assert b.absorb(a.events()) == Absorbed(1)
    assert b.local.host.core.counts["snapshot_failed"] == 1


# --- two histories of one origin ---
def other(event: RemoteEvent, **facts: Any) -> RemoteEvent:
    """The same number, written in another commit."""
    meta = list(event.meta)
    meta[4] ^= 1
    return event._replace(meta=meta, **facts)


def forked_at(answer: Absorbed) -> tuple[Any, ...]:
    assert isinstance(answer.error, OriginForkedError)
    return answer.error.args


def test_two_events_under_one_number_set_the_entity_aside() -> None:
    """By the mark of the commit, also after a restart; other entities go on."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two")
    write(a, "other", entity_id="y")
    one, two = a.events()
    b.absorb([one, two])
    answer = b.absorb([one, other(two)])
    assert (answer.through, answer.reason) == (1, "set_aside")
    assert forked_at(answer) == ("chronicle|x", "a", 2)
    assert [one.what for one in answer.listed] == ["forked"]
    write(a, "three")
    for _ in range(2):
        assert b.absorb(a.events()[2:]).reason == "set_aside"
        with pytest.raises(OriginForkedError, match=r"replica 'a' wrote event 2 twice"):
            write(b, "mine")
        b.pull(a)
        assert b.ask(Tell(), "y") == (("other", "a", False),)
        b.restart()
    assert [found.record.manifest for found in b.records()][2:] == [FORKED_MANIFEST]
    assert len(b.events()) == 2, "what is said of a fork is for this replica alone"


def test_an_own_event_of_another_history_is_found_in_the_log() -> None:
    """This journal was restored and nobody noticed; a peer has what was lost, under numbers that
    were given anew."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(a, "two")
    settle(a, b)
    lost = Replica(Chronicle, "a", "ab")  # with only "one" of its own log
    write(lost, "one")
    write(lost, "two again")
    mine = lost.events()[:1]
    assert lost.absorb(mine).reason == "", "its own event, as it stands in its log"
    answer = lost.absorb(b.events())
    assert (answer.through, answer.reason) == (1, "set_aside")
    assert forked_at(answer) == ("chronicle|x", "a", 2)


def test_own_events_that_were_lost_come_back() -> None:
    """Into their numbers; what is written then follows them."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(a, "two")
    write(b, "three")
    settle(a, b)
    lost = Replica(Chronicle, "a", "ab")
    lost.role(closed="recovering")
    with pytest.raises(ReplicaRecoveringError):
        write(lost, "too early")
    lost.pull(b, skip_own=False)
    assert lost.vector() == {"a": 2, "b": 1}
    lost.role()
    assert write(lost, "four") == 4
    assert lost.events()[-1].meta[:2] == ["a", 3]
    lost.cursors.clear()
    lost.pull(b, skip_own=False)  # known now, and the same: found in the log
    assert lost.vector() == {"a": 3, "b": 1}
    b.cursors.clear()
    settle(b, lost)
    assert texts(b.state())[-1] == "four"
    assert sorted(texts(b.state())) == sorted(texts(lost.state()))


def test_the_log_is_asked_again_where_it_was_not_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And commands of the entity wait meanwhile."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two")
    b.pull(a)
    journal, reads = a.local.journal, []
    read = journal.read_entity

    def flaky(*args: Any, **kwargs: Any) -> Any:
        reads.append(args)
        if len(reads) < 3:
            raise JournalUnavailableError("away", "later")
        return read(*args, **kwargs)

    monkeypatch.setattr(journal, "read_entity", flaky)
    assert a.absorb(b.events()) == Absorbed(2)
    assert len(reads) >= 3


# --- who may write ---
def standby_group() -> list[Replica]:
    return group(Chronicle, "a", "b", active="a", queries=[Tell])


def test_a_standby_takes_events_and_answers_queries_only() -> None:
    """It names the active replica; a query that would persist does not."""
    a, b = standby_group()
    write(a, "one")
    settle(a, b)
    with pytest.raises(StandbyError) as standby:
        write(b, "mine")
    assert standby.value.args == ("chronicle|x", "b", "a", 1)
    assert "send commands to 'a'" in str(standby.value)
    assert b.ask(Tell()) == (("one", "a", False),)
    with pytest.raises(StandbyError):
        b.ask(Tell("mine"))
    assert texts(b.state()) == ["one"]
    assert [one.meta[6] for one in b.events()] == [1], "the epoch stands with the event"


def test_promotion_moves_commands() -> None:
    """The old one learns it from the first event, before its next command."""
    a, b = standby_group()
    write(a, "one")
    settle(a, b)
    b.role(epoch=2, active="b")
    assert write(b, "two") == 2
    a.pull(b)
    with pytest.raises(StandbyError) as standby:
        write(a, "three")
    assert standby.value.args == ("chronicle|x", "a", "b", 2)
    with pytest.raises(StandbyError):
        write(a, "new", entity_id="y")
    a.role(epoch=1, active="a")  # what somebody still believed
    with pytest.raises(StandbyError):
        write(a, "four")


def test_a_known_command_is_answered_by_a_standby_too() -> None:
    """It was handled here: its sender has only lost the answer."""
    a, _ = standby_group()
    assert a.ask(Write(("one",)), command_id="id") == 1
    a.role(epoch=2, active="b")
    assert a.ask(Write(("one",)), command_id="id") == 1
    with pytest.raises(StandbyError):
        a.ask(Write(("one",)), command_id="another")


def test_nobody_is_active_after_a_demotion() -> None:
    """Epoch raised, nobody named."""
    a, _ = standby_group()
    a.role(epoch=2, active="")
    with pytest.raises(StandbyError, match="no replica is active"):
        write(a, "one")


def test_of_two_leaders_of_one_epoch_the_greater_id_counts() -> None:
    """Two people promoted at the same time: everywhere the same one stays."""
    a, b, c = group(Chronicle, "a", "b", "c", active="c")
    for one in (a, b):
        one.role(epoch=2, active=one.id)
        write(one, f"of {one.id}")
    settle(a, b, c)
    for one in (a, c):
        one.role(epoch=2, active="a")  # what somebody still believes
        with pytest.raises(StandbyError, match="send commands to 'b'"):
            write(one, "more")
    write(b, "more")
    settle(a, b, c)
    assert {tuple(sorted(texts(one.state()))) for one in (a, b, c)} == {("more", "of a", "of b")}
    assert flags(b.state())["of a"]


def test_a_role_of_another_type_is_none_of_this_hosts() -> None:
    """A node serves several types, and hosts may lag behind each other."""
    (a,) = group(Chronicle, "a")
    a.local.host.perform(a.local.host.core.on_role(Role("other", closed="retired"), 1))
    assert write(a, "one") == 1


def test_what_replicas_send_may_be_larger_than_a_command() -> None:
    """An event as large as a command may persist, and what is said of its origin beside it."""
    (a, b) = group(Chronicle, "a", "b", limits=Limits(command_bytes_max=20_000))
    write(a, "x" * 19_800)
    assert b.absorb(a.events()) == Absorbed(1)
    with pytest.raises(TooLargeError):
        write(b, "x" * 20_000)


@pytest.mark.parametrize("closed", ["retiring", "retired"])
def test_a_retired_replica_takes_no_commands(closed: str) -> None:
    """Whatever it is asked."""
    (a,) = group(Chronicle, "a")
    a.role(closed=closed)
    with pytest.raises(ReplicaRetiredError):
        write(a, "one")


def forked_promotion(late_events: str) -> tuple[Replica, Replica, Replica]:
    """b is promoted while a goes on; c stands by."""
    a, b, c = group(Chronicle, "a", "b", "c", active="a", late_events=late_events)
    write(a, "one")
    settle(a, b, c)
    write(a, "late")
    b.role(epoch=2, active="b")
    write(b, "two")
    return a, b, c


def test_late_events_are_concurrent_and_listed() -> None:
    """Both have everything; whoever sees the fork lists it, and the flag stays."""
    a, b, c = forked_promotion("apply")
    answer = b.absorb(a.events()[1:])
    assert [(one.what, one.origin, one.n, one.epoch) for one in answer.listed] == [
        ("late", "a", 2, 1)
    ]
    answer = a.absorb([one for one in b.events() if one.meta[0] == "b"])
    assert [(one.what, one.origin, one.n, one.epoch) for one in answer.listed] == [
        ("late", "a", 2, 1)
    ]
    settle(a, b, c)
    for one in (a, b, c):
        assert sorted(texts(one.state())) == ["late", "one", "two"]
        state = one.state()
        one.restart()
        assert one.state() == state
    assert flags(b.state())["late"]


def test_late_events_are_set_aside_where_that_is_wished() -> None:
    """Stored, counted, not applied, not lost; and the same where they come by way of another."""
    a, b, c = forked_promotion("set_aside")
    answer = b.absorb(a.events()[1:])
    assert (answer.through, [one.what for one in answer.listed]) == (1, ["late_set_aside"])
    c.pull(b)
    for one in (b, c):
        assert texts(one.state()) == ["one", "two"]
        assert one.vector() == {"a": 2, "b": 1}
        one.restart()
        assert texts(one.state()) == ["one", "two"]
        assert [found.record.kind for found in one.records()] == [EVENT, EVENT, CONTROL]
    write(b, "three")
    assert c.pull(b) == 1


# --- slices and commits that are lost ---
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

"""What goes wrong at a replicated entity stays with it, has a name, and loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import (
    Chronicle,
    Noted,
    Retold,
    Tell,
    fresh,
    texts,
    write,
)
from thespian_dc.entity.protocol import Absorbed, RemoteEvent
from thespian_dc.model.errors import JournalUnavailableError, TooLargeError
from thespian_dc.model.record import EVENT
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
)
from thespian_dc.model.replication_errors import (
    OriginForkedError,
    ReplicaRecoveringError,
    ReplicatedEntityFailedError,
)
from thespian_dc.model.settings import Limits

sound = pytest.fixture(autouse=True)(fresh)


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
    assert "cannot apply two" in answer.failed
    b.pull(a)
    for _ in range(2):
        with pytest.raises(ReplicatedEntityFailedError, match="record 2: ValueError"):
            write(b, "mine")
        assert b.ask(Tell(), "y") == (("other", "a", False),)
        assert b.vector() == {"a": 3}
        assert [found.record.kind for found in b.records()] == [EVENT] * 3
        b.local.tick(10_000_000)  # no row may be written of a state that cannot be trusted
        b.restart()
        assert "cannot apply two" in b.absorb([]).failed, "whoever asks is told"
    write(a, "four")
    assert b.pull(a) == 1
    Chronicle.spoilt = ""
    c.pull(b)
    assert texts(c.state()) == ["one", "two", "three", "four"]
    b.restart()
    assert b.absorb([]) == Absorbed(0)
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
    answer = b.absorb(a.events())
    assert (answer.through, "cannot apply two" in answer.failed) == (1, True)
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
    assert "wrote event 2 twice" in answer.failed
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


# --- size ---
def test_what_replicas_send_may_be_larger_than_a_command() -> None:
    """An event as large as a command may persist, and what is said of its origin beside it."""
    (a, b) = group(Chronicle, "a", "b", limits=Limits(command_bytes_max=20_000))
    write(a, "x" * 19_800)
    assert b.absorb(a.events()) == Absorbed(1)
    with pytest.raises(TooLargeError):
        write(b, "x" * 20_000)

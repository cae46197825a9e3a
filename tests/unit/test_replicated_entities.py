"""A replicated entity: what other replicas wrote is taken once, in causal order, and stays so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import (
    Chronicle,
    Line,
    Noted,
    Tell,
    Write,
    flags,
    fresh,
    texts,
    write,
)
from thespian_dc.crdt.api import LwwTime
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.protocol import Absorbed
from thespian_dc.journal.api import Found
from thespian_dc.model.entity_errors import CommandFailedError
from thespian_dc.model.replication import ORIGIN_META, ReplicaMeta, read_remote
from thespian_dc.model.replication_errors import ReplicationContextError

looked = pytest.fixture(autouse=True)(fresh)


# --- exchange ---
@pytest.mark.parametrize("ids", ["ab", "abc"])
def test_replicas_exchange_what_they_write(ids: str) -> None:
    """Two, and three (71, 72): each has what all wrote; each journal is its own (88)."""
    replicas = group(Chronicle, *ids)
    for one in replicas:
        write(one, f"of {one.id}")
    settle(*replicas)
    wrote = [f"of {one.id}" for one in replicas]
    assert [sorted(texts(one.state())) for one in replicas] == [wrote] * len(ids)
    assert [one.vector() for one in replicas] == [dict.fromkeys(ids, 1)] * len(ids)
    assert len({one.local.journal.journal_id for one in replicas}) == len(ids)


def test_recovery_has_what_came_and_goes_on() -> None:
    """The state (73), what it contains (75), and the work afterwards (74)."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two")
    write(b, "three")
    settle(a, b)
    before, content = b.state(), b.content()
    b.restart()
    assert (b.state(), b.content()) == (before, content)
    write(b, "four")
    write(a, "five")
    settle(a, b)
    assert sorted(texts(a.state())) == sorted(["one", "two", "three", "four", "five"])
    assert a.vector() == b.vector() == {"a": 3, "b": 2}


def test_a_snapshot_keeps_what_it_contains(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the row alone (76): nothing is replayed, and nothing is taken twice afterwards."""
    monkeypatch.setattr(Chronicle, "snapshot_every", 4)
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two")
    write(b, "three", "four")
    settle(a, b)
    before, content = b.state(), b.content()
    b.local.tick(10_000_000)  # rows are written a little later
    b.restart()
    Chronicle.looked.clear()
    assert (b.state(), b.content()) == (before, content)
    assert Chronicle.looked == [], "it was replayed"
    b.cursors.clear()
    settle(a, b)
    assert b.state() == before


def test_events_of_one_command_stay_together() -> None:
    """Persisted together, numbered one by one (79)."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one", "two", "three")
    assert b.absorb(a.events()) == Absorbed(3)
    assert texts(b.state()) == ["one", "two", "three"]
    assert [one.meta[1] for one in a.events()] == [1, 2, 3]
    (end,) = {one.offset for one in b.records()[-1:]}
    assert end == b.records()[0].offset + 2


def test_concurrent_is_what_the_origin_had_not_seen() -> None:
    """True on both sides for writes at the same time, false after both have seen them (80); and it
    stays so when it is replayed (81)."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(b, "two")
    settle(a, b)
    write(a, "three")
    settle(a, b)
    assert flags(a.state()) == {"one": False, "two": True, "three": False}
    assert flags(b.state()) == {"two": False, "one": True, "three": False}
    before = [one.state() for one in (a, b)]
    for one in (a, b):
        one.restart()
    assert [one.state() for one in (a, b)] == before


def test_each_event_is_taken_once() -> None:
    """However often it comes, by whatever way, in memory and after a restart (82, 94)."""
    a, b, c = group(Chronicle, "a", "b", "c")
    write(a, "one", "two")
    b.pull(a)
    for _ in range(2):
        assert c.absorb([*a.events(), *b.events(), *a.events()]) == Absorbed(6)
        c.restart()
        c.cursors.clear()
        settle(a, b, c)
    assert texts(c.state()) == ["one", "two"]
    assert len(c.records()) == 2


def test_reading_begins_anew_after_a_failure() -> None:
    """A cursor that was lost costs duplicates only (83)."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    b.pull(a)
    write(a, "two")
    b.cursors.clear()
    b.restart()
    settle(a, b)
    assert texts(b.state()) == ["one", "two"]


# --- causal order ---
def test_an_event_waits_for_those_before_it() -> None:
    """Of its own origin, and what that had seen; the answer says which (91, in our terms: nothing
    is accepted over a gap, and nothing is lost by it)."""
    a, b, c = group(Chronicle, "a", "b", "c")
    write(a, "one", "two")
    b.pull(a)
    write(b, "three")
    (one, two), three = a.events(), b.events()[-1]
    assert c.absorb([two]) == Absorbed(0, "waits", ("a", 1))
    assert c.absorb([three]) == Absorbed(0, "waits", ("a", 2))
    assert c.absorb([one, three, two]) == Absorbed(1, "waits", ("a", 2))
    assert c.absorb([one, two, three]) == Absorbed(3)
    assert texts(c.state()) == ["one", "two", "three"]
    assert c.vector() == {"a": 2, "b": 1}


def test_an_unknown_replica_is_a_replica() -> None:
    """Events of one that the settings do not name count like any other's (93): whether it may take
    part at all is the link's to say."""
    (b,) = group(Chronicle, "b")
    stranger = Replica(Chronicle, "z", ["a", "z"])
    write(stranger, "from afar")
    assert b.absorb(stranger.events()) == Absorbed(1)
    assert b.vector() == {"z": 1}


def test_a_retired_replica_is_not_waited_for() -> None:
    """Its slots count no more, whatever others had seen of it."""
    a, b, c = group(Chronicle, "a", "b", "c")
    write(a, "one")
    b.pull(a)
    write(b, "two")
    two = b.events()[-1]
    assert c.absorb([two]).missing == ("a", 1)
    c.role(retired=frozenset("a"))
    assert c.absorb([two]) == Absorbed(1)
    assert texts(c.state()) == ["two"]


def test_it_comes_while_the_entity_is_brought_in() -> None:
    """Commands of this replica and of others wait for the replay in their order (95)."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(b, "two")
    b.restart()
    assert b.absorb(a.events()) == Absorbed(1)
    assert write(b, "three") == 3
    assert texts(b.state()) == ["two", "one", "three"]


# --- what is stored ---
def test_the_vector_is_the_origins_own_everywhere() -> None:
    """Never merged with that of whoever passes it on."""
    a, b, c = group(Chronicle, "a", "b", "c")
    write(b, "zero")
    write(a, "one")
    b.pull(a)
    c.pull(b)
    stored = {texts_of(found): meta_of(found) for found in c.records()}
    assert stored["one"].others == {}
    assert (stored["one"].origin, stored["one"].n) == ("a", 1)
    assert stored["one"].concurrent


def meta_of(found: Found) -> ReplicaMeta:
    assert found.record.meta is not None
    return read_remote(found.record.meta[ORIGIN_META])


def texts_of(found: Found) -> str:
    decoded = EntityType.of(Chronicle).registry.decode(found.record.manifest, found.record.payload)
    assert isinstance(decoded, Noted)
    return decoded.text


def test_tags_are_this_replicas() -> None:
    """They are made anew from the context (87); the same for events written here."""
    a, b = group(Chronicle, "a", "b")
    write(b, "two")
    write(a, "one")
    b.pull(a)
    assert [found.record.tags for found in b.records()] == [
        ["at:b", "of:b", "concurrent:False"],
        ["at:b", "of:a", "concurrent:True"],
    ]


def test_command_ids_are_not_of_other_replicas() -> None:
    """A command is known where it was handled, also when others' events followed."""
    a, b = group(Chronicle, "a", "b")
    assert write(a, "one", command_id="id") == 1
    b.pull(a)
    assert write(b, "two", command_id="id") == 2
    settle(a, b)
    for one, reply in ((a, 1), (b, 2)):
        one.restart()
        assert write(one, "again", command_id="id") == reply
    assert [found.record.command_id for found in b.records()] == ["", "id"]


# --- context ---
def test_context_says_where_and_what() -> None:
    """Replica, replicas, origin, replay (77)."""
    a, b = group(Chronicle, "a", "b")
    assert a.ask("where") == ("a", ("a", "b"), 0)
    write(a, "one")
    b.pull(a)
    assert b.state() == (("one", "a", False),)
    b.restart()
    b.state()
    seen = [one for one in Chronicle.looked if one[:2] == ("apply", "b")]
    assert seen == [("apply", "b", "one", False), ("apply", "b", "one", True)]


@pytest.mark.parametrize("fact", ["origin", "concurrent", "recovering"])
def test_facts_of_an_event_are_refused_elsewhere(fact: str) -> None:
    """In a command handler, in what follows it, in __init__ and empty_state (78)."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    write(b, "two")
    b.pull(a)
    for _ in range(2):  # after events were applied, and after they were replayed
        with pytest.raises(CommandFailedError, match=r"ReplicationContextError.*only while an"):
            b.ask(Write(("three",), misuse=fact))
        b.restart()

    class Hasty(Chronicle):
        entity_type = "hasty"

        def empty_state(self) -> tuple[Line, ...]:
            getattr(self, fact)
            return ()

    class Born(Chronicle):
        entity_type = "born"

        def __init__(self) -> None:
            getattr(self, fact)

    for cls, error in ((Hasty, "ReplicationContextError"), (Born, "EffectError")):
        (hasty,) = group(cls, "a")
        with pytest.raises(Exception, match=error):
            hasty.ask("where")

    class Later(Chronicle):
        entity_type = "later"

        def receiveMsg_int(self, _: int, sender: Any) -> None:
            self.persist(Noted("one")).then_reply(len).then(self.look)

        def look(self, _: Any) -> None:
            try:
                self.looked.append(getattr(self, fact))
            except ReplicationContextError as refused:
                self.looked.append(refused)

    (later,) = group(Later, "a")
    assert later.ask(1) == 1
    assert isinstance(Chronicle.looked[-1], ReplicationContextError)


def test_functions_after_a_command_run_where_it_was_handled() -> None:
    """`then` and replies are the asker's."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    settle(a, b)
    assert [one for one in Chronicle.looked if one[0] == "then"] == [("then", "a", 1)]


def test_time_is_later_than_all_that_led_to_the_state() -> None:
    """Whatever the clocks say: b's stands an hour behind a's."""
    a = Replica(Chronicle, "a", "ab", clock_us=3_600_000_000)
    b = Replica(Chronicle, "b", "ab", clock_us=1_000_000)
    a.ask(Write(("one",), time=True))
    first, second, third = Chronicle.looked.pop(0)
    assert 3_600_000_000 < first < second < third.time_us
    b.pull(a)
    b.restart()  # kept with the event
    Chronicle.looked.clear()
    b.ask(Write(("two",), time=True))
    found = next(one for one in Chronicle.looked if isinstance(one, list))
    assert found[0] == third.time_us + 1
    assert found[2] == LwwTime(third.time_us + 3, "b")
    assert max(third, found[2]) is found[2]
    assert [one.meta[5] for one in b.events()] == [third.time_us, found[2].time_us]


def test_time_outlives_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the row."""
    monkeypatch.setattr(Chronicle, "snapshot_every", 1)
    a = Replica(Chronicle, "a", "ab", clock_us=3_600_000_000)
    b = Replica(Chronicle, "b", "ab", clock_us=1_000_000)
    a.ask(Write(("one",), time=True))
    b.pull(a)
    b.local.tick(10_000_000)
    b.restart()
    assert b.content().time_us == a.content().time_us > 3_600_000_000


def test_queries_see_what_was_taken() -> None:
    """And an entity whose slice is asked for the first time by a replica is there for commands."""
    a, b = group(Chronicle, "a", "b")
    write(a, "one")
    b.pull(a)
    assert b.ask(Tell()) == (("one", "a", False),)

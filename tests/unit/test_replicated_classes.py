"""What a replicated class may say, and what becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from tests.unit.replicas import Replica, group, settle
from tests.unit.replicated_entities import (
    Chronicle,
    Line,
    Noted,
    Write,
    fresh,
    texts,
    write,
)
from thespian_dc import DurableStateActor, EventSourcedActor, ReplicatedEventSourcedActor
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.protocol import Absorbed
from thespian_dc.journal.api import open_journal
from thespian_dc.model.entity_errors import EntityClassError
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.record import CONTROL, EVENT
from thespian_dc.model.replication_errors import ReplicatedEventRefused
from thespian_dc.model.replication_settings import Replication
from thespian_dc.testkit.local_entities import LocalEntities

looked = pytest.fixture(autouse=True)(fresh)


# --- what a class may do with what comes ---
def test_interceptor_sees_each_event_once_in_order() -> None:
    """It observes (85); what is written here does not pass it."""

    class Observing(Chronicle):
        entity_type = "observing"

        def replicated_event_received(self, event: Noted, origin: str) -> None:
            self.looked.append(("received", event.text, origin, len(self.state)))

    a, b = group(Observing, "a", "b")
    write(b, "zero")
    write(a, "one", "two")
    b.absorb([*a.events(), *a.events()])
    received = [one[1:] for one in Chronicle.looked if one[0] == "received"]
    assert received == [("one", "a", 1), ("two", "a", 2)]


def test_interceptor_delays() -> None:
    """The event comes again; those before it are kept (85)."""

    class Delaying(Chronicle):
        entity_type = "delaying"

        def replicated_event_received(self, event: Noted, origin: str) -> float | None:
            self.looked.append(event.text)
            return 2.5 if event.text == "two" and self.looked.count("two") < 3 else None

    a, b = group(Delaying, "a", "b")
    write(a, "one", "two", "three")
    delayed = Absorbed(1, "delayed", delay_us=2_500_000)
    assert [b.absorb(a.events()) for _ in range(3)] == [delayed, delayed, Absorbed(3)]
    assert texts(b.state()) == ["one", "two", "three"]


@pytest.mark.parametrize("how", ["refuse", "raise"])
def test_interceptor_refuses(how: str) -> None:
    """The event is stored and not applied, and listed; what follows is taken; the next replica
    takes it from here (85). One that raises anything else refuses too: it was to keep it out."""

    class Refusing(Chronicle):
        entity_type = "refusing"

        def replicated_event_received(self, event: Noted, origin: str) -> None:
            if self.replica_id == "b" and event.text == "two":
                if how == "refuse":
                    raise ReplicatedEventRefused("not here")
                raise ZeroDivisionError("oh")

    a, b, c = group(Refusing, "a", "b", "c")
    write(a, "one", "two", "three")
    answer = b.absorb(a.events())
    assert (answer.through, answer.reason) == (3, "")
    ((listed),) = answer.listed
    assert (listed.what, listed.entity_id, listed.origin, listed.n) == ("refused", "x", "a", 2)
    assert listed.text == ("not here" if how == "refuse" else "ZeroDivisionError: oh")
    for _ in range(2):
        assert texts(b.state()) == ["one", "three"]
        assert b.vector() == {"a": 3}
        b.restart()
    assert [found.record.kind for found in b.records()] == [EVENT, CONTROL, EVENT]
    c.pull(b)
    assert texts(c.state()) == ["one", "two", "three"]


def test_events_of_others_are_transformed() -> None:
    """What is stored and applied is what the class made of it (86); its own stay."""

    class Transforming(Chronicle):
        entity_type = "transforming"

        def replicated_event_transformed(self, event: Noted, origin: str) -> Noted:
            return Noted(f"{event.text} from {origin}") if event.text != "as it is" else event

    a, b = group(Transforming, "a", "b")
    write(b, "mine")
    write(a, "one", "as it is")
    b.absorb(a.events())
    for _ in range(2):
        assert texts(b.state()) == ["mine", "one from a", "as it is"]
        b.restart()


def test_an_event_that_is_transformed_in_place_is_stored_as_it_is_then() -> None:
    """The object that was given comes back changed: what is applied is what is replayed."""

    class Rewriting(Chronicle):
        entity_type = "rewriting"

        def replicated_event_transformed(self, event: Noted, origin: str) -> Noted:
            object.__setattr__(event, "text", f"{event.text}, changed")
            return event

    a, b = group(Rewriting, "a", "b")
    write(a, "one")
    b.absorb(a.events())
    for _ in range(2):
        assert texts(b.state()) == ["one, changed"]
        b.restart()


def test_own_events_that_come_back_are_nobody_elses() -> None:
    """This replica lost them with its journal: no hook judges or changes what it wrote itself."""

    class Strict(Chronicle):
        entity_type = "strict"

        def replicated_event_received(self, event: Noted, origin: str) -> None:
            if origin == self.replica_id:
                raise ReplicatedEventRefused("mine")

        def replicated_event_transformed(self, event: Noted, origin: str) -> Noted:
            return Noted(f"{event.text} from {origin}")

    a, b = group(Strict, "a", "b")
    write(a, "one")
    b.pull(a)
    lost = Replica(Strict, "a", "ab")
    assert lost.absorb(a.events()) == Absorbed(1)
    assert texts(lost.state()) == ["one"]
    assert texts(b.state()) == ["one from a"]


# --- from a plain entity ---
class Plain(EventSourcedActor):
    """What `Chronicle` was before."""

    entity_type = "chronicle"
    events: ClassVar[Sequence[Any]] = [Noted]
    snapshot_every = 2

    def empty_state(self) -> tuple[Line, ...]:
        return ()

    def receiveMsg_Write(self, command: Write, sender: Any) -> None:
        self.persist([Noted(text) for text in command.texts]).then_reply(len)

    def apply_event(self, state: tuple[Line, ...], event: Noted) -> tuple[Line, ...]:
        return (*state, (event.text, "a", False))


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_plain_entity_becomes_a_replicated_one(snapshot: bool) -> None:
    """Its journal stays as it is (84); others get all of it; with its old snapshot, too."""
    journal = open_journal(f"memory:migrated-{snapshot}")
    plain = LocalEntities(Plain, journal=journal, slices=2)
    plain.ask(Plain, "x", Write(("one", "two", "three")))
    if snapshot:
        plain.tick(10_000_000)
    plain.host.close()
    a = Replica(Chronicle, "a", "ab", journal=journal, clock_us=60_000_000)
    b = Replica(Chronicle, "b", "ab")
    assert a.vector() == {"a": 3}
    assert [found.record.meta for found in a.records()] == [None] * 3
    write(b, "two hundred")
    assert write(a, "four") == 4
    settle(a, b)
    assert texts(b.state()) == ["two hundred", "one", "two", "three", "four"]
    assert a.vector() == b.vector() == {"a": 4, "b": 1}
    a.restart()
    assert texts(a.state()) == ["one", "two", "three", "four", "two hundred"]


# --- classes and settings ---
def test_settings_and_classes_belong_together() -> None:
    """A replicated class without its setting, and a setting for a plain class."""
    with pytest.raises(SettingsError, match=r"Settings\.replication"):
        LocalEntities(Chronicle)
    with pytest.raises(EntityClassError, match="does not derive from Replicated"):
        EntityType.of(Plain, importable=False, replication=Replication("chronicle", "a"))


def test_a_durable_state_is_not_replicated() -> None:
    """Its changes are whole states: there is nothing that could be joined."""

    class Both(ReplicatedEventSourcedActor, DurableStateActor):  # type: ignore[misc]
        entity_type = "both"
        _durable_state = True

    with pytest.raises(EntityClassError, match="durable state cannot be replicated"):
        EntityType.of(Both, importable=False)


def test_it_can_be_mixed_in() -> None:
    """On either side of the class it makes replicated."""
    for bases in ((Plain, ReplicatedEventSourcedActor), (ReplicatedEventSourcedActor, Plain)):
        mixed = type("Mixed", bases, {})
        a, b = group(mixed, "a", "b")
        write(a, "one")
        settle(a, b)
        assert texts(b.state()) == ["one"]


async def _late(self: Any, event: Any, origin: str) -> None:
    """Called, it would return what nobody awaits: each event would be refused."""


@pytest.mark.parametrize("hook", ["replicated_event_received", "replicated_event_transformed"])
@pytest.mark.parametrize(
    ("given", "why"),
    [(_late, "must be a plain function"), (lambda self, event: event, "self, event, origin")],
)
def test_a_hook_that_would_refuse_every_event_is_an_error_of_the_class(
    hook: str, given: Any, why: str
) -> None:
    """What it raises refuses an event for good: that it cannot be called is said before."""
    spoilt = type("Spoilt", (Chronicle,), {hook: given})
    with pytest.raises(EntityClassError, match=rf"{hook}.*{why}"):
        EntityType.of(spoilt, importable=False)


@pytest.mark.parametrize("fact", ["replica_id", "concurrent", "time_us"])
def test_a_class_does_not_redefine_its_facts(fact: str) -> None:
    """They would hide the host's."""
    spoilt = type("Spoilt", (Chronicle,), {fact: "mine"})
    with pytest.raises(EntityClassError, match=fact):
        EntityType.of(spoilt, importable=False)

"""EntityProbe shows what an entity does, and finds what a test by hand forgets."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.unit.replicated_entities import Chronicle, Noted, Write
from thespian_dc.entity.actor import EventSourcedActor
from thespian_dc.entity.protocol import EntityRef
from thespian_dc.model.entity_errors import CommandFailedError, RevisionConflictError
from thespian_dc.model.replication_errors import (
    ReplicatedEntityFailedError,
    ReplicatedEventRefused,
)
from thespian_dc.testkit.entities import (
    Account,
    Balance,
    Deposit,
    Deposited,
    Do,
    GetBalance,
    Profile,
    ProfileState,
    Put,
)
from thespian_dc.testkit.probe import EntityProbe


def test_given_when_then() -> None:
    """The sentence a unit test wants to be."""
    EntityProbe(Account).given(Deposited(2), Deposited(3)).when(Deposit(4, in_parts=2)).then(
        events=[Deposited(4), Deposited(4)], reply=Balance(13),
        state={"amount": 13, "closed": False}, sent=[],
    )  # fmt: skip


def test_commands_follow_each_other() -> None:
    """`then` looks at the last one."""
    probe = EntityProbe(Account).when(Deposit(1)).then(reply=Balance(1))
    probe.when(GetBalance()).then(events=[], reply=Balance(1))
    probe.when(Deposit(1)).then(events=[Deposited(1)], reply=Balance(2))


def test_wrong_expectation_is_shown_with_what_happened() -> None:
    """A failing test says both."""
    probe = EntityProbe(Account).when(Deposit(1))
    with pytest.raises(AssertionError, match=r"events: expected \[\], got \[Deposited"):
        probe.then(events=[])
    with pytest.raises(AssertionError, match=r"reply: expected Balance\(amount=2\)"):
        probe.then(reply=Balance(2))


def test_errors_are_said_or_fail_the_test() -> None:
    """A command that failed is not taken for one that persisted nothing."""
    probe = EntityProbe(Account).when(Do("raise", EntityRef("other", "x")))
    probe.then(error=CommandFailedError, events=[])
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        probe.then(events=[])


def test_messages_and_time() -> None:
    """What is sent to others is kept; a stashed command is not answered yet."""
    ref = EntityRef("other", "x")
    EntityProbe(Account).when(Do("reply_twice", ref)).then(reply=1, sent=[(ref, "EffectError")])
    EntityProbe(Account).when(Do("stash_until_closed")).then(reply=None, events=[])
    probe = EntityProbe(Account).when(Do("wake", 30.0)).advance(31.0).when(Do("facts"))
    assert probe.reply[2] == 1


def test_durable_state() -> None:
    """given(...) takes states; events are states."""
    probe = EntityProbe(Profile).given(ProfileState("ann"))
    probe.when(Put("bea", revision=0)).then(error=RevisionConflictError("profile|probe", 0, 1))
    probe.when(Put("bea")).then(events=[ProfileState("bea")], state=ProfileState("bea"))
    probe.when("delete").then(reply=("", 3), state=ProfileState())


@dataclass(frozen=True)
class Named:
    """An event that loses a field on its way through the journal: it is not part of equality, and
    apply_event looks at it."""

    name: str
    length: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.name))


@dataclass
class Mutable:
    """An event that its handler changes after persisting it."""

    names: list[str]


def test_entity_that_is_not_a_fold_of_its_events_is_found() -> None:
    """apply_event counts on the object rather than in the state: replay gives another state."""

    class Counter(EventSourcedActor):
        entity_type = "counter"
        events = (Named,)
        count = 0

        def empty_state(self) -> int:
            return 0

        def receiveMsg_str(self, name: str, sender: Any) -> None:
            self.count += 1
            self.persist(Named(name)).then_reply(lambda state: state)

        def apply_event(self, state: int, event: Named) -> int:
            return state + self.count

    with pytest.raises(AssertionError, match="replaying"):
        EntityProbe(Counter).when("a")


def test_event_changed_after_persist_is_found() -> None:
    """What was persisted is what the event was then; the state must not be built on more."""

    class Names(EventSourcedActor):
        entity_type = "names"
        events = (Mutable,)

        def empty_state(self) -> list[str]:
            return []

        def receiveMsg_str(self, name: str, sender: Any) -> None:
            event = Mutable([name])
            self.persist(event).then_reply(len)
            event.names.append("one more")

        def apply_event(self, state: list[str], event: Mutable) -> list[str]:
            return [*state, *event.names]

    with pytest.raises(AssertionError, match="stored form"):
        EntityProbe(Names).when("a")


def test_probe_needs_no_actor_system() -> None:
    """No process, no socket, no Admin is started by a unit test."""
    code = (
        "import multiprocessing\n"
        "from thespian_dc.testkit.probe import EntityProbe\n"
        "from thespian_dc.testkit.entities import Account, Deposit\n"
        "EntityProbe(Account).when(Deposit(1)).then(state={'amount': 1, 'closed': False})\n"
        "import threading, sys\n"
        "assert threading.active_count() == 1 and not multiprocessing.active_children()\n"
        "assert 'thespian.system.multiprocTCPBase' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- a replicated entity ---
class Pair(Chronicle):
    """With a class of its own for what it refuses."""

    entity_type = "pair"

    def replicated_event_received(self, event: Noted, origin: str) -> None:
        if event.text == "secret":
            raise ReplicatedEventRefused("not here")


def test_a_replicated_entity_is_one_replica_of_several() -> None:
    """What others wrote comes by `absorb`, after or beside what is here."""
    probe = EntityProbe(Pair, replica_id="eu", replicas=("eu", "us", "ap"))
    probe.when("where").then(reply=("eu", ("ap", "eu", "us"), 0))
    probe.when(Write(("mine",))).then(state=(("mine", "eu", False),))
    probe.absorb(Noted("theirs"), Noted("more"), origin="us", concurrent=True).then(
        events=[Noted("theirs"), Noted("more")], reply=None,
        state=(("mine", "eu", False), ("theirs", "us", True), ("more", "us", True)),
    )  # fmt: skip
    probe.absorb(Noted("after all"), origin="ap")
    assert probe.state[-1] == ("after all", "ap", False)
    probe.absorb(Noted("after all"), origin="us")
    probe.when(Write(("mine too",))).absorb(Noted("beside"), origin="us", concurrent=True)
    assert probe.state[-1] == ("beside", "us", True)


def test_a_probe_shows_what_a_class_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the class, or failed by its code."""
    probe = EntityProbe(Pair).absorb(Noted("secret"))
    assert [one.what for one in probe.reply.listed] == ["refused"]
    probe.then(events=[], state=())
    monkeypatch.setattr(Pair, "spoilt", "bad")
    probe.absorb(Noted("bad")).then(error=ReplicatedEntityFailedError)


def test_a_state_that_depends_on_the_replay_is_found() -> None:
    """The check that the probe makes after each step, for a replicated entity too."""

    class Forgetful(Pair):
        entity_type = "forgetful"

        def apply_event(self, state: Any, event: Noted) -> Any:
            return (*state, (event.text, self.origin, self.recovering))

    with pytest.raises(AssertionError, match="replaying every event"):
        EntityProbe(Forgetful).absorb(Noted("one"))


def test_given_events_are_this_replicas() -> None:
    """As if they had been written before it was replicated."""
    EntityProbe(Pair).given(Noted("one")).absorb(Noted("two"), concurrent=True).then(
        state=(("one", "here", False), ("two", "there", True))
    )

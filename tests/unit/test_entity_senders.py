"""Who answers a command that its handler does not answer, and where a failure is said to be."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from thespian_dc.client.api import AioEntity, Client, Entity, _outgoing
from thespian_dc.client.sinks import Batch
from thespian_dc.entity.actor import EventSourcedActor
from thespian_dc.entity.alone import Begin
from thespian_dc.entity.protocol import EntityRef, ToEntity
from thespian_dc.model.entity_errors import CommandFailedError, RecoveryError, UnansweredError
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Settings
from thespian_dc.testkit.entities import Account, Deposited, Do, Oracle, Question
from thespian_dc.testkit.local_entities import LocalEntities


@dataclass(frozen=True)
class Order:
    """Command: do what the method of this name does."""

    name: str
    arg: Any = None


class Clerk(EventSourcedActor):
    """Its state counts its events."""

    entity_type = "clerk"
    events = (Deposited,)

    def empty_state(self) -> int:
        return 0

    def apply_event(self, state: int, event: Deposited) -> int:
        if event.amount == 13:
            raise SystemExit(13)
        return state + 1

    def receiveMsg_Order(self, command: Order, sender: Any) -> Any:
        return getattr(self, command.name)(command.arg, sender)

    def receiveMsg_WakeupMessage(self, message: Any, sender: Any) -> None:
        if message.payload == "persist":
            self.persist(Deposited(1))
        else:
            self.send(message.payload, "from a timer")

    def count(self, arg: Any, sender: Any) -> None:
        self.reply(self.state)

    def answer_in_then(self, arg: Any, sender: Any) -> None:
        self.no_reply()
        self.persist(Deposited(1)).then(lambda state: self.send(sender, f"from then, {state}"))

    def answer_after_ask(self, arg: Any, sender: Any) -> None:
        self.no_reply()
        self.ask(arg, Question("abc"), on_reply=lambda heard: self.send(sender, heard))

    def answer_by_timer(self, arg: Any, sender: Any) -> None:
        self.wakeupAfter(timedelta(seconds=0.1), sender)

    def persist_by_timer(self, arg: Any, sender: Any) -> None:
        self.wakeupAfter(timedelta(seconds=0.1), "persist")
        self.reply("set")

    def hand_on_and_ask(self, arg: Any, sender: Any) -> None:
        account, oracle = arg
        self.ask(oracle, Question("abc"), on_reply=lambda heard: None)
        self.send(account, Do("answer_for", sender))

    def hand_on_in_question(self, arg: Any, sender: Any) -> None:
        self.ask(arg, Order("answer_for", sender), on_reply=lambda heard: None)

    def answer_for(self, arg: Any, sender: Any) -> None:
        self.send(arg, f"answered by {self.entity_id}")
        self.reply("done")

    def forget_after_ask(self, arg: Any, sender: Any) -> None:
        self.ask(arg, Question("abc"), on_reply=lambda heard: None)

    def stash_and_reply(self, arg: Any, sender: Any) -> None:
        self.reply(1)
        self.stash()

    def persist_and_fail_later(self, arg: Any, sender: Any) -> None:
        self.persist(Deposited(1))
        self.ask(arg, Question("abc"), on_reply=lambda heard: 1 / 0)

    def parse(self, arg: Any, sender: Any) -> None:
        json.loads(arg)

    def ask_whom(self, arg: Any, sender: Any) -> None:
        self.ask(arg, "who are you?", on_reply=self.reply)

    def exit_in_apply(self, arg: Any, sender: Any) -> None:
        self.persist(Deposited(13)).then_reply(lambda state: "never")


class Eager(Clerk):
    """Calls an effect before anybody sent it a command."""

    entity_type = "eager"

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.persist(Deposited(1))


@pytest.fixture
def entities() -> LocalEntities:
    return LocalEntities(Clerk, Account, Eager)


def test_after_no_reply_the_sender_is_answered_when_it_suits(entities: LocalEntities) -> None:
    """In `then`, and when an ask was answered: `send` to it is a message like any other."""
    oracle = entities.create(Oracle)
    assert entities.ask(Clerk, "a", Order("answer_in_then")) == "from then, 1"
    assert entities.ask(Clerk, "a", Order("answer_after_ask", oracle)) == "cba"


def test_a_sender_in_a_timer_is_answered_when_it_fires(entities: LocalEntities) -> None:
    """It was handed on, to the entity itself: nobody says UnansweredError before."""
    assert entities.ask(Clerk, "a", Order("answer_by_timer")) == "from a timer"


def test_a_timer_handles_a_command_of_its_own(entities: LocalEntities) -> None:
    """All effects are open to it."""
    assert entities.ask(Clerk, "a", Order("persist_by_timer")) == "set"
    entities.tick(200_000)
    assert entities.ask(Clerk, "a", Order("count")) == 1


def test_who_got_the_sender_answers_though_an_ask_ends_in_silence(entities: LocalEntities) -> None:
    """Handed on beside the question, or in it."""
    ref, oracle = EntityRef("account", "b"), entities.create(Oracle)
    asked = entities.ask(Clerk, "a", Order("hand_on_and_ask", (ref, oracle)))
    assert asked == "answered by b"
    clerk = EntityRef("clerk", "c")
    assert entities.ask(Clerk, "a", Order("hand_on_in_question", clerk)) == "answered by c"
    with pytest.raises(UnansweredError):
        entities.ask(Clerk, "a", Order("forget_after_ask", oracle))


def test_a_failure_without_a_line_of_its_own_names_the_handler(entities: LocalEntities) -> None:
    """What is wrong with all effects taken together shows after the handler."""
    with pytest.raises(CommandFailedError, match="stash") as failed:
        entities.ask(Clerk, "a", Order("stash_and_reply"))
    line = Clerk.receiveMsg_Order.__code__.co_firstlineno
    assert failed.value.where == f"test_entity_senders.py:{line}"


def test_a_failure_after_something_was_persisted_does_not_say_that_nothing_was(
    entities: LocalEntities,
) -> None:
    oracle = entities.create(Oracle)
    with pytest.raises(CommandFailedError, match="persisted or sent before, if anything, stands"):
        entities.ask(Clerk, "a", Order("persist_and_fail_later", oracle))
    assert entities.ask(Clerk, "a", Order("count")) == 1


def test_a_failure_within_pythons_own_code_names_the_line_that_called_it(
    entities: LocalEntities,
) -> None:
    with pytest.raises(CommandFailedError) as failed:
        entities.ask(Clerk, "a", Order("parse", "{"))
    assert failed.value.where.startswith("test_entity_senders.py:")


@pytest.mark.parametrize("whom", ["account|b", None, Order])
def test_a_question_to_nobody_is_refused_in_its_line(entities: LocalEntities, whom: Any) -> None:
    """It went out to Thespian, which cannot send it, and the asker waited out its time."""
    with pytest.raises(CommandFailedError, match=r"EffectError at .* a question to a"):
        entities.ask(Clerk, "a", Order("ask_whom", whom))


def test_exit_while_events_are_applied_fails_its_command(entities: LocalEntities) -> None:
    """And the entity comes back with the state of the log."""
    assert entities.ask(Clerk, "a", Order("answer_in_then")) == "from then, 1"
    with pytest.raises(CommandFailedError, match=r"SystemExit.*; nothing was persisted or sent"):
        entities.ask(Clerk, "a", Order("exit_in_apply"))
    assert entities.ask(Clerk, "a", Order("count")) == 1


def test_effects_in_init_are_refused(entities: LocalEntities) -> None:
    """An entity begins with its state; others are not affected."""
    with pytest.raises(RecoveryError, match=r"EffectError at test_entity_senders\.py:\d+: persist"):
        entities.ask(Eager, "a", Order("count"))
    assert entities.ask(Clerk, "a", Order("count")) == 0


@pytest.mark.parametrize("bad", ["", "a|b", "a\nb", "x" * 256, "é" * 128, "\ud800", None, 7, b"a"])
def test_no_entity_has_such_an_id(bad: Any) -> None:
    """Refused where it is said first: in the caller's own line, not in a thread or another
    process."""
    client: Any = None
    for build in (
        lambda: EntityRef("clerk", bad),
        lambda: ToEntity(bad, 1),
        lambda: Begin(bad, Settings("s")),
        lambda: Entity(client, "clerk", bad),
        lambda: Entity(client, bad, "a"),
        lambda: Entity(client, type("Nameless", (), {"entity_type": bad}), "a"),
        lambda: AioEntity(client, object, "a"),
    ):
        with pytest.raises(SettingsError, match=r"entity_(id|type)"):
            build()


def test_a_client_takes_the_class_where_it_is_at_hand() -> None:
    """The stored name stands on it; nobody has to write it twice."""
    client: Any = None
    for build in (Entity, AioEntity):
        by_class, by_name = build(client, Account, "a"), build(client, "account", "a")
        assert (by_class.entity_type, by_class.entity_id) == ("account", "a")
        assert (by_name.entity_type, by_name.entity_id) == ("account", "a")


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        *(("command_id", bad) for bad in (5, ("a",), b"a", None, "x" * 256, "\ud800")),
        *(("timeout_s", bad) for bad in (None, "5", timedelta(seconds=5), math.inf, math.nan)),
    ],
)
def test_a_client_refuses_what_no_command_can_have(what: str, bad: Any) -> None:
    """In the caller's own line, before anything goes to the thread that serves all callers: a
    time that is no number ended it, and an id that is no text was stored."""
    client: Any = Client.__new__(Client)
    client._loops = {}
    one, other = Entity(client, "clerk", "a"), AioEntity(client, "clerk", "a")
    with pytest.raises(SettingsError, match=what):
        one.ask("hello", **{what: bad})
    with pytest.raises(SettingsError, match=what):
        asyncio.run(other.ask("hello", **{what: bad}))
    if what == "command_id":
        with pytest.raises(SettingsError, match=what):
            one.tell("hello", command_id=bad)
        with pytest.raises(SettingsError, match=what):
            ToEntity("a", "hello", bad)
        with pytest.raises(SettingsError, match=what):
            _outgoing(("clerk", "a", "hello", bad), Batch(), 0)
    else:
        with pytest.raises(SettingsError, match=what):
            Client.ask_many(client, [], timeout_s=bad)


@pytest.mark.parametrize("bad", [5, (), ("clerk", "a"), ("clerk", "a", "hello", "id", 5.0)])
def test_ask_many_says_what_it_takes(bad: Any) -> None:
    with pytest.raises(SettingsError, match="ask_many takes"):
        _outgoing(bad, Batch(), 0)


def test_ask_many_needs_a_window() -> None:
    """With none it waited for ever."""
    with pytest.raises(SettingsError, match="in_flight"):
        Client.__new__(Client).ask_many([], in_flight=0)


def test_the_limit_of_names_is_in_bytes() -> None:
    """255 of UTF-8, in every alphabet."""
    for name in ("x" * 255, "é" * 127, "☃" * 85):
        assert EntityRef("clerk", name).entity_id == name

"""The entities of the contract suite (entity_kit.py): each command provokes one behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from thespian.actors import ActorTypeDispatcher

from thespian_dc.entity.actor import DurableStateActor, EventSourcedActor
from thespian_dc.entity.protocol import EntityRef
from thespian_dc.model.entity_errors import EffectError


@dataclass(frozen=True, slots=True)
class Deposited:
    """Event."""

    amount: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Event."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Reply: registered, so that it is stored with the command."""

    amount: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Reply: not registered, so it cannot be stored."""

    amount: int


@dataclass(frozen=True, slots=True)
class Deposit:
    """Command. in_parts: as so many events of amount each. receipt: answer with a Receipt."""

    amount: int
    in_parts: int = 1
    receipt: bool = False


@dataclass(frozen=True, slots=True)
class GetBalance:
    """Command that persists nothing."""


@dataclass(frozen=True, slots=True)
class Do:
    """Command: provoke what `what` names."""

    what: str
    arg: Any = None


@dataclass(frozen=True, slots=True)
class Special(Do):
    """A command whose class has a base class with a handler of its own."""


@dataclass(frozen=True, slots=True)
class Question:
    """What an ordinary actor is asked. how: once | twice | never | wait (until the next)."""

    text: str
    how: str = "once"


class Oracle(ActorTypeDispatcher):
    """An ordinary actor that answers a Question with its text reversed; remembers what else it
    was sent."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.notes: list[Any] = []
        self.kept: list[tuple[Any, Question]] = []

    def receiveMsg_Question(self, question: Question, sender: Any) -> None:
        if question.how == "wait":
            self.kept.append((sender, question))
            return
        for waiting, earlier in self.kept:
            self.send(waiting, earlier.text[::-1])  # type: ignore[no-untyped-call]
        self.kept.clear()
        for _ in range({"once": 1, "twice": 2, "never": 0}[question.how]):
            self.send(sender, question.text[::-1])  # type: ignore[no-untyped-call]

    def receiveMsg_str(self, note: str, sender: Any) -> None:
        if note == "notes?":
            self.send(sender, list(self.notes))  # type: ignore[no-untyped-call]
        else:
            self.notes.append(note)

    def receiveMsg_tuple(self, handed_on: tuple[Any, Any], sender: Any) -> None:
        to, answer = handed_on
        self.send(to, answer)  # type: ignore[no-untyped-call]


class Account(EventSourcedActor):
    """State: {"amount": sum of deposits, "closed": bool}, changed in place."""

    entity_type = "account"
    events = (Deposited, Closed)
    replies = (Balance,)
    snapshot_every = 10
    in_place_states = True
    woken = 0
    unstashed = 0
    recovered = 0

    def empty_state(self) -> dict[str, Any]:
        return {"amount": 0, "closed": False}

    def apply_event(self, state: dict[str, Any], event: Any) -> None:
        if isinstance(event, Deposited):
            if event.amount == 13:
                raise ValueError("13 cannot be applied")
            state["amount"] += event.amount
        else:
            state["closed"] = True

    def tags_for(self, state: dict[str, Any], event: Any) -> list[str]:
        return ["large"] if isinstance(event, Deposited) and event.amount >= 1000 else []

    def recovery_completed(self) -> None:
        self.recovered += 1

    def receiveMsg_Deposit(self, command: Deposit, sender: Any) -> None:
        reply = Receipt if command.receipt else Balance
        events = [Deposited(command.amount) for _ in range(command.in_parts)]
        self.persist(events).then_reply(lambda state: reply(state["amount"]))

    def receiveMsg_GetBalance(self, command: GetBalance, sender: Any) -> str:
        self.reply(Balance(self.state["amount"]))
        return "an ignored value"

    def receiveMsg_Do(self, command: Do, sender: Any) -> Any:
        return getattr(self, f"do_{command.what}")(command.arg, sender)

    def receiveMsg_Special(self, command: Special, sender: Any) -> Any:
        if command.what == "special":
            return self.reply("special")
        return self.SUPER

    def receiveMsg_WakeupMessage(self, message: Any, sender: Any) -> None:
        self.woken += message.payload

    # --- answers ---
    def do_raise(self, arg: Any, sender: Any) -> None:
        self.woken += 1
        self.persist(Deposited(1)).then_reply(lambda state: "never sent")
        self.send(arg, "never sent")
        raise ZeroDivisionError("as told")

    def do_exit(self, arg: Any, sender: Any) -> None:
        raise SystemExit(1)

    def do_raise_in_reply(self, arg: Any, sender: Any) -> None:
        self.persist(Deposited(1)).then_reply(lambda state: state["no such key"])

    def do_persist_unregistered(self, arg: Any, sender: Any) -> None:
        self.persist(Question("not an event"))

    def do_nothing(self, arg: Any, sender: Any) -> None:
        pass

    def do_persist_in_silence(self, arg: Any, sender: Any) -> None:
        self.persist(Deposited(arg))

    def do_none(self, arg: Any, sender: Any) -> None:
        self.none().then_reply(lambda state: state["amount"])

    def do_reply_twice(self, arg: Any, sender: Any) -> None:
        self.reply(1)
        try:
            self.reply(2)
        except EffectError as error:
            self.send(arg, type(error).__name__)

    def do_tell_sender_of(self, arg: EntityRef, sender: Any) -> None:
        self.send(arg, Do("answer_for", sender))

    def do_answer_for(self, arg: Any, sender: Any) -> None:
        self.send(arg, f"answered by {self.entity_id}")

    def do_hand_on_to(self, arg: Any, sender: Any) -> None:
        self.send(arg, (sender, "answered by an actor"))

    def do_facts(self, arg: Any, sender: Any) -> None:
        self.reply((self.entity_id, self.seq_nr, self.woken, self.recovered, str(self.ref)))

    def do_sender_kind(self, arg: Any, sender: Any) -> None:
        self.send(sender, type(sender).__name__)

    def do_my_address(self, arg: Any, sender: Any) -> None:
        try:
            self.reply(str(self.myAddress))
        except EffectError as error:
            self.reply(str(error))

    # --- stash, stop, timers, then ---
    def do_stash_until_closed(self, arg: Any, sender: Any) -> None:
        if self.state["closed"]:
            self.unstashed += 1
            self.reply(f"{arg} at {self.state['amount']}, number {self.unstashed}")
        else:
            self.stash()

    def do_stash_and_persist(self, arg: Any, sender: Any) -> None:
        self.persist(Deposited(1))
        self.stash()

    def do_hand_on_then(self, arg: EntityRef, sender: Any) -> None:
        self.send(arg, Do("answer_for", sender))
        self.persist(Deposited(1)).then(lambda state: None)

    def do_close(self, arg: Any, sender: Any) -> None:
        self.persist(Closed()).then_reply(lambda state: "closed")
        self.unstash_all()

    def do_stop(self, arg: Any, sender: Any) -> None:
        self.persist(Deposited(1)).then_reply(lambda state: state["amount"]).then_stop()

    def do_wake(self, arg: float, sender: Any) -> None:
        self.wakeupAfter(timedelta(seconds=arg), payload=1)
        self.reply("set")

    def do_then_send(self, arg: Any, sender: Any) -> None:
        chain = self.persist(Deposited(5)).then_reply(lambda state: "done")
        chain.then(lambda state: self.send(arg, f"{self.seq_nr} at {state['amount']}"))

    def do_create_actor(self, arg: Any, sender: Any) -> None:
        self.createActor(Oracle)

    def do_create_then(self, arg: Any, sender: Any) -> None:
        def create(state: Any) -> None:
            self.send(self.createActor(Oracle), (arg, "made"))

        self.persist(Deposited(1)).then_reply(lambda state: "done").then(create)

    def do_late_effect(self, arg: Any, sender: Any) -> None:
        chain = self.persist(Deposited(1)).then_reply(lambda state: "done")
        self.then_reply = chain.then_reply

    def do_use_late_effect(self, arg: Any, sender: Any) -> None:
        try:
            self.then_reply(lambda state: "too late")
        except EffectError as error:
            self.reply(str(error))

    # --- asks ---
    def do_ask(self, arg: tuple[Any, Question, float], sender: Any) -> None:
        address, question, timeout_s = arg
        self.ask(
            address, question, on_reply=self.answered, on_timeout=self.timed_out,
            timeout_s=timeout_s,
        )  # fmt: skip

    def do_ask_only(self, arg: tuple[Any, Any], sender: Any) -> None:
        self.ask(*arg, on_reply=self.reply)

    def do_persist_and_ask(self, arg: Any, sender: Any) -> None:
        self.persist(Deposited(1))
        self.ask(arg, Question("abc"), on_reply=self.answered)

    def answered(self, answer: str) -> None:
        self.persist(Deposited(len(answer))).then_reply(lambda state: (answer, state["amount"]))

    def timed_out(self) -> None:
        self.reply("no answer")

    def do_ask_entity(self, arg: EntityRef, sender: Any) -> None:
        self.ask(arg, GetBalance(), on_reply=lambda balance: self.reply(balance.amount + 1))

    def do_ask_and_forget(self, arg: EntityRef, sender: Any) -> None:
        self.ask(arg, GetBalance(), on_reply=lambda balance: None)

    def do_ask_failing(self, arg: EntityRef, sender: Any) -> None:
        self.ask(arg, Do("nothing"), on_reply=self.reply)


@dataclass(frozen=True, slots=True)
class Put:
    """Command: set the profile. revision: only if it still is at this one."""

    name: str
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Renamed:
    """Change event."""

    name: str


@dataclass(frozen=True, slots=True)
class ProfileState:
    """A durable state of a registered type."""

    name: str = ""


class Profile(DurableStateActor):
    """A durable state."""

    entity_type = "profile"
    states = (ProfileState,)
    events = (Renamed,)

    def empty_state(self) -> ProfileState:
        return ProfileState()

    def receiveMsg_Put(self, command: Put, sender: Any) -> None:
        state, event = ProfileState(command.name), Renamed(command.name)
        chain = self.persist(state, event, expected_revision=command.revision)
        chain.then_reply(lambda state: (state.name, self.seq_nr))

    def receiveMsg_str(self, command: str, sender: Any) -> None:
        if command == "delete":
            self.delete().then_reply(lambda state: (state.name, self.seq_nr))
        else:
            self.reply((self.state.name, self.seq_nr))


class Forgetful(EventSourcedActor):
    """Its apply_event forgets to return the state."""

    entity_type = "forgetful"
    events = (Deposited,)

    def empty_state(self) -> int:
        return 0

    def receiveMsg_int(self, amount: int, sender: Any) -> None:
        if amount:
            self.persist(Deposited(amount)).then_reply(lambda state: state)
        else:
            self.reply((self.state, self.seq_nr))

    def apply_event(self, state: int, event: Deposited) -> None:
        state += event.amount


ENTITIES: tuple[type, ...] = (Account, Profile, Forgetful)

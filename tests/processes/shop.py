"""The entities and actors that the process tests run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thespian.actors import ActorTypeDispatcher, WakeupMessage

from thespian_dc.entity.actor import EventSourcedActor


@dataclass(frozen=True)
class Add:
    amount: int


@dataclass(frozen=True)
class Get:
    pass


@dataclass(frozen=True)
class Fail:
    pass


@dataclass(frozen=True)
class AskOut:
    """The entity asks an ordinary actor and answers with (its own id, what it heard)."""

    address: Any
    question: Any
    timeout_s: float = 5.0


@dataclass(frozen=True)
class Added:
    amount: int


class Counter(EventSourcedActor):
    """Adds up; answers each Add with the sum, each Get with (sum, number of events)."""

    entity_type = "counter"
    events = [Added]  # noqa: RUF012  as users write it
    snapshot_every = 50

    def empty_state(self) -> Any:
        return {"sum": 0, "events": 0}

    def receiveMsg_Add(self, message: Add, sender: Any) -> None:
        self.persist(Added(message.amount)).then_reply(lambda state: state["sum"])

    def receiveMsg_Get(self, message: Get, sender: Any) -> None:
        self.reply((self.state["sum"], self.state["events"]))

    def receiveMsg_Fail(self, message: Fail, sender: Any) -> None:
        raise ValueError("told to fail")

    def receiveMsg_AskOut(self, message: AskOut, sender: Any) -> None:
        me = self.entity_id
        self.ask(
            message.address,
            message.question,
            on_reply=lambda reply: self.reply((me, reply)),
            on_timeout=lambda: self.reply((me, "timeout")),
            timeout_s=message.timeout_s,
        )

    def apply_event(self, state: Any, event: Any) -> Any:
        return {"sum": state["sum"] + event.amount, "events": state["events"] + 1}


class Curious(Counter):
    """Looks at everything that reaches its dispatcher; answers a str with what it saw."""

    entity_type = "curious"

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def receiveMsg_object(self, message: Any, sender: Any) -> None:
        self.seen.append(type(message).__name__)
        self.reply(self.seen)


class Oracle(ActorTypeDispatcher):
    """Answers (text, how): how is "once", "twice", "late" or "never"."""

    def receiveMsg_tuple(self, message: Any, sender: Any) -> None:
        text, how = message
        if how == "late":
            self.wakeupAfter(__import__("datetime").timedelta(seconds=1.5), (sender, text))
        elif how != "never":
            self.send(sender, text)
            if how == "twice":
                self.send(sender, text)

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, sender: Any) -> None:
        self.send(*message.payload)

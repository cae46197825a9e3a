"""The entity that simulations run: it adds, and every answer says which events it has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from thespian_dc.entity.actor import EntityActor, EventSourcedActor
from thespian_dc.entity.protocol import EntityRef
from thespian_dc.model.entity_errors import CommandRejectedError
from thespian_dc.testkit.simulation.oracle import ASK_TIMEOUT_S, Advice, Question, address_of


@dataclass(frozen=True, slots=True)
class Add:
    """Persist one Added per amount, all of one command in one commit."""

    nonce: str
    amounts: tuple[int, ...]
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Pass:
    """As Add; once that is durable, `to` is sent an Add of the same amounts, under `onward`."""

    nonce: str
    amounts: tuple[int, ...]
    to: str
    onward: str


@dataclass(frozen=True, slots=True)
class Consult:
    """Ask the actor of this name, and add what it says."""

    nonce: str
    amounts: tuple[int, ...]
    oracle: str


@dataclass(frozen=True, slots=True)
class Look:
    """Persist nothing; answer what was seen."""

    nonce: str


@dataclass(frozen=True, slots=True)
class Added:
    nonce: str
    amount: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """The state after seq_nr events."""

    seq_nr: int
    total: int


def tags_of(number: int) -> list[str]:
    """Of an event, by its amount, or of a state, by its total: few have the second tag."""
    rare = ["rare"] if number % 11 == 0 else []
    return ["odd" if number % 2 else "even", *rare, f"t:size/{number % 5}"]


class Adder(EntityActor):
    """What entities of either kind have to do with others."""

    entity_type = "counter"
    replies: ClassVar[list[Any]] = [Seen]
    receiveMsg_Add: Any  # noqa: N815  handlers are named so

    def receiveMsg_Pass(self, command: Pass, sender: Any) -> None:
        self.receiveMsg_Add(Add(command.nonce, command.amounts), sender)
        self.send(EntityRef(self.entity_type, command.to), Add(command.onward, command.amounts))

    def receiveMsg_Consult(self, command: Consult, sender: Any) -> None:
        question, whom = Question(command.nonce, command.amounts), address_of(command.oracle)
        self.ask(whom, question, on_reply=self._follow, timeout_s=ASK_TIMEOUT_S)

    def _follow(self, advice: Advice) -> None:
        self.receiveMsg_Add(Add(advice.nonce, advice.amounts), None)


class Counter(Adder, EventSourcedActor):
    """Its state changes in place: what is uncommitted shows if it leaks."""

    events: ClassVar[list[Any]] = [Added]
    in_place_states = True
    snapshot_every = 3

    def empty_state(self) -> dict[str, int]:
        return {"seq_nr": 0, "total": 0}

    def receiveMsg_Add(self, command: Add, sender: Any) -> None:
        if not command.amounts:
            raise CommandRejectedError("nothing to add")
        added = [Added(command.nonce, amount, command.note) for amount in command.amounts]
        self.persist(added).then_reply(lambda state: Seen(state["seq_nr"], state["total"]))

    def tags_for(self, state: Any, event: Added) -> list[str]:
        return tags_of(event.amount)

    def receiveMsg_Look(self, command: Look, sender: Any) -> None:
        self.reply(Seen(self.state["seq_nr"], self.state["total"]))

    def apply_event(self, state: dict[str, int], event: Added) -> None:
        state["seq_nr"] += 1
        state["total"] += event.amount

"""The entities that benchmarks work on: a small typed event with 100 bytes of payload, a state of a
few fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thespian_dc import EventSourcedActor

TEXT = "x" * 72
"""Makes the encoded event (field names, amount, text) 100 bytes."""


@dataclass(frozen=True)
class Add:
    text: str
    amount: int


@dataclass(frozen=True, slots=True)
class Added:
    text: str
    amount: int


@dataclass(frozen=True)
class Total:
    """Query: persists nothing."""


class Account(EventSourcedActor):
    """Adds amounts up. State changes in place."""

    entity_type = "account"
    events = [Added]

    def empty_state(self) -> dict[str, Any]:
        return {"total": 0, "count": 0, "last": ""}

    def receiveMsg_Add(self, command: Add, sender: Any) -> None:
        self.persist(Added(command.text, command.amount)).then_reply(lambda state: state["total"])

    def receiveMsg_Total(self, query: Total, sender: Any) -> None:
        self.reply(self.state["total"])

    def apply_event(self, state: dict[str, Any], event: Added) -> dict[str, Any]:
        state["total"] += event.amount
        state["count"] += 1
        state["last"] = event.text[:4]
        return state

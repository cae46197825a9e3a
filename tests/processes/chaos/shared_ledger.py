"""The ledger of several replicas: every command counts, and half of them change a set or a map that
all write at the same time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.processes.chaos.ledger import ENTITY_TYPE, Look, Put
from thespian_dc import ReplicatedEventSourcedActor
from thespian_dc.crdt.api import (
    CRDT_TYPES,
    Counted,
    KeysRemoved,
    LwwMap,
    MapPut,
    OrSet,
    PnCounter,
    SetAdded,
)

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Show:
    """Query: answered with (`digest` of the state, events by origin)."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Event: what was put, and the operations it became."""

    number: int
    amount: int
    counted: Counted
    more: SetAdded | KeysRemoved | MapPut | None


def empty() -> State:
    return {"sum": PnCounter(), "set": OrSet(), "map": LwwMap(), "from": {}}


def applied(state: State, event: Changed, origin: str) -> State:
    changed = {**state, "sum": state["sum"].apply(event.counted)}
    changed["from"] = {**state["from"], origin: state["from"].get(origin, 0) + 1}
    if event.more is not None:
        name = "map" if isinstance(event.more, MapPut) else "set"
        changed[name] = state[name].apply(event.more)
    return changed


def digest(state: State) -> str:
    """Equal for states that show the same, whatever the order in which it came."""
    shown = (
        state["sum"].value, sorted(state["set"].elements), sorted(state["map"].value.items()),
        sorted(state["from"].items()),
    )  # fmt: skip
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


class SharedLedger(ReplicatedEventSourcedActor):
    """Answers as the ledger of one system does: (events here, sum here)."""

    entity_type = ENTITY_TYPE
    events = (Changed, *CRDT_TYPES)
    snapshot_every = 20

    def empty_state(self) -> State:
        return empty()

    def receiveMsg_Put(self, command: Put, sender: Any) -> None:
        counted = self.state["sum"].add(command.amount, self.replica_id)
        event = Changed(command.number, command.amount, counted, self.more(command))
        self.persist(event).then_reply(self.shown)

    def receiveMsg_Look(self, query: Look, sender: Any) -> None:
        self.reply(self.shown(self.state))

    def receiveMsg_Show(self, query: Show, sender: Any) -> None:
        self.reply((digest(self.state), self.state["from"]))

    def more(self, command: Put) -> SetAdded | KeysRemoved | MapPut | None:
        """Elements and keys are few, so that replicas often write the same one."""
        key: int = command.amount
        match command.number % 6:
            case 0:
                added: SetAdded = self.state["set"].add(key, replica=self.replica_id)
                return added
            case 1 if key in self.state["set"]:
                removed: KeysRemoved = self.state["set"].remove(key)
                return removed
            case 2:
                value = f"{self.replica_id}{command.number}"
                put: MapPut = self.state["map"].put(key, value, self.replica_id, self.time_us())
                return put
        return None

    def apply_event(self, state: State, event: Changed) -> State:
        return applied(state, event, self.origin)

    @staticmethod
    def shown(state: State) -> tuple[int, int]:
        return sum(state["from"].values()), state["sum"].value

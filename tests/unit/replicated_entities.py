"""Replicated entities that tests look into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.unit.replicas import Replica
from thespian_dc import ReplicatedEventSourcedActor


@dataclass(frozen=True, slots=True)
class Noted:
    text: str


@dataclass(frozen=True, slots=True)
class Retold:
    """A type that some replicas do not know."""

    text: str


@dataclass(frozen=True, slots=True)
class Write:
    """Persist these; the reply is how many there are."""

    texts: tuple[str, ...]
    misuse: str = ""
    time: bool = False


@dataclass(frozen=True, slots=True)
class Tell:
    """Query: persists nothing, unless it says what to write."""

    write: str = ""


Line = tuple[str, str, bool]
"""(text, origin, concurrent) of an event as it was applied."""


class Chronicle(ReplicatedEventSourcedActor):
    """Keeps every event in the order in which this replica applied it: nothing commutes, so every
    difference shows. `looked` notes what its code saw, for all instances of a test."""

    entity_type = "chronicle"
    events: ClassVar[Sequence[Any]] = [Noted]
    spoilt: ClassVar[str] = ""
    """apply_event raises for this text."""
    looked: ClassVar[list[Any]] = []

    def empty_state(self) -> tuple[Line, ...]:
        return ()

    def receiveMsg_Write(self, command: Write, sender: Any) -> None:
        if command.misuse:
            getattr(self, command.misuse)
        if command.time:
            self.looked.append([self.time_us(), self.time_us(), self.lww_time()])
        chain = self.persist([Noted(text) for text in command.texts]).then_reply(len)
        chain.then(lambda state: self.looked.append(("then", self.replica_id, len(state))))

    def receiveMsg_Tell(self, query: Tell, sender: Any) -> None:
        if query.write:
            self.persist(Noted(query.write))
        self.reply(self.state)

    def receiveMsg_str(self, what: str, sender: Any) -> None:
        self.reply((self.replica_id, self.all_replicas, self.seq_nr))

    def apply_event(self, state: tuple[Line, ...], event: Noted) -> tuple[Line, ...]:
        if self.spoilt and event.text == self.spoilt:
            raise ValueError(f"cannot apply {event.text}")
        self.looked.append(("apply", self.replica_id, event.text, self.recovering))
        return (*state, (event.text, self.origin, self.concurrent))

    def tags_for(self, state: tuple[Line, ...], event: Noted) -> list[str]:
        return [f"at:{self.replica_id}", f"of:{self.origin}", f"concurrent:{self.concurrent}"]


def texts(state: tuple[Line, ...]) -> list[str]:
    return [text for text, _, _ in state]


def flags(state: tuple[Line, ...]) -> dict[str, bool]:
    return {text: concurrent for text, _, concurrent in state}


def write(replica: Replica, *what: str, entity_id: str = "x", command_id: str = "") -> Any:
    """The reply: how many events the entity has then."""
    return replica.ask(Write(what), entity_id, command_id)


def fresh() -> Iterator[list[Any]]:
    """A fixture: nothing is spoilt; what the entities' code saw."""
    Chronicle.looked, Chronicle.spoilt = [], ""
    yield Chronicle.looked
    Chronicle.looked, Chronicle.spoilt = [], ""

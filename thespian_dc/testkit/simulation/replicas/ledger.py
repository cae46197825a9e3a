"""The replicated entity that simulations run: a counter, a register and a set, and what a reader of
its events alone says that it must be.

`Plain` is its state as plain values. `fold` makes it of a set of events, in no order, by what each
event's origin had seen: it shares no code with the data types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from thespian_dc.crdt.api import (
    CRDT_TYPES,
    Counted,
    KeysRemoved,
    LwwAssigned,
    LwwRegister,
    OrSet,
    PnCounter,
    SetAdded,
)
from thespian_dc.entity.api import ReplicatedEventSourcedActor

REGIONS = ("north", "south", "west")


@dataclass(frozen=True, slots=True)
class Change:
    """One command. region: the tag of its events. what: "count" (amount), "label" (text), "add",
    "drop" (text), "both": count and add in one commit."""

    nonce: str
    region: str
    what: str
    amount: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Persist nothing; answer the state."""

    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    nonce: str
    operation: Counted | LwwAssigned | SetAdded | KeysRemoved
    region: str


@dataclass(frozen=True, slots=True)
class Plain:
    """The state, as anybody reads it."""

    total: int
    label: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class LedgerState:
    total: PnCounter
    label: LwwRegister[str]
    parts: OrSet[str]

    @property
    def plain(self) -> Plain:
        return Plain(self.total.value, self.label.value, tuple(sorted(self.parts.elements)))


class Applied(NamedTuple):
    """An event while it is applied, as its entity sees it."""

    replica: str
    entity_id: str
    origin: str
    nonce: str
    concurrent: bool
    recovering: bool


class Ledger(ReplicatedEventSourcedActor):
    """witness hears of every event that is applied, live or on recovery."""

    entity_type = "ledger"
    events: ClassVar[list[Any]] = [Changed, *CRDT_TYPES]
    states: ClassVar[list[Any]] = [LedgerState]
    replies: ClassVar[list[Any]] = [Plain]
    snapshot_every = 2
    witness: Callable[[Applied], None] | None = None

    def empty_state(self) -> LedgerState:
        return LedgerState(PnCounter(), LwwRegister(""), OrSet())

    def receiveMsg_Change(self, command: Change, sender: Any) -> None:
        nonce, region = command.nonce, command.region
        changed = [Changed(nonce, operation, region) for operation in self._operations(command)]
        self.persist(changed).then_reply(lambda state: state.plain)

    def _operations(self, command: Change) -> list[Any]:
        state, here = self.state, self.replica_id
        count = state.total.add(command.amount, here)
        match command.what:
            case "count":
                return [count]
            case "label":
                return [LwwAssigned(command.text, *self.lww_time())]
            case "add":
                return [state.parts.add(command.text, replica=here)]
            case "drop":
                return [state.parts.remove(command.text)]
        return [count, state.parts.add(command.text, replica=here)]

    def receiveMsg_Look(self, command: Look, sender: Any) -> None:
        self.reply(self.state.plain)

    def apply_event(self, state: LedgerState, event: Changed) -> LedgerState:
        if self.witness is not None:
            self.witness(
                Applied(
                    self.replica_id, self.entity_id, self.origin, event.nonce, self.concurrent,
                    self.recovering,
                )
            )  # fmt: skip
        operation = event.operation
        total, label, elements = state.total, state.label, state.parts
        if isinstance(operation, Counted):
            total = total.apply(operation)
        elif isinstance(operation, LwwAssigned):
            label = label.apply(operation)
        else:
            elements = elements.apply(operation)
        return LedgerState(total, label, elements)

    def tags_for(self, state: LedgerState, event: Changed) -> list[str]:
        return [event.region]


class Event(NamedTuple):
    """One that was written. seen: its origin's vector once it had written it. epoch: of being
    active."""

    origin: str
    n: int
    seen: Mapping[str, int]
    changed: Changed
    epoch: int = 0

    @property
    def leader(self) -> tuple[int, str]:
        return self.epoch, self.origin


def counting(events: Iterable[Event]) -> list[Event]:
    """Those that count where late ones are set aside. Of the latest leader, who was active since
    its first event: what it had seen by then counts as it did for it, and what it wrote; nothing
    else that any leader wrote."""
    all_ = list(events)
    latest = max((one.leader for one in all_), default=(0, ""))
    if not latest[0]:
        return all_
    first = min((one for one in all_ if one.leader == latest), key=lambda one: one.n)
    past = [one for one in all_ if one is not first and one.n <= first.seen.get(one.origin, 0)]
    beside = [one for one in all_ if one not in past]
    return counting(past) + [one for one in beside if not one.epoch or one.leader == latest]


def fold(events: Iterable[Event]) -> Plain:
    """The state of which these are all events."""
    all_ = list(events)
    total = sum(
        one.changed.operation.delta for one in all_ if isinstance(one.changed.operation, Counted)
    )
    written = [
        (one.changed.operation.time_us, one.changed.operation.replica, one.changed.operation.value)
        for one in all_ if isinstance(one.changed.operation, LwwAssigned)
    ]  # fmt: skip
    added = [one for one in all_ if isinstance(one.changed.operation, SetAdded)]
    dropped = [one for one in all_ if isinstance(one.changed.operation, KeysRemoved)]
    there = {
        element
        for one in added for element in one.changed.operation.elements  # type: ignore[union-attr]
        if not any(
            element in drop.changed.operation.keys  # type: ignore[union-attr]
            and drop.seen.get(one.origin, 0) >= one.n
            for drop in dropped
        )
    }  # fmt: skip
    return Plain(total, max(written)[2] if written else "", tuple(sorted(there)))

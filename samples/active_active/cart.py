"""A shopping cart that takes writes in every region: quantities add up, adding an item wins over
removing it elsewhere at the same time, and of two delivery addresses the later one stays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from thespian_dc import ReplicatedEventSourcedActor
from thespian_dc.crdt.api import CRDT_TYPES, LwwAssigned, LwwRegister, OrMap, PnCounter


@dataclass(frozen=True)
class AddItem:
    """Command."""

    sku: str
    quantity: int


@dataclass(frozen=True)
class RemoveItem:
    """Command: take away all of it that is seen here."""

    sku: str


@dataclass(frozen=True)
class DeliverTo:
    """Command."""

    address: str


@dataclass(frozen=True)
class Show:
    """Query: answered with the items and the address."""


@dataclass(frozen=True)
class Contents:
    """The entity's state."""

    items: OrMap[str, PnCounter] = field(default_factory=lambda: OrMap(empty=PnCounter()))
    address: LwwRegister[str] = field(default_factory=lambda: LwwRegister(""))

    def shown(self) -> tuple[dict[str, int], str]:
        """Quantities by item, sorted, and the address."""
        items = sorted((sku, quantity.value) for sku, quantity in self.items.value.items())
        return dict(items), self.address.value


class Cart(ReplicatedEventSourcedActor):
    entity_type = "cart"
    events = CRDT_TYPES
    states = [Contents]
    snapshot_every = 100

    def empty_state(self) -> Contents:
        return Contents()

    def receiveMsg_AddItem(self, command: AddItem, sender: Any) -> None:
        if command.quantity < 1:
            self.reply("quantity must be at least 1")
            return
        self.change(
            self.state.items.update(
                command.sku, lambda quantity: quantity.add(command.quantity, self.replica_id)
            )
        )

    def receiveMsg_RemoveItem(self, command: RemoveItem, sender: Any) -> None:
        self.change(self.state.items.remove(command.sku))

    def receiveMsg_DeliverTo(self, command: DeliverTo, sender: Any) -> None:
        self.change(self.state.address.assign(command.address, self.replica_id, self.time_us()))

    def receiveMsg_Show(self, query: Show, sender: Any) -> None:
        self.reply(self.state.shown())

    def change(self, operation: Any) -> None:
        """The operation is the event; the asker gets the cart with it."""
        self.persist(operation).then_reply(Contents.shown)

    def apply_event(self, state: Contents, event: Any) -> Contents:
        if isinstance(event, LwwAssigned):
            return replace(state, address=state.address.apply(event))
        return replace(state, items=state.items.apply(event))

"""The second version: events say more than before, and the first version's are still read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.processes.chaos.ledger import Ledger, Put
from thespian_dc import Registered, Upcaster


@dataclass(frozen=True, slots=True)
class Noted:
    """Event; till: which one took it."""

    number: int
    amount: int
    till: str


class Till(Ledger):
    """Of version 2."""

    events = [Registered(Noted, version=2)]  # noqa: RUF012  as users write it
    upcasters = [  # noqa: RUF012  as users write it
        Upcaster("Noted", 1, 2, lambda fields: {**fields, "till": "first"})
    ]

    def receiveMsg_Put(self, command: Put, sender: Any) -> None:
        self.persist(Noted(command.number, command.amount, "second")).then_reply(
            lambda state: (state["count"], state["total"])
        )

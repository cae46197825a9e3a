"""A bank account that must not go below zero: a rule over all of its events, so one region at a
time decides, and the other one follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thespian_dc import ReplicatedEventSourcedActor


@dataclass(frozen=True)
class Deposit:
    """Command."""

    amount: int


@dataclass(frozen=True)
class Withdraw:
    """Command; refused where the account does not have so much."""

    amount: int


@dataclass(frozen=True)
class Show:
    """Query, which a standby answers too."""


@dataclass(frozen=True)
class Moved:
    """Event. amount: below 0 where it was withdrawn."""

    amount: int


@dataclass(frozen=True)
class Standing:
    """The entity's state. in_doubt: two regions decided without knowing of each other; somebody
    should look at it."""

    balance: int = 0
    in_doubt: bool = False


class Account(ReplicatedEventSourcedActor):
    entity_type = "account"
    events = [Moved]
    states = replies = [Standing]
    snapshot_every = 100

    def empty_state(self) -> Standing:
        return Standing()

    def receiveMsg_Deposit(self, command: Deposit, sender: Any) -> None:
        self.persist(Moved(command.amount)).then_reply(lambda state: state)

    def receiveMsg_Withdraw(self, command: Withdraw, sender: Any) -> None:
        if command.amount > self.state.balance:
            self.reply("not enough")
            return
        self.persist(Moved(-command.amount)).then_reply(lambda state: state)

    def receiveMsg_Show(self, query: Show, sender: Any) -> None:
        self.reply(self.state)

    def apply_event(self, state: Standing, event: Moved) -> Standing:
        # Of two decisions that did not know of each other the later to come is concurrent, in
        # whichever order they come: so this is the same in all regions.
        in_doubt = state.in_doubt or self.concurrent
        return Standing(state.balance + event.amount, in_doubt)

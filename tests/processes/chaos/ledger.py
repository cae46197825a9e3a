"""What the chaos runs ask for, again and again: an entity that answers with what proves its own
history, and a projection that keeps every event it handled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thespian_dc import Envelope, EventSourcedActor, SqlProjectionHandler, Transaction

ENTITY_TYPE, STREAM = "ledger", "ledgers"


@dataclass(frozen=True, slots=True)
class Put:
    """Command: note this number (unique in the run) with an amount; answered with (seq_nr of the
    event, sum of all amounts up to it)."""

    number: int
    amount: int


@dataclass(frozen=True, slots=True)
class Look:
    """Command that changes nothing; answered like Put, as of the last event."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Event."""

    number: int
    amount: int


class Ledger(EventSourcedActor):
    """Holds no check for duplicates of its own."""

    entity_type = ENTITY_TYPE
    events = [Noted]  # noqa: RUF012  as users write it
    snapshot_every = 20

    def empty_state(self) -> Any:
        return {"count": 0, "total": 0}

    def receiveMsg_Put(self, command: Put, sender: Any) -> None:
        self.persist(Noted(command.number, command.amount)).then_reply(
            lambda state: (state["count"], state["total"])
        )

    def receiveMsg_Look(self, command: Look, sender: Any) -> None:
        self.reply((self.state["count"], self.state["total"]))

    def apply_event(self, state: Any, event: Any) -> Any:
        return {"count": state["count"] + 1, "total": state["total"] + event.amount}


class Book(SqlProjectionHandler):
    """A row per event: one that comes twice breaks the primary key, one that is missing shows."""

    tables = """create table if not exists book(
        entity_id text, seq_nr integer, number integer not null, amount integer not null,
        primary key (entity_id, seq_nr)) without rowid"""

    def start(self, tx: Transaction) -> None:
        self.rows: list[tuple[str, int, int, int]] = []

    def handle(self, event: Envelope[Noted], tx: Transaction) -> None:
        payload = event.payload
        self.rows.append((event.entity_id, event.seq_nr, payload.number, payload.amount))

    def flush(self, tx: Transaction) -> None:
        tx.executemany("insert into book values (?, ?, ?, ?)", self.rows)
        self.rows.clear()

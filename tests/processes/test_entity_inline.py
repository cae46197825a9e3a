"""Entities of a node on simpleSystemBase keep the contract of entities."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import ActorSystem

from thespian_dc import Envelope, Local, Projection, SqlProjectionHandler, Transaction
from thespian_dc.client.api import Client
from thespian_dc.entity.protocol import ToEntity
from thespian_dc.model.settings import Settings
from thespian_dc.node import Node
from thespian_dc.testkit.entities import ENTITIES, Account, Balance, Deposit, Deposited
from thespian_dc.testkit.entity_kit import EntityContract

ASK_S = 20.0


class Totals(SqlProjectionHandler):
    """What was paid into each account."""

    tables = "create table if not exists totals(account text primary key, amount integer not null)"

    def handle(self, event: Envelope[Deposited], tx: Transaction) -> None:
        tx.execute(
            "insert into totals values (?, ?) on conflict (account) do update"
            " set amount = amount + excluded.amount",
            (event.entity_id, event.payload.amount),
        )


class Inline:
    """An EntityDriver: a client in the process of the node. Time passes when somebody waits."""

    is_client, has_address = True, False

    def __init__(self, system: Any, journal: str) -> None:
        self.system = system
        self.settings = Settings("bank", journal, entities=ENTITIES)
        self.start()

    def start(self) -> None:
        self.node = Node.start(self.system, self.settings)
        self.client = Client.connect(self.system, "bank")

    def stop(self) -> None:
        self.client.close()
        self.node.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def ask(self, entity: Any, entity_id: str, message: Any, *, command_id: str = "") -> Any:
        self.node.run_until_idle(0.02)
        return self.client.entity(entity, entity_id).ask(message, ASK_S, command_id)

    def ask_many(self, entity: Any, entity_id: str, messages: Sequence[Any]) -> list[Any]:
        commands = [(entity, entity_id, message) for message in messages]
        return list(self.client.ask_many(commands))

    def tell(self, entity: Any, entity_id: str, message: Any) -> None:
        self.client.entity(entity.entity_type, entity_id).tell(message)

    def begin_ask(self, entity: Any, entity_id: str, message: Any) -> None:
        """From outside: a client's ask would wait here."""
        self.system.tell(self.node.address_of(entity), ToEntity(entity_id, message))

    def finish(self, begun: None) -> Any:
        return self.system.listen(ASK_S)

    def create(self, actor_class: type) -> Any:
        return self.system.createActor(actor_class)

    def ask_actor(self, address: Any, message: Any) -> Any:
        return self.system.ask(address, message, ASK_S)


class TestInline(EntityContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[Inline]:
        system = ActorSystem("simpleSystemBase", transientUnique=True)
        inline = Inline(system, f"sqlite:///{tmp_path}/bank.db")
        yield inline
        inline.stop()
        system.shutdown()


def test_local_projections_are_at_the_head_when_a_node_is_idle(tmp_path: Path) -> None:
    """A user's test tells, lets all of it run, and looks at the tables."""
    system: Any = ActorSystem("simpleSystemBase", transientUnique=True)
    read_model = tmp_path / "read.db"
    totals = Projection(
        "totals", Local("account"), Totals, f"sqlite:///{read_model}", events=[Deposited]
    )
    journal = f"sqlite:///{tmp_path}/bank.db"
    node = Node.start(system, Settings("bank", journal, entities=[Account], projections=[totals]))
    with Client.connect(system, "bank") as client, closing(sqlite3.connect(read_model)) as tables:
        for rounds in (1, 2, 3):
            client.entity("account", "a").tell(Deposit(1))
            assert client.entity("account", "b").ask(Deposit(10)) == Balance(10 * rounds)
            assert node.run_until_idle(60.0)
            found = tables.execute("select amount from totals order by account").fetchall()
            assert found == [(rounds,), (10 * rounds,)]
    node.stop()
    system.shutdown()

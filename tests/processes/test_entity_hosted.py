"""Entities hosted by a node, asked by a client, keep the contract of entities."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.processes.running import start_system
from thespian_dc.client.api import Client
from thespian_dc.model.settings import Settings
from thespian_dc.node import Node
from thespian_dc.testkit.entities import ENTITIES
from thespian_dc.testkit.entity_kit import EntityContract

ASK_S = 20.0


class Hosted:
    """An EntityDriver. All commands go through one event loop, so they keep their order."""

    is_client, has_address = True, False

    def __init__(self, system: Any, journal: str, loop: asyncio.AbstractEventLoop) -> None:
        self.system, self.loop = system, loop
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
        return self.finish(self.begin_ask(entity, entity_id, message, command_id))

    def ask_many(self, entity: Any, entity_id: str, messages: Sequence[Any]) -> list[Any]:
        begun = [self.begin_ask(entity, entity_id, message) for message in messages]
        return [self.finish(one) for one in begun]

    def tell(self, entity: Any, entity_id: str, message: Any) -> None:
        self.client.entity(entity.entity_type, entity_id).tell(message)

    def begin_ask(
        self, entity: Any, entity_id: str, message: Any, command_id: str = ""
    ) -> Future[Any]:
        asked = self.client.aio.entity(entity.entity_type, entity_id)
        return asyncio.run_coroutine_threadsafe(asked.ask(message, ASK_S, command_id), self.loop)

    def finish(self, begun: Future[Any]) -> Any:
        return begun.result(2 * ASK_S)

    def create(self, actor_class: type) -> Any:
        return self.system.createActor(actor_class)

    def ask_actor(self, address: Any, message: Any) -> Any:
        return self.system.ask(address, message, ASK_S)


@pytest.fixture(scope="module")
def system() -> Iterator[Any]:
    capabilities = {"Admin Port": free_port(), "Convention Address.IPv4": None}
    started = start_system(capabilities)
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join()
    running.close()


@pytest.mark.processes
class TestHosted(EntityContract):
    """multiprocTCPBase, journal in SQLite."""

    @pytest.fixture
    def driver(
        self, system: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path
    ) -> Iterator[Hosted]:
        hosted = Hosted(system, f"sqlite:///{tmp_path}/bank.db", loop)
        yield hosted
        hosted.stop()

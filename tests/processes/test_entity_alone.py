"""An entity class created as an actor of its own keeps the contract of entities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import ActorExitRequest, ActorSystem

from tests.ports import free_port
from tests.processes.running import start_system
from tests.processes.shop import Add, AskOut, Curious, Oracle
from thespian_dc.entity.alone import Begin
from thespian_dc.entity.protocol import ToEntity
from thespian_dc.model.entity_errors import EffectError
from thespian_dc.model.errors import JournalUrlError, ThespianDcError
from thespian_dc.model.settings import Settings
from thespian_dc.node import Node
from thespian_dc.testkit.entities import ENTITIES, Account, Balance, Deposit
from thespian_dc.testkit.entity_kit import EntityContract
from thespian_dc.testkit.eventually import eventually

ASK_S = 20


class Alone:
    """An EntityDriver: one actor per entity, asked from outside."""

    is_client, has_address = False, True

    def __init__(self, system: Any, journal: str, private: bool = True) -> None:
        self.system, self.private = system, private
        self.actors: dict[Any, Any] = {}
        self.settings = Settings("alone", journal, entities=ENTITIES)
        self.contexts = ExitStack()

    def actor(self, entity: type, entity_id: str) -> Any:
        key = (entity, entity_id)
        if key not in self.actors:
            self.actors[key] = self.system.createActor(entity)
            self.system.tell(self.actors[key], Begin(entity_id, self.settings))
        return self.actors[key]

    def ask(self, entity: type, entity_id: str, message: Any, *, command_id: str = "") -> Any:
        return _result(self.system.ask(self.actor(entity, entity_id), message, ASK_S))

    def ask_many(self, entity: type, entity_id: str, messages: Sequence[Any]) -> list[Any]:
        actor = self.actor(entity, entity_id)
        for message in messages:
            self.system.tell(actor, message)
        return [_result(self.system.listen(ASK_S)) for _ in messages]

    def tell(self, entity: type, entity_id: str, message: Any) -> None:
        self.system.tell(self.actor(entity, entity_id), message)

    def begin_ask(self, entity: type, entity_id: str, message: Any) -> Any:
        actor = self.actor(entity, entity_id)
        context = self.system
        if self.private:  # simpleSystemBase has one outside, and answers wait there in order
            context = self.contexts.enter_context(self.system.private())
        context.tell(actor, message)
        return context

    def finish(self, begun: Any) -> Any:
        return _result(begun.listen(ASK_S))

    def create(self, actor_class: type) -> Any:
        return self.system.createActor(actor_class)

    def ask_actor(self, address: Any, message: Any) -> Any:
        return self.system.ask(address, message, ASK_S)

    def restart(self) -> None:
        for actor in self.actors.values():
            self.system.tell(actor, ActorExitRequest())
        self.actors.clear()

    def close(self) -> None:
        self.contexts.close()
        self.system.shutdown()


def _result(answer: Any) -> Any:
    assert answer is not None, f"no answer within {ASK_S} s"
    if isinstance(answer, ThespianDcError):
        raise answer
    return answer


@pytest.mark.processes
class TestAloneInProcesses(EntityContract):
    """multiprocTCPBase: the entity is a process."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[Alone]:
        capabilities = {"Admin Port": free_port(), "Convention Address.IPv4": None}
        system = start_system(capabilities)
        alone = Alone(system, f"sqlite:///{tmp_path}/alone.db")
        yield alone
        alone.close()

    def test_first_message_must_be_begin(self, driver: Alone) -> None:
        """Any other is answered with the remedy."""
        actor = driver.system.createActor(Account)
        answer = driver.system.ask(actor, Deposit(1), ASK_S)
        assert isinstance(answer, EffectError)
        assert "Begin" in str(answer)

    def test_begin_that_cannot_be_is_answered(self, driver: Alone) -> None:
        """Once, with the reason; a right one may follow. What it is then does not change, and no
        Begin reaches the entity's handlers."""
        actor = driver.system.createActor(Account)
        nowhere = Settings("alone", "sqlite:////no/such/folder/alone.db", entities=ENTITIES)
        answer = driver.system.ask(actor, Begin("a", nowhere), ASK_S)
        assert isinstance(answer, JournalUrlError)
        for _ in range(2):
            driver.system.tell(actor, Begin("a", driver.settings))
        assert driver.system.ask(actor, Deposit(1), ASK_S) == Balance(1)
        answer = driver.system.ask(actor, Begin("b", driver.settings), ASK_S)
        assert isinstance(answer, EffectError)
        assert "'a' already" in str(answer)

    def test_two_that_share_a_slice_take_turns(self, driver: Alone) -> None:
        """They take it from each other for each command: slow, and nothing is lost."""
        other = Alone(driver.system, driver.settings.journal)
        for n in range(3):
            assert driver.ask(Account, "a", Deposit(1)).amount == 2 * n + 1
            assert other.ask(Account, "a", Deposit(1)).amount == 2 * n + 2


class TestAloneInOneProcess(EntityContract):
    """simpleSystemBase: for users' unit tests."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[Alone]:
        system = ActorSystem("simpleSystemBase", transientUnique=True)
        alone = Alone(system, f"sqlite:///{tmp_path}/alone.db", private=False)
        yield alone
        alone.close()


@pytest.mark.processes
def test_where_a_node_serves_the_type_the_actor_is_its_facade(tmp_path: Path) -> None:
    """Two owners of one entity would take it from each other: the actor hands its messages on, and
    the host answers the sender directly."""
    capabilities = {"Admin Port": free_port(), "Convention Address.IPv4": None}
    system = start_system(capabilities)
    settings = Settings("shop", f"sqlite:///{tmp_path}/shop.db", entities=ENTITIES)
    try:
        node = Node.start(system, settings)
        actor = system.createActor(Account)
        system.tell(actor, Begin("a", settings))
        assert system.ask(actor, Deposit(3), ASK_S) == Balance(3)
        raw = node.address_of(Account)
        assert system.ask(raw, ToEntity("a", Deposit(4)), ASK_S) == Balance(7)
        eventually(lambda: sum(host.get("resident", 0) for host in node.status()["hosts"]) == 1)
        [host] = node.status()["hosts"]
        assert not host["counts"].get("slices_lost")
        node.stop()
    finally:
        system.shutdown()


@pytest.mark.processes
@pytest.mark.parametrize("place", ["alone", "facade", "simple"])
def test_internal_messages_never_reach_the_handlers(tmp_path: Path, place: str) -> None:
    """Not even receiveMsg_object, which matches everything: frames, ticks, the answers to asks and
    the signs of life that follow them are the host's."""
    capabilities = {"Admin Port": free_port(), "Convention Address.IPv4": None}
    if place == "simple":
        system = ActorSystem("simpleSystemBase", transientUnique=True)
    else:
        system = start_system(capabilities)
    settings = Settings("shop", f"sqlite:///{tmp_path}/shop.db", entities=[Curious])
    try:
        if place == "facade":
            Node.start(system, settings)
        actor, oracle = system.createActor(Curious), system.createActor(Oracle)
        system.tell(actor, Begin("a", settings))
        for how in ("once", "never", "once"):
            system.ask(actor, AskOut(oracle, ("text", how), timeout_s=0.3), ASK_S)
        assert system.ask(actor, Add(1), ASK_S) == 1
        assert system.ask(actor, "what?", ASK_S) == ["str"]
    finally:
        system.shutdown()

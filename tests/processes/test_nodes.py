"""Starting and stopping nodes: the same again; wrong settings, classes, systems; start methods."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import ActorSystem

from tests.processes.running import free_port, hosts, pids, running, shop
from tests.processes.shop import Add, AskOut, Counter, Get, Oracle
from thespian_dc.client.api import Client
from thespian_dc.entity.protocol import ToEntity
from thespian_dc.model.errors import (
    JournalUnavailableError,
    JournalUrlError,
    NotSupportedError,
    SettingsError,
    SliceCountDiffersError,
    UnexpectedMessageError,
    UnknownEntityTypeError,
)
from thespian_dc.model.node_errors import (
    NodeError,
    NodeSettingsDifferError,
    NotImportableError,
    ServiceNotFoundError,
    WrongActorSystemError,
)
from thespian_dc.model.settings import Settings, Stream
from thespian_dc.node import Node
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

ELSEWHERE = """
from thespian_dc import EventSourcedActor
from tests.processes.shop import Added, Counter
class Late(Counter):
    entity_type = "late"
    {more}
"""


def test_the_same_node_is_found_again_and_another_is_refused(tmp_path: Path) -> None:
    """Node.start is idempotent, from any process; other settings name the field that differs."""
    with running() as one:
        settings = shop(tmp_path)
        node = one.start(settings)
        before = pids(node)
        assert pids(one.start(settings)) == before
        status = node.status()
        assert json.loads(json.dumps(status)) == status, "plain data"
        with pytest.raises(NodeSettingsDifferError, match="hosts"):
            one.start(shop(tmp_path, hosts=2))
        assert pids(node) == before
        with pytest.raises(UnknownEntityTypeError, match="counter"):
            node.address_of("cart")


def test_stopping_ends_all_and_a_new_start_finds_all(tmp_path: Path) -> None:
    """Everything acknowledged is in the journal; nothing of the node is left, and stop is
    idempotent."""
    with running() as one:
        node = one.start(shop(tmp_path, hosts=2))
        node.address_of(Counter)
        one.record()
        leaves = pids(node)
        with Client.connect(one.system, "shop") as client:
            assert list(client.ask_many([("counter", f"s-{n}", Add(n)) for n in range(100)])) == [
                *range(100)
            ]
        node.stop()
        eventually(lambda: not leaves & one.alive())
        node.stop()
        with pytest.raises(ServiceNotFoundError):
            node.status()
        one.start(shop(tmp_path, hosts=1))
        with Client.connect(one.system, "shop") as client:
            got = list(client.ask_many([("counter", f"s-{n}", Get()) for n in range(100)]))
            assert got == [(n, 1) for n in range(100)]


def test_a_node_runs_where_processes_are_spawned(tmp_path: Path) -> None:
    """Nothing is inherited from whoever started the actor system."""
    with running("spawn") as one:
        one.start(shop(tmp_path))
        with Client.connect(one.system, "shop") as client:
            assert client.entity("counter", "a").ask(Add(2), timeout_s=20) == 2


def test_another_process_joins_an_admin_that_is_up(tmp_path: Path) -> None:
    """It connects, finds the same node, asks, and leaves it running."""
    with running() as one:
        node = one.start(shop(tmp_path))
        program = f"""
from thespian.actors import ActorSystem
from thespian_dc import Client, Node
from tests.processes.running import shop
from tests.processes.shop import Add
system = ActorSystem("multiprocTCPBase", {one.capabilities!r})
node = Node.start(system, shop({str(tmp_path)!r}))
with Client.connect(system, "shop") as client:
    print(client.entity("counter", "joined").ask(Add(7), 30), node.status()["hosts"][0]["pid"])
"""
        root = Path(__file__).parents[2]
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.split() == ["7", str(hosts(node)[0]["pid"])], done.stderr
        with Client.connect(one.system, "shop") as client:
            assert client.entity("counter", "joined").ask(Get()) == (7, 1)


CLASSES = {
    "offers.py": """
from dataclasses import dataclass
@dataclass(frozen=True)
class Offer:
    price: int
""",
    "auction.py": """
from offers import Offer
from thespian_dc import EventSourcedActor
class Auction(EventSourcedActor):
    entity_type = "auction"
    events = [Offer]
    def empty_state(self):
        return 0
    def receiveMsg_Offer(self, offer, sender):
        self.persist(offer).then_reply(lambda best: best)
    def apply_event(self, best, offer):
        return max(best, offer.price)
""",
}
ASKER = """
import importlib.util
from offers import Offer
from thespian.actors import ActorSystem
from thespian_dc import Client
assert importlib.util.find_spec("auction") is None
with Client.connect(ActorSystem("multiprocTCPBase", {capabilities!r}), "auctions") as client:
    print([client.entity("auction", "a").ask(Offer(price), 30) for price in (3, 2, 7)])
"""


def test_a_client_need_not_have_the_entitys_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has those of the commands, and the name of the type."""
    folders = [tmp_path / "commands", tmp_path / "entities"]
    for folder, name in zip(folders, CLASSES, strict=True):
        folder.mkdir()
        (folder / name).write_text(CLASSES[name])
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, folders)))
    with running() as one:
        auction = importlib.import_module("auction").Auction
        one.start(Settings("auctions", f"sqlite:///{tmp_path}/a.db", entities=[auction]))
        done = subprocess.run(
            [sys.executable, "-c", ASKER.format(capabilities=one.capabilities)],
            cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": str(folders[0])},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout.split("\n")[0] == "[3, 3, 7]", done.stderr
    for name in ("auction", "offers"):
        monkeypatch.delitem(sys.modules, name)


def test_a_class_the_admin_cannot_import_is_named_before_anything_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other folder, and older code under the same name: each with its remedy."""
    with running("spawn") as one:
        one.start(shop(tmp_path)).stop()
        (tmp_path / "later_shop.py").write_text(ELSEWHERE.format(more=""))
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        import later_shop  # type: ignore[import-not-found]  written above

        monkeypatch.delitem(sys.modules, "later_shop")
        sys.path.remove(str(tmp_path))
        sys.modules["later_shop"] = later_shop
        with pytest.raises(NotImportableError, match=r"later_shop:Late.*PYTHONPATH"):
            one.start(shop(tmp_path, entities=[later_shop.Late]))
        assert not _leaves(one.system)


def test_code_that_changed_since_the_admin_started_is_named(tmp_path: Path) -> None:
    """A forked Admin keeps the classes of its start: hosts would run the older code."""
    with running() as one:
        original = Counter.receiveMsg_Get

        def other(self: Any, message: Any, sender: Any) -> None:
            self.reply("changed since")

        Counter.receiveMsg_Get = other  # type: ignore[method-assign]
        try:
            with pytest.raises(NotImportableError, match="older code"):
                one.start(shop(tmp_path))
        finally:
            Counter.receiveMsg_Get = original  # type: ignore[method-assign]
        assert not _leaves(one.system)
        one.start(shop(tmp_path))


def test_another_slice_count_is_refused_with_nothing_written(tmp_path: Path) -> None:
    """A slice count is fixed when the journal first sees the type."""
    with running() as one:
        node = one.start(shop(tmp_path))
        leaves = pids(node)
        node.stop()
        eventually(lambda: not leaves & one.alive())
        before = _stored(tmp_path / "shop.db")
        with pytest.raises(SliceCountDiffersError, match="16"):
            one.start(shop(tmp_path, slices=32))
        assert not _leaves(one.system)
        assert _stored(tmp_path / "shop.db") == before


def test_a_second_actor_system_that_is_the_first_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ActorSystem(...) silently returns the first of its process, whatever it is asked for."""
    with running() as one:
        monkeypatch.setattr(ActorSystem, "systemBase", one.system._systemBase, raising=False)
        second = ActorSystem("multiprocTCPBase", {"Admin Port": one.capabilities["Admin Port"] + 1})
        with pytest.raises(WrongActorSystemError, match="Admin Port"):
            Node.start(second, shop(tmp_path))
        third = ActorSystem("multiprocTCPBase", {"Process Startup Method": "spawn"})
        with pytest.raises(WrongActorSystemError, match="spawn"):
            Node.start(third, shop(tmp_path))


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """Before anything exists."""
    with running() as one:
        with pytest.raises(SettingsError, match="memory"):
            one.start(Settings(service="shop", journal="memory:", entities=[Counter]))
        with pytest.raises(SettingsError, match="twice"):
            one.start(shop(tmp_path, entities=[Counter, Counter]))
        assert not _leaves(one.system)


def test_a_journal_that_cannot_be_opened_is_named_before_anything_is_created(
    tmp_path: Path,
) -> None:
    """Nonsense, a folder that is not there, a server that does not answer."""
    with running() as one:
        for journal, error in (
            ("shop.db", JournalUrlError),
            ("postgres://db/shop", JournalUrlError),
            (f"sqlite:///{tmp_path}/no/such/shop.db", JournalUrlError),
            (f"cassandra://127.0.0.1:{free_port()}/shop", JournalUnavailableError),
        ):
            with pytest.raises(error):
                one.start(Settings(service="shop", journal=journal, entities=[Counter]))
        assert not _leaves(one.system)


def test_bases_that_lose_messages_are_refused(tmp_path: Path) -> None:
    """The reason is in the error."""

    class System:
        capabilities: dict[str, Any] = {}  # noqa: RUF012  as ActorSystem has it

        def __init__(self, base: Any) -> None:
            self._systemBase = base

    from thespian.system.multiprocQueueBase import ActorSystemBase as Queues
    from thespian.system.multiprocUDPBase import ActorSystemBase as Datagrams

    for kind, why in ((Datagrams, "loses"), (Queues, "deadlock")):
        system: Any = System(kind.__new__(kind))
        with pytest.raises(NotSupportedError, match=why):
            Node.start(system, shop(tmp_path))
    gone: Any = System(None)
    with pytest.raises(NodeError, match="shut down"):
        Node.start(gone, shop(tmp_path))


def test_a_node_in_this_process(tmp_path: Path) -> None:
    """simpleSystemBase: the same entities and client, driven by the caller; streams are refused."""
    system: Any = ActorSystem("simpleSystemBase", transientUnique=True)
    settings = Settings(service="inline", journal="memory:test_nodes", entities=[Counter])
    node = Node.start(system, settings)
    assert Node.start(system, settings).status()["hosts"][0]["owned"]
    with pytest.raises(NodeSettingsDifferError, match="slices"):
        Node.start(system, dataclasses.replace(settings, slices=4))
    oracle = system.createActor(Oracle)
    with Client.connect(system, "inline") as client:
        entity = client.entity("counter", "a")
        assert [entity.ask(Add(1)) for _ in range(3)] == [1, 2, 3]
        assert entity.ask(AskOut(oracle, ("once", "once"))) == ("a", "once")
        entity.tell(Add(4))
        assert node.run_until_idle(2.0)
        assert system.ask(node.address_of(Counter), ToEntity("a", Get()), 2) == (7, 4)
        assert isinstance(system.ask(node.address_of(Counter), "a", 2), UnexpectedMessageError)
        node.stop()
        with pytest.raises(ServiceNotFoundError, match="inline"):
            entity.ask(Get())
        node = Node.start(system, settings)
        assert entity.ask(Get()) == (7, 4)
    with pytest.raises(NotSupportedError, match="stream"):
        Node.start(system, Settings(
            service="streams", journal="memory:s", entities=[Counter],
            streams=[Stream("counters", Counter)], listen="127.0.0.1:0",
        ))  # fmt: skip
    node.stop()


def _stored(journal: Path) -> list[str]:
    """All that stands in it."""
    with closing(sqlite3.connect(journal)) as connection:
        return list(connection.iterdump())


def _leaves(system: Any) -> list[str]:
    """What runs of any node, by global name; a probe that is about to end is none."""
    from thespian_dc.shell.talk import Talk

    with Talk.of_system(system) as talk:
        names = talk.system_status().globalActors
    return [name for name in names if name.startswith("thespian_dc:") and ":probe:" not in name]

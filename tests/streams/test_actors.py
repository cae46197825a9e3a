"""The whole path in real actors: a command at a host, its event at a handler of another service."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import ActorSystem

from tests.ports import free_port
from tests.processes.admins import admins
from tests.processes.shop import Add, Added, Counter
from tests.streams.material import counted, rows
from thespian_dc.client.api import Client
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.settings import Projection, Remote, Settings, Stream
from thespian_dc.projection.api import SqlProjectionHandler, Transaction
from thespian_dc.shell.leaf_actor import COORDINATOR
from thespian_dc.shell.protocol import (
    GetStatus,
    LeafSpec,
    NodeStarted,
    StartNode,
    Status,
    StopNode,
    coordinator_name,
)
from thespian_dc.stream.protocol import (
    CONSUMER_ACTOR,
    PRODUCER_ACTOR,
    StartConsumer,
    StartProducer,
)
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
HOST_ACTOR = "thespian_dc.entity.host_actor.HostActor"


class CountAdded(SqlProjectionHandler):
    """Sums per entity and counts events, in SQL."""

    tables = "create table if not exists popularity(sku text primary key, n int, events int)"

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        tx.execute(
            "insert into popularity values (?, ?, 1) on conflict (sku) do update set "
            "n = n + excluded.n, events = events + 1",
            (event.entity_id, event.payload.amount),
        )


@pytest.fixture
def admin() -> Iterator[Callable[[str], ActorSystem]]:
    """Actor systems whose Admins are processes of their own; starts one, given how it starts
    actors."""
    with admins() as start:
        yield lambda method: ActorSystem(
            "multiprocTCPBase", {"Admin Port": start(method)}, transientUnique=True
        )


def node(system: Any, service: str, settings: Any, *leaves: LeafSpec) -> Any:
    """Start a node of these leaves; its coordinator's address."""
    coordinator = system.createActor(COORDINATOR, globalName=coordinator_name(service))
    answer = system.ask(coordinator, StartNode(service, "n1", settings, leaves), 20)
    assert isinstance(answer, NodeStarted)
    return coordinator


def facts(system: Any, coordinator: Any, leaf: str) -> Any:
    """What the leaf reports, once it is up; its error raises."""
    status = system.ask(coordinator, GetStatus(), 10)
    assert isinstance(status, Status)
    for error in status.errors.values():
        raise error
    known = status.leaves[leaf]
    return known if known["state"] == "up" else None


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_command_to_remote_handler(admin: Any, tmp_path: Path, method: str) -> None:
    """Two actor systems, two databases, kills of both leaves: each event is handled once."""
    url = f"sqlite:///{tmp_path}/journal.db"
    shop = Settings("shop", url, [Counter], [Stream("counters", Counter)], listen="127.0.0.1:0",
                    slices=4)  # fmt: skip
    system = admin(method)
    port = free_port()
    producing = StartProducer("shop", url, tuple(shop.streams), f"127.0.0.1:{port}", 4)
    coordinator = node(
        system, "shop", shop,
        LeafSpec("shop:host0", "hosts", HOST_ACTOR, shop),
        LeafSpec("shop:producer", "producers", PRODUCER_ACTOR, producing),
    )  # fmt: skip
    try:
        eventually(lambda: facts(system, coordinator, "shop:producer"), 30)
        read_model = tmp_path / "read.db"
        counting = Projection(
            "counts", Remote("counters", f"127.0.0.1:{port}"), CountAdded,
            f"sqlite:///{read_model}", [Added],
        )  # fmt: skip
        consuming = StartConsumer("ranking", "", (counting,))
        ranking = node(
            system, "ranking", None,
            LeafSpec("ranking:consumer", "consumers", CONSUMER_ACTOR, consuming),
        )  # fmt: skip
        eventually(lambda: facts(system, ranking, "ranking:consumer"), 30)
        with Client.connect(system, service="shop") as client:
            for amount in range(1, 41):
                client.entity("counter", f"c-{amount % 5}").ask(Add(amount), timeout_s=20)
                if amount == 10:
                    pid = facts(system, ranking, "ranking:consumer")["pid"]
                    os.kill(pid, signal.SIGKILL)
                if amount == 20:
                    pid = facts(system, coordinator, "shop:producer")["pid"]
                    os.kill(pid, signal.SIGKILL)
        eventually(lambda: sum(counted_events(read_model)) == 40, 60)
        assert sum(counted(read_model).values()) == sum(range(1, 41))
        eventually(lambda: how_it_runs(projections(system, ranking)[0]) == ("running", ""), 30)
        with Client.connect(system, service="shop") as client:
            # The host hears of the new producer with its peers, and rings it from then on.
            hinted = (
                client.entity("counter", "c-0").ask(Add(0), timeout_s=20)
                and (facts(system, coordinator, "shop:producer") or {}).get("hints")
                for _ in range(200)
            )
            assert any(hinted)
        system.ask(ranking, StopNode(2.0), 20)
    finally:
        system.ask(coordinator, StopNode(2.0), 20)


def projections(system: Any, ranking: Any) -> Any:
    known = facts(system, ranking, "ranking:consumer")
    return known["projections"] if known else [None]


def how_it_runs(projection: Any) -> tuple[str, str]:
    """Its phase, and what broke it last."""
    assert projection
    assert projection["name"] == "counts"
    return projection["phase"], projection["error"]


def counted_events(read_model: Path) -> list[int]:
    try:
        return [n for (n,) in rows(read_model, "select events from popularity")]
    except Exception:
        return []

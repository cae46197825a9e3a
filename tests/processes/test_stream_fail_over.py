"""Two nodes of one journal that serve the same stream: one loses its power, the other serves on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.processes.running import Running, running, shop
from tests.processes.shop import Add, Added, Counter
from tests.processes.test_node_streams import Sums, sums
from tests.streams.running import consumers
from thespian_dc.client.api import Client
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.settings import Projection, Remote, Stream
from thespian_dc.node import Node
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
ENTITIES, EACH = 20, 100
Command = tuple[str, str, Add, str]


def calls(node: Node) -> int:
    """As its producer tells, twice a second."""
    return sum(producer.get("calls", 0) for producer in node.status()["producers"])


def have_answered(client: Client, commands: Sequence[Command], lost: Running | None = None) -> None:
    """Send each under its own id until it is acknowledged. lost: loses its power when half are."""
    while commands:
        left = []
        replies = client.ask_many(commands, in_flight=50, timeout_s=2, return_errors=True)
        for number, (command, reply) in enumerate(zip(commands, replies, strict=True)):
            if lost is not None and number == len(commands) // 2:
                lost.kill_all()
                lost = None
            if isinstance(reply, Exception):
                assert isinstance(reply, ThespianDcError), reply
                left.append(command)
        commands = left


def test_a_stream_goes_on_at_another_node_of_its_journal(tmp_path: Path) -> None:
    """In the midst of commands; what the lost node wrote and what its heir writes is handled once
    each."""
    first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    serving: dict[str, Any] = {"streams": [Stream("counters", Counter)]}
    source = Remote("counters", f"ipv4:{first},{second}", plaintext_beyond_loopback=True)
    read_model = tmp_path / "read.db"
    projection = Projection("far", source, Sums, f"sqlite:///{read_model}", [Added])
    commands = [("counter", f"k-{n % ENTITIES}", Add(1), f"id-{n}") for n in range(ENTITIES * EACH)]
    with running() as lost, running() as heir, consumers() as consume:
        served_by = lost.start(shop(tmp_path, listen=first, **serving))
        consumer = consume(projection)
        eventually(lambda: calls(served_by) == 1, deadline_s=60)
        other = heir.start(shop(tmp_path, listen=second, **serving))
        with Client.connect(heir.system, "shop") as client:
            have_answered(client, commands[:ENTITIES])
            eventually(lambda: len(sums(read_model)) == ENTITIES, deadline_s=60)
            have_answered(client, commands[ENTITIES:], lost)
        eventually(lambda: calls(other) == 1, deadline_s=60)
        expected = {f"k-{n}": (EACH, EACH) for n in range(ENTITIES)}
        eventually(lambda: sums(read_model) == expected, deadline_s=60)
        assert consumer.ask("status").restarts == 0

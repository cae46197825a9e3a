"""A handler that does not return: the status says which process stands still, and neither calls it
ended nor counts a restart."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes.running import hosts, running, shop
from tests.processes.shop import Add, Counter
from thespian_dc.client.api import Client
from thespian_dc.node import Node
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Stand:
    """Stand still until `until` is there."""

    until: Path


class Still(Counter):
    entity_type = "still"

    def receiveMsg_Stand(self, command: Stand, sender: Any) -> None:
        eventually(command.until.exists, 4 * PATIENCE_S)


def seen(node: Node) -> tuple[str, int, int]:
    [host] = hosts(node)
    return host["state"], host["pid"], host["restarts"]


def test_a_host_that_stands_still_is_called_silent_until_it_goes_on_or_is_ended(
    tmp_path: Path,
) -> None:
    """Who operates it finds the pid there, and ends it; then another one begins."""
    first, second = tmp_path / "first", tmp_path / "second"
    with running() as one:
        node = one.start(shop(tmp_path, entities=[Still], hosts=1))
        with Client.connect(one.system, "shop") as client:
            entity = client.entity("still", "a")
            assert entity.ask(Add(1), PATIENCE_S) == 1
            _, pid, _ = seen(node)
            entity.tell(Stand(first))
            eventually(lambda: seen(node) == ("silent", pid, 0), PATIENCE_S)
            first.touch()
            eventually(lambda: seen(node) == ("up", pid, 0), PATIENCE_S)
            assert entity.ask(Add(1), PATIENCE_S) == 2

            entity.tell(Stand(second))
            eventually(lambda: seen(node) == ("silent", pid, 0), PATIENCE_S)
            os.kill(pid, signal.SIGKILL)
            second.touch()
            state, another, restarts = eventually(
                lambda: (found := seen(node))[0] == "up" and found, PATIENCE_S
            )
            assert (state, another != pid, restarts) == ("up", True, 1)
            assert entity.ask(Add(1), PATIENCE_S) == 3
        one.record()

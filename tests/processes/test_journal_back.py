"""A host that is started while its journal is away comes up when the journal is back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.processes.running import hosts, running, shop
from tests.processes.shop import Add, Get
from thespian_dc.client.api import Client
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]


def test_a_host_that_could_not_open_the_journal_is_tried_again(tmp_path: Path) -> None:
    """A server that is down for a minute must not cost a host for good. Found by killing hosts and
    Cassandra by turns."""
    here, away = tmp_path / "here", tmp_path / "away"
    here.mkdir()
    with running() as one:
        node = one.start(shop(here))
        with Client.connect(one.system, "shop") as client:
            assert client.entity("counter", "a").ask(Add(1), timeout_s=20) == 1
            [host] = hosts(node)
            here.rename(away)
            os.kill(host["pid"], signal.SIGKILL)
            eventually(lambda: hosts(node)[0]["state"] == "failed", deadline_s=30)
            away.rename(here)
            assert client.entity("counter", "a").ask(Get(), timeout_s=40) == (1, 1)
        one.record()

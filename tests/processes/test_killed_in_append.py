"""A host on SQLite is killed while an append of it is in flight."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes.running import hosts, running, shop
from tests.processes.shop import Add, Counter, Get
from thespian_dc.client.api import Client
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.ids import SLICES_DEFAULT, SliceKey, slice_of
from thespian_dc.model.record import Commit
from thespian_dc.node import Node
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
KEY = SliceKey("till", slice_of("a", SLICES_DEFAULT))
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Stand:
    """Touch `entered`, and stand still until `until` is there."""

    entered: Path
    until: Path


class Till(Counter):
    """While a handler of it stands still, so does its host: what the journal has done is not told
    to anybody."""

    entity_type = "till"

    def receiveMsg_Stand(self, command: Stand, sender: Any) -> None:
        command.entered.touch()
        eventually(command.until.exists, PATIENCE_S)


class Asking:
    """Adds 1 to "a", under an id, as often as it takes until it is acknowledged."""

    def __init__(self, client: Client, pool: ThreadPoolExecutor) -> None:
        self._client, self._pool = client, pool

    def begin(self, command_id: str) -> Future[int]:
        return self._pool.submit(self._ask, command_id)

    def _ask(self, command_id: str) -> int:
        found: list[int] = []

        def answered() -> bool:
            try:
                found.append(self._client.entity("till", "a").ask(Add(1), 10, command_id))
            except ThespianDcError:
                return False
            return True

        eventually(answered, PATIENCE_S)
        return found[0]


@contextmanager
def nobody_writes(database: Path) -> Iterator[None]:
    """The file's write lock is held: appends wait."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=30)
    try:
        connection.execute("begin immediate")
        yield
        connection.execute("rollback")
    finally:
        connection.close()


def has_in_hand(node: Node) -> bool:
    """Its host has handled a command whose append waits for the lock."""
    [host] = hosts(node)
    return (host.get("open_commands"), host.get("recovering")) == (1, 0)


def log_of(journal: Journal) -> list[Commit]:
    return journal.read(KEY, 0)


def test_an_append_in_flight_when_its_host_is_killed_counts_once(tmp_path: Path) -> None:
    """The log has it, and nobody was told: sent again under its id it is acknowledged, as what it
    was, and stands in the log once."""
    database = tmp_path / "shop.db"
    standing, killed = tmp_path / "standing", tmp_path / "killed"
    with running() as one, ThreadPoolExecutor() as pool:
        node = one.start(shop(tmp_path, entities=[Till], hosts=1))
        journal = open_journal(f"sqlite:///{database}")
        with Client.connect(one.system, "shop") as client:
            asking = Asking(client, pool)
            assert [asking.begin(f"first-{n}").result() for n in range(3)] == [1, 2, 3]
            with nobody_writes(database):
                untold = asking.begin("in flight")
                eventually(lambda: has_in_hand(node))
                client.entity("till", "b").tell(Stand(standing, killed))
                eventually(standing.exists)
                assert log_of(journal)[-1].end_offset == 3
            eventually(lambda: log_of(journal)[-1].end_offset == 4)
            assert not untold.done()
            os.kill(hosts(node)[0]["pid"], signal.SIGKILL)
            killed.touch()
            assert [untold.result(), asking.begin("last").result()] == [4, 5]
            assert client.entity("till", "a").ask(Get(), 30) == (5, 5)
        one.record()
        commits = log_of(journal)
        journal.close()
    assert [commit.count for commit in commits] == [1] * 5
    was, is_ = commits[0].epoch, commits[4].epoch
    assert [commit.epoch for commit in commits] == [was] * 4 + [is_]
    assert was < is_, "the killed owner's last commit was in flight"

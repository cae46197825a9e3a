"""Who brings back what, and two nodes that share a journal. What becomes of commands when hosts and
nodes die or stand still: test_chaos_*.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest

from tests.processes.running import hosts, owned, pids, running, shop
from tests.processes.shop import Add, Get
from thespian_dc.client.api import Client
from thespian_dc.journal.api import open_journal
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.node import Node
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
SLICES = 16


class Load:
    """Adds 1 to each of `entities` counters in turn, each command sent until it is acknowledged,
    under one id; a second time too now and then."""

    def __init__(self, client: Client, entities: int = 40, in_flight: int = 200) -> None:
        self._client, self._entities, self._in_flight = client, entities, in_flight
        self.acknowledged = self.sent = self.unknown = 0
        self._stop, self._thread = Event(), Thread(target=self._run)
        self.failed: BaseException | None = None

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive()
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._round()
        except BaseException as failed:
            self.failed = failed

    def _round(self) -> None:
        first = self.sent
        open_ = list(range(first, first + self._in_flight))
        self.sent += len(open_)
        again = [n for n in open_ if n % 7 == 0]  # sent a second time although acknowledged
        while open_:
            got = list(self._client.ask_many(
                [self._command(n) for n in open_ + again],
                self._in_flight * 2, timeout_s=5, return_errors=True,
            ))  # fmt: skip
            failed = [
                n for n, reply in zip(open_, got, strict=False) if isinstance(reply, Exception)
            ]
            for reply in got:
                assert not isinstance(reply, Exception) or isinstance(reply, ThespianDcError), reply
            self.unknown += len(failed)
            self.acknowledged += len(open_) - len(failed)
            open_, again = failed, []

    def _command(self, number: int) -> tuple[str, str, Any, str]:
        return "counter", f"k-{number % self._entities}", Add(1), f"id-{number}"

    def check(self, client: Client) -> None:
        """Each entity counts what was acknowledged, once."""
        total = 0
        for n in range(self._entities):
            sum_, events = client.entity("counter", f"k-{n}").ask(Get(), timeout_s=30)
            assert sum_ == events
            total += sum_
        assert total == self.acknowledged == self.sent


@contextmanager
def clients(*systems: Any) -> Iterator[list[Client]]:
    found = [Client.connect(one, "shop") for one in systems]
    try:
        yield found
    finally:
        for one in found:
            one.close()


def _progress(load: Load, more: int = 400) -> Callable[[], bool]:
    goal = load.acknowledged + more
    return lambda: load.acknowledged >= goal or load.failed is not None


def test_the_coordinator_comes_back_and_knows_its_leaves(tmp_path: Path) -> None:
    """Commands need no coordinator; a leaf that misses it brings it back, under the same node."""
    with running() as one:
        node = one.start(shop(tmp_path, hosts=2))
        before = node.status()
        with clients(one.system) as (client,):
            client.entity("counter", "c").ask(Add(1), timeout_s=30)
            os.kill(before["coordinator"]["pid"], signal.SIGKILL)
            assert client.entity("counter", "c").ask(Add(1), timeout_s=30) == 2

            def same() -> bool:
                after = _status(node)
                return (
                    bool(after)
                    and after["node_id"] == before["node_id"]
                    and {h["pid"] for h in after["hosts"]} == {h["pid"] for h in before["hosts"]}
                )

            eventually(same, deadline_s=30)
            os.kill(hosts(node)[0]["pid"], signal.SIGKILL)
            eventually(
                lambda: (
                    all(h["pid"] for h in hosts(node))
                    and {h["pid"] for h in hosts(node)} != {h["pid"] for h in before["hosts"]}
                ),
                deadline_s=30,
            )
            assert client.entity("counter", "c").ask(Add(1), timeout_s=20) == 3
        one.record()


def test_orphans_end_by_themselves(tmp_path: Path) -> None:
    """Without an Admin nobody could stop or replace them."""
    with running() as one:
        node = one.start(shop(tmp_path, hosts=2))
        leaves = pids(node)
        os.kill(one.admin, signal.SIGKILL)
        eventually(lambda: not leaves & one.alive(), deadline_s=60)
        one.kill_all()


def test_two_nodes_share_the_slices_of_one_journal(tmp_path: Path) -> None:
    """Each serves half; a client of either reaches all (NotOwner is followed), and once they have
    settled nobody takes a slice from the other."""
    with running() as left, running() as right:
        nodes = [left.start(shop(tmp_path)), right.start(shop(tmp_path))]
        eventually(lambda: owned(*nodes) == [8, 8], deadline_s=60)
        with clients(left.system, right.system) as (one, two), Load(one) as load:
            eventually(_progress(load), deadline_s=60)
            assert two.entity("counter", "k-1").ask(Get(), timeout_s=30)[0] > 0
            eventually(lambda: _moved_per_s(tmp_path, load) < 1, deadline_s=90)
            load.stop()
            load.check(two)


def _moved_per_s(folder: Path, load: Load) -> float:
    """How many slices changed hands a second, while some thousand commands were handled."""
    epochs, began = _epochs(folder), monotonic()
    eventually(_progress(load, 1500), deadline_s=60)
    moved = sum(now - then for then, now in zip(epochs, _epochs(folder), strict=True))
    return moved / max(1.0, monotonic() - began)


def _status(node: Node) -> dict[str, Any]:
    try:
        return node.status()
    except ThespianDcError:
        return {}


def _epochs(folder: Path) -> list[int]:
    journal = open_journal(f"sqlite:///{folder}/shop.db")
    try:
        owners = journal.owners("counter")
        return [owners[n].epoch if n in owners else 0 for n in range(SLICES)]
    finally:
        journal.close()

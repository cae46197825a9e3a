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
STEADY_S = WINDOW_S = 5.0
STILL_S = 1.25
"""Others, who look every half a second, take a host for dead whose beat stands still for 1.75 s."""


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
    """Each serves half; a client of either reaches all (NotOwner is followed); and after five
    seconds of steady load less than one append a second meets a conflict."""
    with running() as left, running() as right:
        nodes = [left.start(shop(tmp_path)), right.start(shop(tmp_path))]
        eventually(lambda: owned(*nodes) == [8, 8], deadline_s=60)
        with clients(left.system, right.system) as (one, two), Load(one) as load:
            eventually(_progress(load), deadline_s=60)
            assert two.entity("counter", "k-1").ask(Get(), timeout_s=30)[0] > 0
            assert _conflicts_of_steady_load(tmp_path, nodes, load) / WINDOW_S < 1
            load.stop()
            load.check(two)


def _conflicts_of_steady_load(folder: Path, nodes: list[Node], load: Load) -> int:
    """In WINDOW_S that follow STEADY_S. A host whose beat stands still for STILL_S, as on a machine
    that does too much else, may rightly be taken for dead, and its slices move: such a load is not
    steady, and what steady load shows is looked at afterwards."""
    until = monotonic() + 150
    while monotonic() < until:
        if _stood_still_s(folder, load, STEADY_S) > STILL_S:
            continue
        before = _conflicts(nodes)
        if _stood_still_s(folder, load, WINDOW_S) <= STILL_S:
            return _conflicts(nodes) - before
    raise AssertionError("hosts stood still again and again: this machine has no steady load")


def _stood_still_s(folder: Path, load: Load, for_s: float) -> float:
    """The longest time in which a host's beat stood still, or nobody looked; the load goes on."""
    looked = began = monotonic()
    moved: dict[str, tuple[int, float]] = {}
    longest, acknowledged = 0.0, load.acknowledged
    journal = open_journal(f"sqlite:///{folder}/shop.db")

    def over() -> bool:
        nonlocal looked, longest
        members, now = journal.members(), monotonic()
        for member in members:
            beat, since = moved.get(member.member_id, (-1, looked))
            longest = max(longest, now - since)
            if beat != member.beat:
                moved[member.member_id] = member.beat, now
        if len(members) < 2:  # one was taken for dead, and forgotten
            longest = for_s
        looked = now
        return now - began >= for_s or load.failed is not None

    try:
        eventually(over, deadline_s=for_s + 60, every_s=0.1)
    finally:
        journal.close()
    assert load.acknowledged > acknowledged
    return longest


def _conflicts(nodes: list[Node]) -> int:
    """Appends that met another (head, epoch) than they were made for, of all hosts so far."""
    return sum(host["counts"]["conflicts"] for node in nodes for host in hosts(node))


def _status(node: Node) -> dict[str, Any]:
    try:
        return node.status()
    except ThespianDcError:
        return {}

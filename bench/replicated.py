"""Replicas for benchmarks: the same accounts in several nodes, each with an actor system and a
SQLite journal of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from thespian.actors import ActorSystem

from bench.cpu import cpu_of
from bench.entities import Account
from bench.world import free_port
from thespian_dc import Node, Peer, ReplicatedEventSourcedActor, Replication, Settings
from thespian_dc.journal.api import open_journal
from thespian_dc.model.ids import SliceKey

LOOK_S = 0.02
CAUGHT_UP_S = 300.0


class ReplicatedAccount(Account, ReplicatedEventSourcedActor):
    """The same, replicated: amounts add up in any order."""


class Replica:
    """One replica's settings, and its node while it runs. peers: (id, target), "" for one that it
    does not dial."""

    def __init__(
        self, path: Path, name: str, peers: Sequence[tuple[str, str]], port: int = 0, hosts: int = 1
    ) -> None:
        self.name, self.port = name, port or free_port()
        self.settings = Settings(
            f"bench-{name}", journal=f"sqlite:///{path / name}.db", entities=[ReplicatedAccount],
            listen=f"127.0.0.1:{self.port}", hosts=hosts,
            replication=[
                Replication(ReplicatedAccount, name, [Peer(*one) for one in peers])
            ],
        )  # fmt: skip
        self.node: Node
        self._journal: Any = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self, system: ActorSystem) -> Iterator[Node]:
        """Its node; for a client beside it use `bench.world.serving`."""
        self.find_node(system)
        try:
            yield self.node
        finally:
            self.node.stop()

    def find_node(self, system: ActorSystem) -> None:
        """Start it, or find the one that runs with these settings."""
        self.node = Node.start(system, self.settings)

    def events(self) -> int:
        """In its journal."""
        if self._journal is None:
            self._journal = open_journal(self.settings.journal)
        count = self._journal.slice_counts().get("account", 0)
        heads = (self._journal.find_head(SliceKey("account", n)).head for n in range(count))
        return sum(heads)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far of what it consists of, by role."""
        roles = ("hosts", "producers", "replication")
        status = self.node.status()
        return cpu_of({role: [one["pid"] for one in status[role]] for role in roles})


def wait_for(fact: Callable[[], bool], what: str) -> float:
    """The moment at which it is so, on time.perf_counter."""
    until = time.perf_counter() + CAUGHT_UP_S
    while not fact():
        if time.perf_counter() > until:
            raise TimeoutError(f"not within {CAUGHT_UP_S:.0f} s: {what}")
        time.sleep(LOOK_S)
    return time.perf_counter()


def us_per_event(
    before: dict[str, float], after: dict[str, float], events: int
) -> dict[str, float]:
    """What it took of CPU, by role."""
    return {role: round((after[role] - before[role]) / events * 1e6, 1) for role in before}

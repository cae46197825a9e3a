"""A node in an actor system of its own, for one benchmark; everything ends with the `with`
block."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thespian.actors import ActorSystem

from bench.entities import TEXT, Add
from bench.harness import ROUNDS, digest, must_equal, percentiles_ms
from thespian_dc import Client, Node, Settings
from thespian_dc.journal.api import apply_schema, open_journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import records_of

SAMPLE_EVERY = 50
CORES = os.cpu_count() or 1
"""A host keeps one core busy: where a bench asks what a node can do, it has one for each core."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="thespian_dc_bench_"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def actor_system() -> Iterator[ActorSystem]:
    system = ActorSystem("multiprocTCPBase", {"Admin Port": free_port()}, transientUnique=True)
    try:
        yield system
    finally:
        system.shutdown()


@contextlib.contextmanager
def serving(system: ActorSystem, settings: Settings) -> Iterator[Client]:
    """The node's client, once it answers."""
    node = Node.start(system, settings)
    client = Client.connect(system, service=settings.service, timeout_s=30)
    try:
        yield client
    finally:
        client.close()
        node.stop()


def node_of(system: ActorSystem, settings: Settings) -> Node:
    """The node that `serving` started: starting it again with the same settings finds it."""
    return Node.start(system, settings)


class Load:
    """Commands for `entities` accounts, round-robin; remembers what it sent, to compare at the
    end."""

    def __init__(self, client: Client, entities: int, prefix: str = "a") -> None:
        self.client = client
        self.ids = [f"{prefix}-{n}" for n in range(entities)]
        self.sent: Counter[str] = Counter()
        self.count = 0
        self.sampled: defaultdict[int, list[list[float]]] = defaultdict(list)
        """Seconds from submit to reply of every SAMPLE_EVERY-th command, by in_flight, a list per
        call of `rate`."""

    def commands(self, seconds: float, sent_s: deque[float]) -> Iterator[tuple[str, str, Any]]:
        until = time.perf_counter() + seconds
        for number in itertools.count():
            now = time.perf_counter()
            if now >= until:
                return
            if number % SAMPLE_EVERY == 0:
                sent_s.append(now)
            entity_id = self.ids[self.count % len(self.ids)]
            self.count += 1
            self.sent[entity_id] += 1
            yield "account", entity_id, Add(TEXT, 1)

    def rate(self, in_flight: int, seconds: float) -> float:
        """Commands acknowledged per second, each by its own reply."""
        taken: list[float] = []
        sent_s: deque[float] = deque()  # bounded by what is in flight
        started, answered = time.perf_counter(), 0
        for _ in self.client.ask_many(
            self.commands(seconds, sent_s), in_flight=in_flight, timeout_s=60
        ):
            if answered % SAMPLE_EVERY == 0:
                taken.append(time.perf_counter() - sent_s.popleft())
            answered += 1
        self.sampled[in_flight].append(taken)
        return answered / (time.perf_counter() - started)

    def latency(self, in_flight: int) -> dict[str, float]:
        """p50 and p99 of the calls of `rate` that were not its warm-up."""
        return percentiles_ms(itertools.chain(*self.sampled[in_flight][-ROUNDS:]))


def check(journal_url: str, load: Load) -> None:
    """Totals and (entity, last seq_nr) in the journal are what was sent and acknowledged."""
    journal, last = open_journal(journal_url), dict[str, int]()
    try:
        for number in range(journal.slice_counts()["account"]):
            key, offset = SliceKey("account", number), 0
            while commits := journal.read(key, offset):
                for commit in commits:
                    for record in records_of(commit):
                        if record.entity_id in load.sent:
                            last[record.entity_id] = record.seq_nr
                offset = commits[-1].end_offset
    finally:
        journal.close()
    must_equal("commands stored", sum(load.sent.values()), sum(last.values()))
    must_equal("hash of (entity, last seq_nr)", digest(load.sent), digest(last))


def synchronous_of(journal_url: str) -> int:
    """The setting as a connection of this journal reads it back; 2 is FULL."""
    journal: Any = open_journal(journal_url)
    try:
        return int(journal._db.connection().execute("pragma synchronous").fetchone()[0])
    finally:
        journal.close()


class Server:
    """A Cassandra of this benchmark's own, and a session on it."""

    def __init__(self, port: int, commitlog_sync: str, pid: int) -> None:
        from cassandra.cluster import Cluster

        self.pid = pid
        self.commitlog_sync = commitlog_sync
        self.cluster = Cluster(["127.0.0.1"], port=port)
        self.session: Any = self.cluster.connect()


@contextlib.contextmanager
def cassandra(commitlog_sync: str = "periodic") -> Iterator[tuple[Server, str]]:
    """A fresh server and the URL of an empty journal in its keyspace `bench`."""
    from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra

    with EmbeddedCassandra(commitlog_sync=commitlog_sync) as running:
        url = running.url("bench")
        apply_schema(url)
        server = Server(running.port, commitlog_sync, running.pid)
        try:
            yield server, url
        finally:
            server.cluster.shutdown()

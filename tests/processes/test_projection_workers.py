"""Workers of a projection in real processes: rescaled, killed, in two nodes. No event is lost or
handled twice."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.running import Running, running
from tests.sleeping import send_to_sleep
from tests.streams.material import ENTITY_TYPE, Added, CountItems, Writer
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.projection_errors import (
    NoPositionsError,
    UnknownProjectionError,
    WishRefusedError,
)
from thespian_dc.model.settings import Local, Projection, Settings
from thespian_dc.node import Node
from thespian_dc.projection.api import ProjectionHandler, Transaction
from thespian_dc.projection.management import Projections
from thespian_dc.testkit.eventually import eventually, never

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
NAME = "popularity"
NOTES = "WORKERS_TEST_NOTES"
ENTITIES = 32


class CountByWorker(CountItems):
    """Also which process handled it. An event that comes twice breaks `unique` of `seen`."""

    tables = (
        CountItems.tables
        + "create table if not exists handled(pid integer primary key, n integer not null);"
    )

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        super().handle(event, tx)
        tx.execute(
            "insert into handled values (?, 1) on conflict (pid) do update set n = n + 1",
            (os.getpid(),),
        )

    def rebuild(self, tx: Transaction) -> None:
        for table in ("popularity", "seen", "handled"):
            tx.execute(f"delete from {table}")


class WriteDown(ProjectionHandler):
    """Effects outside of any transaction: a line per event in a file per process."""

    def start(self) -> None:
        path = Path(os.environ[NOTES]) / f"{os.getpid()}.txt"
        self.file = path.open("a", encoding="ascii", buffering=1)

    def handle(self, event: Envelope[Added]) -> None:
        self.file.write(f"{event.entity_id} {event.seq_nr}\n")

    def stop(self) -> None:
        self.file.close()


class Flow:
    """Events that come, and what is counted of them."""

    def __init__(self, folder: Path) -> None:
        self.writer = Writer(f"sqlite:///{folder}/journal.db", slices=8)
        self.read_model = folder / "read.db"
        self.manage = Projections(f"sqlite:///{self.read_model}")
        self.written = 0

    def add(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.writer.add([(f"c-{i}", Added("apple", 1)) for i in range(ENTITIES)])
            self.written += ENTITIES

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.read_model, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()

    def is_counted(self) -> bool:
        """Every event once: `seen` is unique by (entity, seq_nr)."""
        seen = self.rows("select count(*) from seen")
        return self.rows("select n from popularity") == [(self.written,)] == seen

    def shares(self) -> list[int]:
        """How many slices each living worker holds; none as long as no projection ever began."""
        try:
            workers = self.manage.status(NAME).workers
        except (NoPositionsError, UnknownProjectionError):
            return []
        return sorted(len(one.slices) for one in workers if one.lives)

    def pids(self) -> dict[int, str]:
        return {one.pid: one.worker for one in self.manage.status(NAME).workers if one.lives}


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    made = Flow(tmp_path)
    made.add()
    yield made
    made.writer.close()


def start(one: Running, flow: Flow, workers: int = 1) -> Node:
    node = one.start(settings(flow, CountByWorker, workers=workers))
    eventually(flow.is_counted, 30)
    return node


def settings(flow: Flow, handler: type, **more: Any) -> Settings:
    source = Local(ENTITY_TYPE, f"sqlite:///{flow.read_model.parent}/journal.db")
    projection = Projection(NAME, source, handler, f"sqlite:///{flow.read_model}", [Added], **more)
    return Settings("ranking", journal=source.journal, projections=[projection])


def keep_adding(flow: Flow, until: Any, deadline_s: float = 30) -> None:
    """Events flow all the while."""

    def step() -> Any:
        flow.add()
        return until()

    eventually(step, deadline_s)


def test_rescaled_while_events_flow(flow: Flow) -> None:
    """One worker, then three, then two: slices move between transactions, all are counted once,
    and every worker handled some."""
    with running() as one:
        node = start(one, flow)
        for workers, shares in ((3, [2, 3, 3]), (2, [4, 4])):
            flow.manage.rescale(NAME, workers)
            keep_adding(flow, lambda shares=shares: flow.shares() == shares)
            one.record()
            before = dict(flow.rows("select pid, n from handled"))
            flow.add(5)
            eventually(flow.is_counted, 30)
            now = dict(flow.rows("select pid, n from handled"))
            worked = {pid for pid, n in now.items() if n > before.get(pid, 0)}
            assert worked == set(flow.pids())

        def restarts() -> list[int]:
            leaves = node.status()["consumers"]  # without facts until they have reported
            return [one["restarts"] for leaf in leaves for one in leaf.get("projections", ())]

        eventually(lambda: len(restarts()) == 2, 60)
        assert restarts() == [0, 0], "a slice was taken from a worker that served it"
        flow.manage.rescale(NAME, None)
        keep_adding(flow, lambda: flow.shares() == [8])
        eventually(flow.is_counted, 30)


def test_rescaling_repeats_nothing_even_without_a_transaction(
    flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At-least-once: a slice is given up between two batches, so its events come once each."""
    monkeypatch.setenv(NOTES, str(tmp_path))

    def noted() -> list[str]:
        return [line for file in tmp_path.glob("*.txt") for line in file.read_text().splitlines()]

    with running() as one:
        one.start(settings(flow, WriteDown, delivery="at-least-once"))
        eventually(lambda: flow.shares() == [8])
        for workers, shares in ((3, [2, 3, 3]), (1, [8]), (2, [4, 4])):
            flow.manage.rescale(NAME, workers)
            keep_adding(flow, lambda shares=shares: flow.shares() == shares)
            one.record()
        eventually(lambda: len(set(noted())) == flow.written, 30)
        assert len(noted()) == flow.written
        assert len(list(tmp_path.glob("*.txt"))) >= 3


def test_a_killed_workers_slices_are_taken_over(flow: Flow) -> None:
    """By the others at once, and given to its successor of the same name."""
    with running() as one:
        start(one, flow, workers=2)
        keep_adding(flow, lambda: flow.shares() == [4, 4])
        one.record()
        pids = flow.pids()
        victim = next(pid for pid, worker in pids.items() if worker.endswith("/1"))
        os.kill(victim, signal.SIGKILL)
        flow.add(3)
        eventually(flow.is_counted, 30)
        keep_adding(flow, lambda: flow.shares() == [4, 4])
        one.record()
        assert victim not in flow.pids()
        assert set(flow.pids().values()) == set(pids.values())
        eventually(flow.is_counted, 30)


def test_a_sleeping_worker_that_comes_back_moves_nothing(flow: Flow) -> None:
    """SIGSTOP: the others take its slices for dead; awake again it finds its epoch gone."""
    with running() as one:
        start(one, flow, workers=2)
        keep_adding(flow, lambda: flow.shares() == [4, 4])
        one.record()
        sleeper = next(pid for pid, worker in flow.pids().items() if worker.endswith("/1"))
        send_to_sleep(sleeper, flow.read_model)
        try:
            flow.add(3)
            eventually(flow.is_counted, 30)
        finally:
            os.kill(sleeper, signal.SIGCONT)
        flow.add(3)
        eventually(flow.is_counted, 30)
        keep_adding(flow, lambda: flow.shares() == [4, 4])
        eventually(flow.is_counted, 30)
        never(lambda: not flow.is_counted(), within_s=0.3)


def test_two_nodes_share_a_projection(flow: Flow) -> None:
    """Each has its workers; when one ends, the other serves all."""
    with running() as one:
        start(one, flow)
        with running() as other:
            start(other, flow, workers=2)
            keep_adding(flow, lambda: flow.shares() == [2, 3, 3])
            other.record()
            eventually(flow.is_counted, 30)
        keep_adding(flow, lambda: flow.shares() == [8])
        eventually(flow.is_counted, 30)


def test_a_rebuild_with_workers_begins_everywhere_at_zero(flow: Flow) -> None:
    """All slices come to one worker, which empties the tables; then they spread again."""
    with running() as one:
        start(one, flow, workers=3)
        keep_adding(flow, lambda: flow.shares() == [2, 3, 3])
        one.record()
        eventually(flow.is_counted, 30)
        flow.manage.rebuild(NAME)
        keep_adding(flow, lambda: flow.shares() == [2, 3, 3])
        eventually(flow.is_counted, 30)
        eventually(lambda: flow.manage.status(NAME).phase == "running")
        with pytest.raises(WishRefusedError, match="positions of slices 0, 1, 2"):
            flow.manage.skip(NAME, 8, 0)

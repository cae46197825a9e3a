"""Workers of a projection whose positions and rows are in Cassandra, rescaled by their node while
events flow: no event is lost or handled twice."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cassandra")

from tests.processes.running import running
from tests.processes.test_projection_workers import NAME, Flow, keep_adding
from tests.streams.material import ENTITY_TYPE, Added
from thespian_dc.model.settings import Local, Projection, Settings
from thespian_dc.projection.api import CassandraProjectionHandler
from thespian_dc.projection.cassandra.read import SinkReader
from thespian_dc.projection.cassandra.schema import apply_schema
from thespian_dc.projection.management import Projections
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.cassandra, pytest.mark.processes, pytest.mark.timeout(240)]
BY = "by "


class LastByWorker(CassandraProjectionHandler):
    """The last seq_nr of each entity, and how many events each process handled. One that comes
    twice, or before those ahead of it, is refused."""

    def handle(self, event: Any, tx: Any) -> None:
        last = tx.get(event.entity_id) or 0
        if event.seq_nr != last + 1:  # an assert is other code in pytest than in its workers
            raise ValueError(f"{event.entity_id}: {event.seq_nr} after {last}")
        tx.put(event.entity_id, event.seq_nr)
        worker = f"{BY}{os.getpid()}"
        tx.put(worker, (tx.get(worker) or 0) + 1)


class CassandraFlow(Flow):
    """What is counted is in a keyspace."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder)
        self.url, self.manage, self.reader = url, Projections(url), SinkReader(url)

    def handled(self) -> dict[int, int]:
        """By process."""
        found = Counter[int]()
        for (_, key), count in self.reader.rows(NAME).items():
            if key.startswith(BY):
                found[int(key.removeprefix(BY))] += count
        return found

    def is_counted(self) -> bool:
        last = {key: seq_nr for (_, key), seq_nr in self.reader.rows(NAME).items() if BY not in key}
        return last == self.writer.seq_nrs and sum(self.handled().values()) == self.written


@pytest.fixture
def flow(tmp_path: Path, cassandra: Any) -> Iterator[CassandraFlow]:
    url = cassandra.url(f"w_{uuid.uuid4().hex[:12]}")
    apply_schema(url)
    made = CassandraFlow(tmp_path, url)
    made.add()
    yield made
    made.reader.close()
    made.writer.close()


def test_rescaled_while_events_flow(flow: CassandraFlow) -> None:
    """One worker, then three, then two: each serves its share and handled some, nobody's run is
    ended by another's claim."""
    source = Local(ENTITY_TYPE, f"sqlite:///{flow.read_model.parent}/journal.db")
    counting = Projection(NAME, source, LastByWorker, flow.url, [Added])
    with running() as one:
        node = one.start(Settings("ranking", journal=source.journal, projections=[counting]))
        eventually(flow.is_counted, 30)
        for workers, shares in ((3, [2, 3, 3]), (2, [4, 4])):
            flow.manage.rescale(NAME, workers)
            keep_adding(flow, lambda shares=shares: flow.shares() == shares, 60)
            one.record()
            eventually(flow.is_counted, 60)
            before = flow.handled()
            flow.add(3)
            eventually(flow.is_counted, 60)
            now = flow.handled()
            worked = {pid for pid, count in now.items() if count > before.get(pid, 0)}
            assert worked == set(flow.pids())

        def restarts() -> list[int]:
            leaves = node.status()["consumers"]  # without facts until they have reported
            return [one["restarts"] for leaf in leaves for one in leaf.get("projections", ())]

        eventually(lambda: len(restarts()) == 2, 60)
        assert restarts() == [0, 0], "a slice was taken from a worker that served it"

"""SIGKILL of either end of a push, at random points, while events flow: all is in the destination's
log, once, in order."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import Writer, counted, projection, rows
from tests.streams.pushing import FAR_TYPE, Ends, stored
from tests.streams.test_kills import Load, in_order
from thespian_dc.model.settings import Local
from thespian_dc.projection.api import RunningProjection, local_source, start_projection
from thespian_dc.stream import push_core as key
from thespian_dc.testkit.eventually import eventually

pytestmark = pytest.mark.processes
CASSANDRA, SOAK = pytest.mark.cassandra, pytest.mark.soak


@pytest.fixture
def reading(far_url: str, tmp_path: Path, ends: Ends) -> Iterator[RunningProjection]:
    """An ordinary projection of what the destination writes."""
    running = start_projection(
        projection(tmp_path / "read.db", Local(FAR_TYPE)),
        lambda: local_source(Local(FAR_TYPE), far_url),
    )
    yield running
    assert running.stop()


def has_more_than(read_model: Path, handled: int) -> bool:
    return sum(counted(read_model).values()) > handled


def is_past(monotonic_s: float) -> bool:
    return time.monotonic() > monotonic_s


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("far_url", "which", "kills"),
    [
        ("sqlite", "far", 6),
        ("sqlite", "shop", 6),
        pytest.param("cassandra", "far", 3, marks=CASSANDRA),
        pytest.param("cassandra", "far", 30, marks=[CASSANDRA, SOAK]),
        pytest.param("cassandra", "shop", 30, marks=[CASSANDRA, SOAK]),
    ],
    indirect=["far_url"],
)
def test_either_end_killed_at_random_points(
    writer: Writer, far_url: str, tmp_path: Path, ends: Ends, reading: Any, which: str, kills: int
) -> None:
    """Kills while commits are made, positions stored and acknowledgements under way."""
    read_model = tmp_path / "read.db"
    load, rng = Load(writer, 2000), random.Random(7)
    for _ in range(kills):
        eventually(partial(has_more_than, read_model, sum(counted(read_model).values())), 60)
        eventually(partial(is_past, time.monotonic() + rng.random() * 0.3), every_s=0.001)
        ends.kill(which)
        ends.start(which)
    expected = load.stop()
    eventually(lambda: counted(read_model) == expected, deadline_s=180)
    assert in_order(read_model)
    for one in ("shop", "far"):
        ends.kill(one)
    came: Counter[str] = Counter()
    for entity_id, records in stored(far_url).items():
        metas = [one.meta for one in records]
        assert [meta and meta[key.SEQ_NR] for meta in metas] == list(range(1, len(records) + 1))
        came[entity_id] = len(records)
    assert came == Counter(writer.seq_nrs)
    assert rows(read_model, "select count(*) from seen") == [(came.total(),)]
    print(f"\npush: {kills} kills, {came.total()} events in the log, each once")

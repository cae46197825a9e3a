"""What a status says of what waits: true also while a handler stands still and no batch comes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import ENTITY_TYPE, Added, SumItems, Writer, offsets, projection
from thespian_dc.model.settings import Local, Remote
from thespian_dc.projection.api import RunningProjection, local_source, start_projection
from thespian_dc.stream.client import RemoteSource
from thespian_dc.stream.consumer_core import WINDOW
from thespian_dc.testkit.eventually import eventually

EVENTS = WINDOW.events + 10_000
GOES_ON, STANDS = threading.Event(), threading.Event()


class StandsStill(SumItems):
    """Returns from no event before it may."""

    def handle(self, event: Any, tx: Any) -> None:
        STANDS.set()
        assert GOES_ON.wait(60)
        super().handle(event, tx)


@pytest.fixture
def gate() -> Iterator[None]:
    GOES_ON.clear()
    STANDS.clear()
    yield
    GOES_ON.set()


@pytest.mark.parametrize("far", [False, True])
def test_lag_is_all_that_is_written_and_not_handled(
    gate: None, far: bool, writer: Writer, journal_url: str, serve: Any, consume: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    """More than the window is written while the first event is handled: within a few seconds all of
    it is known to wait, before any of it is handled; and 0 when it is. No call ends for it, and
    nothing is asked for again."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("a", 1))])
    running: RunningProjection
    sources: list[RemoteSource] = []
    if far:
        _, port = serve()
        remote = Remote("carts", f"127.0.0.1:{port}")
        wanted = projection(read_model, remote, handler=StandsStill)
        running, sources = consume(wanted, heartbeat_ms=10_000)
    else:
        local = Local(ENTITY_TYPE, journal_url)
        running = start_projection(
            projection(read_model, local, handler=StandsStill), lambda: local_source(local, "")
        )
    try:
        assert STANDS.wait(20)
        for first in range(0, EVENTS, 1000):
            writer.add([(f"c-{nr % 40}", Added("a", 1)) for nr in range(first, first + 1000)])
        eventually(lambda: running.status().lag == EVENTS + 1, deadline_s=20)
        assert sum(offsets(read_model).values()) == 0
        GOES_ON.set()
        eventually(lambda: sum(offsets(read_model).values()) == EVENTS + 1, deadline_s=60)
        eventually(lambda: running.status().lag == 0)
        assert running.status().restarts == 0
        assert [source.reconnects for source in sources] == [0] * far
    finally:
        GOES_ON.set()
        assert running.stop()

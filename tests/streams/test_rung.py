"""A host's hint wakes the local sources of its node; nothing but it is needed, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.streams.material import Added, Writer, counted, projection
from thespian_dc.projection import local
from thespian_dc.shell.doorbell import Ringer, open_bell
from thespian_dc.stream.consumer import RunningProjections
from thespian_dc.stream.protocol import StartConsumer
from thespian_dc.testkit.eventually import eventually, never

ADDRESS = "127.0.0.1:consumer-under-test"


def test_a_hint_wakes_a_local_source(
    writer: Writer, journal_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a poll per hour, what was written comes when it rings."""
    monkeypatch.setattr(local, "POLL_MS", (3_600_000, 3_600_000))
    read_model, ringer = tmp_path / "read.db", Ringer()
    running = RunningProjections(StartConsumer("shop", journal_url, (projection(read_model),)))
    bell = open_bell(ADDRESS)
    assert bell is not None
    running.listen_to(bell)
    writer.add([("a", Added("x", 1))])
    running.start()
    eventually(lambda: counted(read_model) == {"x": 1} and running.status()[0].lag == 0)
    for total in (2, 3):
        writer.add([("a", Added("x", 1))])
        ringer.ring([ADDRESS], writer.written)
        eventually(lambda total=total: counted(read_model) == {"x": total}, deadline_s=60)
    writer.add([("a", Added("x", 1))])
    never(lambda: counted(read_model) == {"x": 4})
    ringer.close()
    assert running.stop()

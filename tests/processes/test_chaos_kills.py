"""SIGKILL of everything that can be killed, at random points, under load. What was promised holds:
read from the journal, the projection's table and the history of every command, off-line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.processes.chaos.world import PAUSE_S_MAX, RATE_MIN, Evidence, kill_in_turn, world
from tests.processes.running import free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
FULL = pytest.param(10, marks=pytest.mark.soak)


def busy(evidence: Evidence) -> bool:
    """Under load as asked; a laptop that does other things besides may be slower."""
    return evidence.rate() >= RATE_MIN or os.environ.get("THESPIAN_DC_CI") != "1"


@pytest.mark.parametrize("kills", [3, FULL])
def test_hosts_producers_consumers_and_coordinators_are_killed(tmp_path: Path, kills: int) -> None:
    """Each comes back by itself; nothing is lost, doubled, foreign, or out of order."""
    listen, book = f"127.0.0.1:{free_port()}", tmp_path / "book.db"
    with world(tmp_path) as run:
        ledgers = run.ledgers(listen)
        books = run.service(service="books", producer=listen, database=str(book))
        run.load(ledgers)
        victims = {
            "hosts": (ledgers, 2),
            "producers": (ledgers, 1),
            "consumers": (books, 1),
            "coordinator": (ledgers, 1),
        }
        kill_in_turn(run, victims, kills, between=lambda: None)
        evidence = run.judge(book)
    assert busy(evidence)
    assert sum(evidence.in_flight().values()) > 0, "no kill met an append on its way"
    assert max(evidence.pause_s(kill.us) for kill in run.kills) <= PAUSE_S_MAX

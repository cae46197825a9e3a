"""Three replicas over three databases, all written at once, while any of their processes is killed
and any of their links cut: afterwards all are equal, and nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.chaos.mesh import EQUAL_WITHIN_S, mesh
from tests.processes.chaos.world import World, world
from thespian_dc.journal.api import apply_schema
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra

pytestmark = [
    pytest.mark.processes, pytest.mark.cassandra,
    pytest.mark.timeout(3600),
]  # fmt: skip


def journals(folder: Path, cassandra_url: str) -> dict[str, str]:
    apply_schema(cassandra_url)
    return {"a": f"sqlite:///{folder}/a.db", "b": f"sqlite:///{folder}/b.db", "c": cassandra_url}


def run_and_judge(
    run: World, urls: dict[str, str], seconds: float, rate: int,
    server: EmbeddedCassandra | None = None,
) -> None:  # fmt: skip
    with mesh(run, urls, rate, server) as replicas:
        replicas.chaos(seconds)
        healed = replicas.heal()
        replicas.end_loads()
        equal_after_s, shown = replicas.equal_after(healed)
        evidence = replicas.judge(seconds, equal_after_s, shown)
    assert equal_after_s <= EQUAL_WITHIN_S
    assert evidence.rate() >= rate, "a third of what was asked for, outages included"
    assert {"hosts", "producers", "replication", "coordinator", "node"} <= {
        kill.what for kill in run.kills
    }
    assert set(replicas.cut_by_kind) == {"reset", "silent", "silent one way"}


def test_three_replicas_are_killed_and_cut(tmp_path: Path, cassandra_url: str) -> None:
    with world(tmp_path) as run:
        run_and_judge(run, journals(tmp_path, cassandra_url), seconds=60, rate=100)


@pytest.mark.soak
def test_three_replicas_are_killed_and_cut_for_half_an_hour(
    tmp_path: Path, cassandra_of_its_own: EmbeddedCassandra
) -> None:
    """The Cassandra server too."""
    server = cassandra_of_its_own
    with world(tmp_path) as run:
        urls = journals(tmp_path, server.url("replicas"))
        run_and_judge(run, urls, seconds=1800, rate=60, server=server)

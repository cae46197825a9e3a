"""The embedded Cassandra is a real server that keeps its promises when killed, stopped and paused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from thespian_dc.model.errors import EmbeddedServerError
from thespian_dc.testkit import embedded_cassandra
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.cassandra, pytest.mark.processes]


def _session(host: str, port: int) -> Any:
    cluster = pytest.importorskip("cassandra.cluster")
    return cluster.Cluster([host], port=port, connect_timeout=30).connect()


def test_sessions_server_answers_with_paxos_v2(cassandra: EmbeddedCassandra) -> None:
    """Hosts refuse variants without linearizable reads; v2 is what we recommend and measure."""
    session = _session(cassandra.host, cassandra.port)
    row = session.execute("select value from system_views.settings where name = 'paxos_variant'")
    assert row.one().value == "v2"
    session.cluster.shutdown()


@pytest.mark.timeout(300)
def test_sigkill_loses_no_acknowledged_conditional_write(cassandra: EmbeddedCassandra) -> None:
    """With `batch` the kill tests may blame our code; with `periodic` the server itself forgets."""
    with EmbeddedCassandra(heap_mb=512) as server:
        session = _session(server.host, server.port)
        session.execute(
            "create keyspace k with replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        session.execute("create table k.t (a int primary key)", timeout=30)
        for number in range(50):
            assert session.execute(f"insert into k.t (a) values ({number}) if not exists").one()[0]
        server.kill()
        session.cluster.shutdown()
        before = server.port
        server.restart()
        assert server.port == before
        session = _session(server.host, server.port)
        assert session.execute("select count(*) from k.t").one()[0] == 50
        session.cluster.shutdown()


def test_server_of_a_dead_owner_is_ended_by_the_next_start(cassandra: EmbeddedCassandra) -> None:
    """A killed test run must not leave a gigabyte of Java behind for ever."""
    program = (
        "import os, signal\n"
        "from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra\n"
        "print(EmbeddedCassandra(heap_mb=512).start().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    owner = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    orphan = int(owner.stdout)
    assert "CassandraDaemon" in embedded_cassandra._command_line(orphan)
    embedded_cassandra._end_orphans()
    assert eventually(lambda: "CassandraDaemon" not in embedded_cassandra._command_line(orphan))


def test_a_server_that_cannot_start_says_why(cassandra: EmbeddedCassandra) -> None:
    """The end of the server's log is in the error: nobody should have to look for it."""
    server = EmbeddedCassandra(heap_mb=512, port=cassandra.port)  # taken
    with pytest.raises(EmbeddedServerError, match=r"[Aa]ddress already in use|Failed to bind"):
        server.start()

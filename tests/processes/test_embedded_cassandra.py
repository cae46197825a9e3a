"""The embedded Cassandra is a real server and keeps its promises when killed or orphaned."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests import servers
from thespian_dc.model.errors import EmbeddedServerError, MissingToolError
from thespian_dc.testkit import cassandra_files, embedded_cassandra
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
def test_sigkill_loses_no_acknowledged_conditional_write() -> None:
    """With `batch` the kill tests may blame our code; with `periodic` the server itself forgets."""
    with EmbeddedCassandra(heap_mb=512) as server:
        session = _session(server.host, server.port)
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        session.execute(f"create keyspace k with replication = {replication}")
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


def test_server_of_a_dead_owner_is_ended_by_the_next_start() -> None:
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


def test_a_taken_port_is_a_named_error_and_starts_nothing(cassandra: EmbeddedCassandra) -> None:
    """Cassandra says it listens before it binds: unchecked, we would talk to the other one."""
    with pytest.raises(EmbeddedServerError, match=f"port {cassandra.port} is taken"):
        EmbeddedCassandra(port=cassandra.port).start()


def test_a_server_that_cannot_start_shows_the_end_of_its_log() -> None:
    """Nobody should have to look for the log; and the process must be gone."""
    server = EmbeddedCassandra(heap_mb=512, commitlog_sync="never")
    with pytest.raises(EmbeddedServerError, match="commitlog_sync"):
        server.start()


def test_a_machine_without_maven_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same; it is needed the first time alone."""
    monkeypatch.setattr(cassandra_files.shutil, "which", lambda name: None)
    monkeypatch.setattr(cassandra_files, "_apt_install", lambda package: False)
    with pytest.raises(MissingToolError, match=r"Maven is missing.*apt-get install maven"):
        cassandra_files.find_maven()


@pytest.mark.parametrize(
    ("in_ci", "outcome"), [(True, MissingToolError), (False, pytest.skip.Exception)]
)
def test_a_server_that_cannot_be_had_skips_a_test_and_fails_it_in_ci(
    monkeypatch: pytest.MonkeyPatch, in_ci: bool, outcome: type[BaseException]
) -> None:
    """A laptop without JDK runs the rest; CI proves everything or nothing."""

    def start(self: EmbeddedCassandra) -> EmbeddedCassandra:
        raise MissingToolError("Java 17", "Cassandra runs on it", "apt-get install …")

    monkeypatch.setattr(servers, "IN_CI", in_ci)
    monkeypatch.setattr(EmbeddedCassandra, "start", start)
    with pytest.raises(outcome, match="Java 17"), servers.own_cassandra():
        raise AssertionError("it began without a server")


def test_a_machine_without_java_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole remedy in one line, with the command."""
    monkeypatch.setattr(cassandra_files, "_look_for_java", lambda: None)
    monkeypatch.setattr(cassandra_files, "_apt_install", lambda package: False)
    with pytest.raises(MissingToolError, match=r"Java 17 is missing.*apt-get install openjdk-17"):
        cassandra_files.find_java()

"""An append whose server dies or stops under it is unknown, and is resolved as unknown."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest

pytest.importorskip("cassandra")

from tests.journal.appender import Appender, check_log
from tests.servers import own_cassandra
from thespian_dc.journal.api import Journal, Outcome, append_wait, open_journal
from thespian_dc.journal.cassandra.open import apply_schema
from thespian_dc.model.errors import (
    HomeDataCentreError,
    JournalUnavailableError,
    SchemaError,
)
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import EVENT, Record, make_commit, pack_record
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(400)]
KILLS = 3
SLICES = 8


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedCassandra]:
    """Its own: these tests kill it. Its commit log is synced before an append is acknowledged."""
    with own_cassandra(heap_mb=768, commitlog_sync="batch") as server:
        yield server


@pytest.fixture(scope="module")
def url(server: EmbeddedCassandra) -> str:
    url = server.url(f"o_{uuid.uuid4().hex[:12]}")
    apply_schema(url)
    return url


def test_a_kill_with_appends_in_flight_loses_and_doubles_nothing(
    server: EmbeddedCassandra, url: str
) -> None:
    """SIGKILL of the server, three times: every answer is done or resolved, and the log agrees."""
    journal = open_journal(url)
    appenders = [Appender(journal, SliceKey("killed", n)) for n in range(SLICES)]
    unknown: list[str] = []
    for appender in appenders:
        appender.take_over()
    for _ in range(KILLS):
        acknowledged = sum(len(appender.done) for appender in appenders)
        for appender in appenders:
            appender.start()
        eventually(
            lambda before=acknowledged: sum(len(a.done) for a in appenders) > before + 200,
            deadline_s=30,
        )
        server.kill()
        eventually(lambda: all(appender.last for appender in appenders), deadline_s=30)
        outcomes = [appender.last.outcome for appender in appenders if appender.last]
        assert set(outcomes) <= {Outcome.UNKNOWN, Outcome.REFUSED}
        assert Outcome.UNKNOWN in outcomes, "no append was in flight"
        with pytest.raises(JournalUnavailableError):
            journal.find_head(appenders[0].key)
        server.restart()
        eventually(lambda: _answers(journal), deadline_s=60)
        unknown += [appender.resolve() for appender in appenders]
        assert all(unknown)
    for appender in appenders:
        appender.take_over()
        check_log(journal, appender)
    assert journal.verify("killed") == []
    acknowledged = sum(len(appender.done) for appender in appenders)
    print(f"{KILLS} kills, {acknowledged} commits acknowledged; in flight: {unknown}")
    journal.close()


def _answers(journal: Journal) -> bool:
    try:
        journal.find_head(SliceKey("killed", 0))
    except JournalUnavailableError:
        return False
    return True


def test_a_paused_server_answers_unknown(server: EmbeddedCassandra, url: str) -> None:
    """SIGSTOP for longer than the client waits: the append may or may not come, and is resolved."""
    journal = open_journal(f"{url}?timeout_s=4.5")
    appender = Appender(journal, SliceKey("paused", 0))
    appender.take_over()
    appender.start()
    eventually(lambda: appender.done, deadline_s=10)
    server.pause()
    try:
        eventually(lambda: appender.last, deadline_s=20)
        assert appender.last is not None
        assert appender.last.outcome is Outcome.UNKNOWN, appender.last
        with pytest.raises(JournalUnavailableError):
            journal.find_head(appender.key)
    finally:
        server.resume()
    eventually(lambda: _answers(journal), deadline_s=30)
    resolved = appender.resolve()
    assert resolved
    print(f"in flight when the server was paused: {resolved}")
    check_log(journal, appender)
    journal.close()


def test_an_append_that_arrives_late_is_in_the_log_after_unknown(
    server: EmbeddedCassandra, url: str
) -> None:
    """The client gave up while the request was on its way; the server knows nothing of that."""
    with Gate(server.port) as gate:
        journal = open_journal(url.replace(f":{server.port}", f":{gate.port}") + "?timeout_s=4.5")
        appender = Appender(journal, SliceKey("late", 0))
        appender.take_over()
        record = pack_record(Record(EVENT, "a", 1, "Added:1", b"x"))
        commit = make_commit(appender.key, 0, os.urandom(16), appender.epoch, 1, [("a", record)])
        gate.hold()
        (answer,) = append_wait(journal, [commit])
        assert answer.outcome is Outcome.UNKNOWN, answer
        gate.release()
        eventually(lambda: journal.head_at(appender.key, 0) == (1, appender.epoch), deadline_s=30)
        row = journal.commit_at(appender.key, 0)
        assert row is not None
        assert row.write_id == commit.write_id
        (again,) = append_wait(journal, [commit])
        assert again.outcome is Outcome.CONFLICT
        assert [c.write_id for c in journal.read(appender.key, 0)] == [commit.write_id]
        journal.close()


class Gate:
    """A way to the server that can be shut: what a client sends waits until it is opened."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Gate:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._listener.close()
        for one in self._sockets:
            one.close()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, target, gated in ((client, server, True), (server, client, False)):
                way = (source, target, gated)
                threading.Thread(target=self._forward, args=way, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, gated: bool) -> None:
        try:
            while some := source.recv(65536):
                if gated:
                    self._open.wait()
                target.sendall(some)
        except OSError:
            return


def test_an_unreachable_server_is_named() -> None:
    """The first thing an operator meets."""
    with pytest.raises(JournalUnavailableError, match=r"127\.0\.0\.1"):
        open_journal("cassandra://127.0.0.1:1/shop?connect_timeout_s=1")


def test_a_missing_schema_is_named_and_not_made(server: EmbeddedCassandra) -> None:
    """Hosts never change a schema; the error says which command does."""
    for keyspace in ("never_made", "system"):
        with pytest.raises(SchemaError, match="thespian-dc schema apply"):
            open_journal(server.url(keyspace))


def test_another_data_centre_is_refused(url: str) -> None:
    """LOCAL_SERIAL in two data centres would let two writers in."""
    with pytest.raises(HomeDataCentreError):
        open_journal(f"{url}?local_dc=elsewhere")
    with pytest.raises(HomeDataCentreError):
        apply_schema(f"{url}?local_dc=elsewhere")
    open_journal(f"{url}?local_dc=datacenter1").close()


def test_applying_a_schema_again_changes_nothing(url: str) -> None:
    """The journal keeps its id and its segment size for ever."""
    first = apply_schema(url)
    again = apply_schema(f"{url}?segment_records=17")
    assert first.meta == again.meta
    assert again.found_version == again.meta.schema_version


def test_replicas_are_not_counted_before_the_hosts_know_each_other(
    server: EmbeddedCassandra,
) -> None:
    """A node that has just started knows only itself: a journal made by its word would have one
    replica for ever."""
    two = server.url("too_early").replace(server.host, f"{server.host},127.0.0.9")
    with pytest.raises(JournalUnavailableError, match=r"names 2 hosts.* knows 1 in .*replication"):
        apply_schema(two)
    with pytest.raises(SchemaError):
        open_journal(server.url("too_early"))
    apply_schema(f"{two}?replication=1")

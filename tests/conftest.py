"""What every test may ask for: a Cassandra, patience, and that processes end with the session.

- `cassandra`: one server for the whole session, started by the first test that asks. Where
  THESPIAN_DC_CASSANDRA=host:port names a running one, that is used.
- `cassandra_url`: the journal URL of a keyspace nobody has used.
- `eventually(fact, deadline_s=10)`: instead of sleeping.
- `recorded(pid)`: ends that process at the end of the session if it still runs. Children that were
  started with exec carry a mark in their environment and are ended without being recorded.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from thespian_dc.model.errors import MissingToolError
from thespian_dc.testkit import eventually as waiting
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra

IN_CI = os.environ.get("THESPIAN_DC_CI") == "1"
MARK = "THESPIAN_DC_TEST_SESSION"

_recorded: dict[int, str] = {}


@dataclass(frozen=True, slots=True)
class RunningCassandra:
    """A server that somebody else started and stops."""

    host: str
    port: int

    def url(self, keyspace: str) -> str:
        return f"cassandra://{self.host}:{self.port}/{keyspace}"


@pytest.fixture(scope="session")
def cassandra() -> Iterator[EmbeddedCassandra | RunningCassandra]:
    """A real Cassandra; skipped on a laptop that lacks the tools, failed in CI."""
    named = os.environ.get("THESPIAN_DC_CASSANDRA")
    if named:
        host, _, port = named.partition(":")
        yield RunningCassandra(host, int(port))
        return
    server = EmbeddedCassandra()
    try:
        server.start()
    except MissingToolError as missing:
        if IN_CI:
            raise
        pytest.skip(str(missing))
    yield server
    server.stop()


@pytest.fixture
def cassandra_url(cassandra: EmbeddedCassandra | RunningCassandra) -> str:
    """The URL of a keyspace that does not exist yet: `schema apply` makes it."""
    return cassandra.url(f"t_{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def eventually() -> Callable[..., object]:
    """thespian_dc.testkit.eventually.eventually, for tests that prefer a fixture to an import."""
    return waiting.eventually


@pytest.fixture(scope="session")
def recorded() -> Callable[[int], int]:
    """Remember a process that the test started; returns the pid."""

    def remember(pid: int) -> int:
        _recorded[pid] = _started_at(pid)
        return pid

    return remember


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(MARK, uuid.uuid4().hex)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what tests left running. A pid counts only with the start time it was recorded with."""
    left = {pid for pid, at in _recorded.items() if at and _started_at(pid) == at} | _marked()
    for pid in left - {os.getpid(), os.getppid()}:
        print(f"left running by the tests, ended now: {pid} {_read(pid, 'cmdline')[:120]!r}")
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _marked() -> set[int]:
    """Processes that carry this session's mark and are not among our own ancestors."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = {
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if mark in _read(int(entry.name), "environ").split(b"\0")
    }
    return found - _ancestors()


def _ancestors() -> set[int]:
    pids, pid = set(), os.getpid()
    while pid > 0:
        pids.add(pid)
        after_name = _read(pid, "stat").rpartition(b")")[2].split()
        pid = int(after_name[1]) if after_name else 0
    return pids


def _started_at(pid: int) -> str:
    """The process's start time in clock ticks, as text; empty when there is no such process."""
    after_name = _read(pid, "stat").rpartition(b")")[2].split()
    return after_name[19].decode() if after_name else ""


def _read(pid: int, name: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / name).read_bytes()
    except OSError:
        return b""

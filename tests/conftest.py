"""What every test may ask for: a Cassandra, patience, and that processes end with the session.

- `cassandra`: one server for the whole session, started by the first test that asks. Where
  THESPIAN_DC_CASSANDRA=host:port names a running one, that is used.
- `cassandra_of_its_own`: another one, for this test alone, which may kill it.
- `cassandra_url`: the journal URL of a keyspace nobody has used.
- `eventually(fact, deadline_s=30)`: instead of sleeping.
- `recorded(pid)`: ends that process at the end of the session if it still runs. Children that were
  started with exec carry a mark in their environment and are ended without being recorded.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hypothesis
import pytest

from tests import left_behind
from tests.servers import own_cassandra
from thespian_dc.testkit import eventually as waiting
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra

MARK = "THESPIAN_DC_TEST_SESSION"

# How long one example takes says nothing on a machine that does other things too.
# A layer that runs beside another may be slow: that is no fault of a test.
hypothesis.settings.register_profile(
    "thespian_dc", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("thespian_dc")

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
    with own_cassandra() as server:
        yield server


@pytest.fixture
def cassandra_of_its_own() -> Iterator[EmbeddedCassandra]:
    """One that the test may kill."""
    with own_cassandra(heap_mb=768) as server:
        yield server


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
        _recorded[pid] = left_behind.started_at(pid)
        return pid

    return remember


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(MARK, uuid.uuid4().hex)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests with full counts and kills under load measured is shown though they passed."""
    for report in terminalreporter.stats.get("passed", []):
        measures = "soak" in report.keywords or "test_chaos_" in report.nodeid
        if measures and report.when == "call" and report.capstdout:
            terminalreporter.section(report.nodeid, "-")
            terminalreporter.write_line(report.capstdout.strip())


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what tests left running. A pid counts only with the start time it was recorded with."""
    left_behind.end_tracker()
    left = {pid for pid, at in _recorded.items() if at and left_behind.started_at(pid) == at}
    for what in left_behind.end(left | left_behind.marked(MARK, os.environ[MARK])):
        print(f"left running by the tests, ended now: {what}")

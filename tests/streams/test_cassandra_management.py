"""Looking after a projection whose positions are in Cassandra, from another process than its own,
on a real server."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("cassandra")


from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer
from tests.streams.processes import Child
from tests.streams.running import consumers
from tests.streams.test_cassandra_sink import Counts
from thespian_dc.cli.main import main
from thespian_dc.model.criteria import Exclude
from thespian_dc.model.delivery_settings import Recovery
from thespian_dc.model.handler_errors import ConsumerSchemaError
from thespian_dc.model.projection_errors import (
    NoWorkerError,
    UnknownProjectionError,
    WishRefusedError,
)
from thespian_dc.model.settings import Local, Projection
from thespian_dc.projection.api import CassandraUpsertHandler
from thespian_dc.projection.management import Projections
from thespian_dc.testkit.eventually import eventually, never

pytestmark = [pytest.mark.cassandra, pytest.mark.processes, pytest.mark.timeout(300)]


GATE = "THESPIAN_DC_TEST_GATE"


class Poisoned(Counts):
    """Raises at every quantity of 13."""

    def handle(self, event: Any, tx: Any) -> None:
        super().handle(event, tx)
        if event.payload.quantity == 13:
            raise ValueError("thirteen")


class SlowCounts(Counts):
    """Twenty events a second until the file that GATE names is there: a kill meets it at work,
    however late it comes."""

    def handle(self, event: Any, tx: Any) -> None:
        super().handle(event, tx)
        if not Path(os.environ[GATE]).exists():
            threading.Event().wait(0.05)  # the handler's work


class Noted(CassandraUpsertHandler):
    """Knows no rebuild."""

    def handle(self, event: Any, tx: Any) -> None: ...


@pytest.fixture(scope="module")
def keyspace(cassandra: Any) -> str:
    """One for this file; each test has a projection of its own name in it."""
    from thespian_dc.projection.cassandra.schema import apply_schema

    url: str = cassandra.url(f"m_{uuid.uuid4().hex[:12]}")
    apply_schema(url)
    return url


@pytest.fixture
def manage(keyspace: str) -> Projections:
    return Projections(keyspace)


@pytest.fixture
def run(keyspace: str, name: str, journal_url: str) -> Iterator[Callable[..., Child]]:
    """Start a process with a worker of the projection; killed with the test."""
    with consumers() as run:

        def start(handler: type = Counts, **changes: Any) -> Child:
            settings: dict[str, Any] = {"restart_backoff_ms": (5, 50)}
            source = Local(ENTITY_TYPE, journal_url)
            return run(Projection(name, source, handler, keyspace, [Added], **(settings | changes)))

        yield start


def add(writer: Writer, count: int) -> None:
    writer.add([(f"c-{i}", Added("a", 1)) for i in range(count)])


# --- from another process ---


def test_pause_resume_and_a_position(
    writer: Writer, run: Any, manage: Projections, name: str, counted: Any
) -> None:
    """While it runs: nothing is handled while it is paused; what is set back comes again."""
    add(writer, 20)
    child = run()
    eventually(lambda: counted() == {"a": 20}, 30)
    view = manage.pause(name)
    assert (view.phase, view.paused, view.workers[0].health) == ("paused", True, "paused")
    add(writer, 20)
    never(lambda: counted() != {"a": 20}, within_s=0.5)
    assert not manage.resume(name).paused
    eventually(lambda: counted() == {"a": 40}, 30)
    before = manage.positions(name)
    slice_, stands = next((s, at) for s, at in before.items() if at > 1)
    with pytest.raises(WishRefusedError, match=f"stands at {stands}, not at 1"):
        manage.set_position(name, slice_, 0, expected=1)
    assert manage.positions(name) == before
    manage.set_position(name, slice_, stands - 1, expected=stands)
    eventually(lambda: counted() == {"a": 41}, 30)
    eventually(lambda: manage.positions(name) == before)
    assert child.process.poll() is None


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_one_event_is_skipped(
    writer: Writer, run: Any, manage: Projections, name: str, counted: Any, runs: bool
) -> None:
    """The handler fails at it again and again; behind it all goes on, at once."""
    writer.add([("c-1", Added("a", 1)), ("c-1", Added("a", 13)), ("c-1", Added("b", 1))])
    child = run(Poisoned, restart_backoff_ms=(20_000, 20_000))
    eventually(lambda: counted() == {"a": 1}, 30)
    eventually(lambda: manage.status(name).phase == "failing", 30)
    slice_ = next(s for s, at in manage.positions(name).items() if at)
    if not runs:
        child.end()
    manage.skip(name, slice_, 1)
    if not runs:
        run(Poisoned)
    eventually(lambda: counted() == {"a": 1, "b": 1}, 10)
    eventually(lambda: manage.positions(name)[slice_] == 3)


def test_two_workers_share_the_slices_and_one_takes_a_dead_ones_over(
    writer: Writer, run: Any, manage: Projections, name: str, counted: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each slice is served by one; every event counts once, whoever dies with it in its hands."""
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    workers = [run(SlowCounts, batch_events_max=10), run(SlowCounts, batch_events_max=10)]

    def shared() -> bool:
        served = [w.slices for w in manage.status(name).workers if w.lives] if known() else []
        return sorted(map(len, served)) == [SLICES // 2, SLICES // 2]

    def known() -> bool:
        return name in manage.names()

    eventually(shared, 30)
    for part in range(10):
        writer.add([(f"c-{part}-{nr}", Added("a", 1)) for nr in range(100)])
    eventually(lambda: counted().get("a", 0) > 20, 30)
    workers[0].kill()
    assert counted()["a"] < 1000, "the kill came when all was done"
    (tmp_path / "gate").touch()
    eventually(lambda: counted() == {"a": 1000}, 60)

    def one_has_all() -> bool:
        living = [one for one in manage.status(name).workers if one.lives]
        return [len(one.slices) for one in living] == [SLICES]

    eventually(one_has_all, 60)
    assert workers[1].ask("status").restarts == 0, "slices change hands without failures"
    assert counted() == {"a": 1000}


def test_a_rebuild_takes_the_rows_away_with_the_positions(
    writer: Writer, run: Any, manage: Projections, name: str, counted: Any, stores: Any
) -> None:
    """Without a word of the handler: what stands beside a position goes with it."""
    add(writer, 40)
    child = run()
    eventually(lambda: counted() == {"a": 40}, 30)
    manage.rebuild(name)
    assert sum(stores().control.rebuild_to(name).values()) == 40
    eventually(lambda: manage.status(name).phase == "running", 30)
    assert counted() == {"a": 40}
    child.end()
    with pytest.raises(NoWorkerError):
        manage.rebuild(name)
    assert manage.status(name).phase == "stopped"


def test_a_rebuild_of_upserts_needs_a_handler_that_can(
    writer: Writer, run: Any, manage: Projections, name: str
) -> None:
    add(writer, 4)
    run(Noted, delivery="at-least-once")
    eventually(lambda: name in manage.names() and sum(manage.positions(name).values()) == 4, 30)
    with pytest.raises(WishRefusedError, match="does not define rebuild"):
        manage.rebuild(name)


def test_the_command_line_looks_after_it_too(
    writer: Writer, run: Any, keyspace: str, name: str, counted: Any
) -> None:
    """projections, filters and parked, by the same URL as Projection.positions."""
    writer.add([("c-1", Added("a", 13)), ("c-2", Added("b", 1))])
    run(Poisoned, recovery=Recovery("retry-and-park", retries=1, delay_ms=1))
    eventually(lambda: counted() == {"b": 1}, 30)

    def call(*words: str) -> Any:
        done = CliRunner().invoke(main, [*words, "--positions", keyspace, "--json"])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert name in [row["projection"] for row in call("projections", "list")]
    assert call("projections", "pause", name)[0]["paused"]
    assert not call("projections", "resume", name)[0]["paused"]
    [parked] = call("parked", "list", name)
    assert parked["entity_id"] == "c-1"
    call("parked", "skip", name, "c-1")
    eventually(lambda: not call("parked", "list", name), 30)
    call("filters", "exclude", name, "--id", "c-2")
    [shown] = call("filters", "show", name)
    assert shown["version"] == 1
    assert "c-2" in json.dumps(shown["exclude"])


def test_what_is_not_there_is_named(manage: Projections, cassandra: Any) -> None:
    with pytest.raises(UnknownProjectionError):
        manage.status("popular")
    with pytest.raises(ConsumerSchemaError):
        Projections(cassandra.url("nothing_here")).names()


def test_filters_outlive_and_are_read_by_the_same_url(
    writer: Writer, run: Any, manage: Projections, name: str, counted: Any
) -> None:
    """A wish for a projection that stopped is what its next run begins with."""
    add(writer, 3)
    run().end()
    eventually(lambda: name in manage.names())
    changed = manage.set_filter(name, Exclude.entity_ids("c-1"))
    assert manage.filter(name) == changed
    writer.add([("c-1", Added("z", 1)), ("c-2", Added("y", 1))])
    run()
    eventually(lambda: counted().get("y") == 1, 30)
    assert "z" not in counted()

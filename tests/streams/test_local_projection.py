"""A projection over a journal of its own machine: everything real but the distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.streams.material import (
    Added,
    CountItems,
    EndsTransaction,
    Fuse,
    FusedCount,
    FusedSum,
    Plain,
    SumItems,
    Unknown,
    Writer,
    counted,
    execute,
    offsets,
    projection,
    rows,
)
from thespian_dc.projection.management import Projections
from thespian_dc.testkit.eventually import eventually, never


@pytest.fixture
def run(run_local: Any) -> Any:
    return run_local


def test_catches_up_and_follows(writer: Writer, run: Any, tmp_path: Path) -> None:
    """What was there before and what comes later is counted, each event once, in entity order."""
    read_model = tmp_path / "read.db"
    for nr in range(20):
        writer.add([(f"c-{i}", Added("apple", 1)) for i in range(10)])
        if nr == 10:
            running = run(projection(read_model))
    eventually(lambda: counted(read_model) == {"apple": 200})
    writer.add([("c-1", Added("pear", 5))])
    eventually(lambda: counted(read_model).get("pear") == 5)
    for entity in range(10):
        seen = rows(read_model, "select seq_nr from seen where entity_id = ? order by nr",
                    f"c-{entity}")  # fmt: skip
        assert [nr for (nr,) in seen] == list(range(1, len(seen) + 1))
    status = eventually(lambda: (s := running.status()).lag == 0 and s.events == 201 and s)
    assert status.phase == "running"
    assert status.error == ""


def test_resumes_where_it_stopped(writer: Writer, run: Any, tmp_path: Path) -> None:
    """A second start handles only what came since: positions live beside the read model."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))] * 7)
    first = run(projection(read_model, handler=SumItems))
    eventually(lambda: counted(read_model) == {"apple": 7})
    assert first.stop()
    writer.add([("c-1", Added("apple", 1))] * 3)
    run(projection(read_model, handler=SumItems))
    eventually(lambda: counted(read_model) == {"apple": 10})


@pytest.mark.parametrize("waiting", [False, True])
def test_a_database_that_is_removed_is_made_anew(
    waiting: bool, writer: Writer, run: Any, tmp_path: Path
) -> None:
    """Whether events come (waiting: False) or not. Until then the open file took what nobody would
    ever see; a file in its place begins with the first event."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))] * 7)
    running = run(projection(read_model, restart_backoff_ms=(10, 20)))
    eventually(lambda: counted(read_model) == {"apple": 7})
    for file in tmp_path.glob("read.db*"):
        file.unlink()
    if not waiting:
        writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 7 if waiting else 8}, deadline_s=60)
    eventually(lambda: Projections(f"sqlite:///{read_model}").status("popularity").workers)
    assert running.status().restarts >= 1


class Leaves(Plain):
    def handle(self, event: Any) -> None:
        raise SystemExit(3)


class LeavesAtFlush(Plain):
    def flush(self) -> None:
        raise SystemExit(3)


class LeavesAtStart(Plain):
    def start(self) -> None:
        raise SystemExit(3)


@pytest.mark.parametrize("handler", [Leaves, LeavesAtFlush, LeavesAtStart])
def test_a_handler_that_would_end_its_thread_fails(
    handler: type[Plain], writer: Writer, run: Any, tmp_path: Path
) -> None:
    """As with every other raise: no status says that a thread runs which is not there."""
    writer.add([("c-1", Added("apple", 1))])
    settings = projection(tmp_path / "read.db", handler=handler, delivery="at-least-once",
                          restart_backoff_ms=(1, 5))  # fmt: skip
    running = run(settings)
    status = eventually(lambda: (s := running.status()).restarts > 1 and s)
    said = {
        Leaves: "the handler raised at c-1 seq_nr 1", LeavesAtFlush: "flush raised SystemExit: 3",
        LeavesAtStart: "LeavesAtStart.start raised SystemExit: 3",
    }  # fmt: skip
    assert said[handler] in status.error
    assert "SystemExit: 3" in status.error


@pytest.mark.parametrize("handler", [FusedCount, FusedSum])
@pytest.mark.parametrize("poisoned", range(8))
def test_a_raise_stops_exactly_there(
    writer: Writer, run: Any, tmp_path: Path, handler: type, poisoned: int
) -> None:
    """At every index of a batch: what came before stays, flushed; the event itself leaves no
    trace."""
    read_model = tmp_path / "read.db"
    Fuse.blown = {1000 + poisoned}
    writer.add([("c-1", Added(f"s{i}", 1000 + i)) for i in range(8)])
    running = run(projection(read_model, handler=handler))
    status = eventually(lambda: (s := running.status()).restarts and s)
    assert status.error.startswith("HandlerError: projection popularity: the handler raised at c-1")
    assert f"seq_nr {poisoned + 1} (" in status.error
    assert counted(read_model) == {f"s{i}": 1000 + i for i in range(poisoned)}
    assert sum(offsets(read_model).values()) == poisoned
    Fuse.blown = set()
    eventually(lambda: counted(read_model) == {f"s{i}": 1000 + i for i in range(8)})


def test_a_stop_does_not_wait_for_the_pause_before_a_restart(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """However long that is."""
    Fuse.blown = {1}
    writer.add([("c-1", Added("a", 1))])
    settings = {"handler": FusedCount, "restart_backoff_ms": (600_000, 600_000)}
    running = run(projection(tmp_path / "read.db", **settings))
    eventually(lambda: running.status().error.startswith("HandlerError"))
    assert running.stop(timeout_s=20.0)


def test_unknown_event_fails_by_name_and_is_never_dropped(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """A newer producer's type stops the projection at exactly that event until it is registered."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("a", 1)), ("c-1", Unknown("x")), ("c-1", Added("a", 1))])
    running = run(projection(read_model))
    status = eventually(lambda: (s := running.status()).restarts > 1 and s)
    assert status.error.startswith("UnknownEventError")
    assert "'Unknown/1'" in status.error
    assert counted(read_model) == {"a": 1}
    assert sum(offsets(read_model).values()) == 1


@pytest.mark.parametrize("how", ["commit", "rollback", "begin", " end -- transaction", "other"])
def test_a_handler_cannot_end_the_transaction(
    writer: Writer, run: Any, tmp_path: Path, how: str
) -> None:
    """Effects without their position would be repeated: whatever the way, it is refused and named,
    and nothing stays."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("a", 1))])
    EndsTransaction.how = how
    running = run(projection(read_model, handler=EndsTransaction))
    status = eventually(lambda: (s := running.status()).restarts > 2 and s)
    told = "not authorized" if how == "other" else "belong to the projection"
    assert told in status.error
    assert rows(read_model, "select count(*) from t") == [(0,)]
    assert sum(offsets(read_model).values()) == 0


def test_at_least_once_stores_the_position_after_the_flush(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """A plain handler's position never runs ahead of its effects, also when it raises midway."""
    Plain.events.clear()
    writer.add([("c-1", Added("a", nr)) for nr in range(1, 6)])
    Fuse.blown = {4}
    read_model = tmp_path / "read.db"
    running = run(projection(read_model, handler=Plain, delivery="at-least-once"))
    eventually(lambda: running.status().restarts)
    assert sum(offsets(read_model).values()) == 3
    assert Plain.flushed == 3
    Fuse.blown = set()
    eventually(lambda: Plain.events == [("c-1", nr) for nr in range(1, 6)])


def test_two_consumers_of_one_projection_share_it(writer: Writer, run: Any, tmp_path: Path) -> None:
    """The later one gets a share when the former let go of it; each event is handled once."""
    read_model = tmp_path / "read.db"
    writer.add([(f"c-{i}", Added("a", 1)) for i in range(20)])
    first = run(projection(read_model))
    eventually(lambda: counted(read_model) == {"a": 20})
    second = run(projection(read_model))
    for _ in range(20):
        writer.add([(f"c-{i}", Added("a", 1)) for i in range(20)])
    eventually(lambda: second.status().phase == "running" and second.status().positions)
    writer.add([(f"c-{i}", Added("a", 1)) for i in range(20)])
    eventually(lambda: counted(read_model) == {"a": 440})
    shares = [set(one.status().positions) for one in (first, second)]
    assert [len(share) for share in shares] == [2, 2]
    assert not shares[0] & shares[1]
    assert first.status().restarts == second.status().restarts == 0
    never(lambda: counted(read_model) != {"a": 440}, within_s=0.2)


def test_who_lost_a_slice_moves_nothing_and_begins_again(
    writer: Writer, run: Any, tmp_path: Path
) -> None:
    """Its transaction is refused by the epoch; what is stored then is what it goes on from."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("a", 1))])
    running = run(projection(read_model))
    eventually(lambda: counted(read_model) == {"a": 1})
    execute(read_model, "update thespian_dc_positions set epoch = epoch + 1")
    writer.add([("c-1", Added("a", 1))])
    status = eventually(lambda: (s := running.status()).restarts and s)
    assert status.error.startswith("PositionConflictError")
    eventually(lambda: counted(read_model) == {"a": 2})
    never(lambda: counted(read_model) != {"a": 2}, within_s=0.2)


def test_wrong_delivery_is_refused(writer: Writer, run: Any, tmp_path: Path) -> None:
    """Exactly-once cannot be had for effects outside the transaction; saying so beats
    pretending."""
    running = run(projection(tmp_path / "read.db", handler=Plain))
    status = eventually(lambda: (s := running.status()).phase == "halted" and s)
    assert "at-least-once" in status.error
    other = run(projection(tmp_path / "r2.db", handler=CountItems, delivery="at-least-once"))
    status = eventually(lambda: (s := other.status()).phase == "halted" and s)
    assert "exactly-once" in status.error


class Diary(CountItems):
    """Writes down what is done to it."""

    pages: ClassVar[list[str]] = []

    def __init__(self) -> None:
        Diary.pages.append("built")

    def start(self, tx: Any) -> None:
        tx.execute("select count(*) from popularity")  # its tables are there
        Diary.pages.append("start")

    def handle(self, event: Any, tx: Any) -> None:
        Diary.pages.append("handle")
        if Fuse.blown:
            raise ValueError("no")

    def flush(self, tx: Any) -> None:
        Diary.pages.append("flush")

    def stop(self) -> None:
        Diary.pages.append("stop")


def test_a_handlers_life(writer: Writer, run: Any, tmp_path: Path) -> None:
    """A new one for each run; whatever ends a run, `stop` is the last that is called."""
    Diary.pages, Fuse.blown = [], {1}
    writer.add([("c-1", Added("a", 1))])
    running = run(projection(tmp_path / "read.db", handler=Diary))
    eventually(lambda: running.status().restarts)
    Fuse.blown = set()
    eventually(lambda: sum(offsets(tmp_path / "read.db").values()) == 1)
    assert running.stop()
    life = ["built", "start", "handle", "flush", "stop"]
    runs = Diary.pages.count("built")
    assert runs >= 2
    assert Diary.pages == life * runs

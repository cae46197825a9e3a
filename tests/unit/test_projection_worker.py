"""A worker's thread, between its database and its run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.observe import Activity
from thespian_dc.projection.sqlite.control import SqliteControl
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.worker import Worker
from thespian_dc.projection.workers import WorkerRow
from thespian_dc.testkit.eventually import eventually


class SlowStore(SqliteControl):
    """Reads the workers only while it may."""

    may = threading.Event()
    reading = threading.Event()

    def workers(self, projection: str) -> Any:
        found = super().workers(projection)
        self.reading.set()
        assert self.may.wait(10)
        return found


class GoneStore(SqliteControl):
    """Does not answer for a while."""

    gone = False

    def stirred(self, projection: str) -> int:
        if self.gone:
            raise PositionStoreError("w", "gone")
        return super().stirred(projection)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/w.db"


@pytest.fixture
def workers(url: str) -> Iterator[Any]:
    """Start workers; they are ended."""
    started: list[Worker] = []

    def start(name: str, store: type[SqliteControl] = SqliteControl, busy_s: float = 1.0) -> Worker:
        worker = Worker(
            "p", name, lambda: store(SqliteDatabase(url, busy_s)), Activity, lambda: None
        )
        worker.start()
        started.append(worker)
        return worker

    SlowStore.may.set()
    yield start
    SlowStore.may.set()
    for worker in started:
        worker.stop(5)


def test_it_answers_by_a_reading_that_began_after_the_question(workers: Any) -> None:
    """An earlier one does not know the number of slices that came with the question: it would say
    that there is nothing to serve."""
    worker = workers("a", SlowStore)
    assert worker.take() is None
    SlowStore.may.clear()
    SlowStore.reading.clear()
    worker.report()
    assert SlowStore.reading.wait(10), "a reading is under way"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(worker.take, 4)
        eventually(lambda: worker._asked == 2)
        SlowStore.may.set()
        assert asked.result(10) == {0, 1, 2, 3}


def test_what_is_served_is_given_back_only_when_it_is_served_no_more(
    workers: Any, url: str
) -> None:
    """The other one waits for it."""
    one = workers("a")
    assert one.take(4) == {0, 1, 2, 3}
    other = workers("b")
    assert other.take() == set()
    eventually(one.must_restart)
    assert other.take() == set()
    kept = one.take()
    assert len(kept) == 2
    eventually(other.must_restart)
    assert other.take() == {0, 1, 2, 3} - kept


def test_who_leaves_need_not_be_waited_for(workers: Any) -> None:
    """Its row and what it held are gone at once."""
    one = workers("a")
    assert one.take(4) == {0, 1, 2, 3}
    one.stop(5)
    assert eventually(lambda: workers("b").take()) == {0, 1, 2, 3}


def test_a_database_that_is_locked_for_a_moment_is_tried_again(workers: Any, url: str) -> None:
    """Nobody hears of it."""
    worker = workers("a", busy_s=0.01)
    assert worker.take(4) == {0, 1, 2, 3}
    other = SqliteDatabase(url)
    other.begin()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(worker.take)
        eventually(lambda: worker._asked == 2)
        other.rollback()
        assert asked.result(10) == {0, 1, 2, 3}
    other.close()


def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """To the run, which tries again as its policy says."""
    nowhere = f"sqlite:///{tmp_path}/no/such/folder/w.db"
    worker = Worker(
        "p", "a", lambda: SqliteControl(SqliteDatabase(nowhere)), Activity, lambda: None
    )
    worker.start()
    with pytest.raises(PositionStoreError, match="unable to open"):
        worker.take()
    worker.stop(5)


def test_what_a_database_says_at_every_look_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It looks twenty times a second: the log would fill a disk that is nearly full."""
    nowhere = f"sqlite:///{tmp_path}/no/such/folder/w.db"
    looks: list[str] = []

    def open_store() -> SqliteControl:
        looks.append(nowhere)
        return SqliteControl(SqliteDatabase(nowhere))

    worker = Worker("p", "a", open_store, Activity, lambda: None)
    worker.start()
    eventually(lambda: len(looks) > 3)
    worker.stop(5)
    said = [one.msg for one in caplog.records if one.name == "thespian_dc.projection.worker"]
    assert said == ["worker_database"]


def test_a_database_that_goes_away_gives_nobody_anything_else_to_serve(workers: Any) -> None:
    """Else the run would begin anew at once, thousands of times a second, for as long as that
    takes: it would not wait between its tries."""
    worker = workers("a", GoneStore)
    assert worker.take(4) == {0, 1, 2, 3}
    GoneStore.gone = True
    with pytest.raises(PositionStoreError, match="gone"):
        worker.take()
    assert not worker.must_restart()
    GoneStore.gone = False
    assert worker.take() == {0, 1, 2, 3}


def test_the_row_is_stored_by_the_run_where_the_thread_is_locked_out(
    workers: Any, url: str
) -> None:
    """Between two transactions, on the connection that holds the lock at all other times."""
    worker = workers("a", busy_s=0.01)
    worker.take(4)
    ours = SqliteControl(SqliteDatabase(url))
    before = beat_of(ours)
    ours.database.begin()
    worker.report()
    assert eventually(worker._row_wanted.is_set)
    ours.database.rollback()
    worker.beat_by_run(ours)
    assert beat_of(ours) > before
    ours.close()


def beat_of(store: SqliteControl) -> int:
    row: WorkerRow = store.workers("p")[0][0]
    return row.beat

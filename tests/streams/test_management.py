"""Looking after a projection that runs in another process, through its database."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sleeping import send_to_sleep
from tests.streams.material import (
    SLICES,
    Added,
    CountItems,
    HundredthSlow,
    PoisonedCount,
    RebuiltCount,
    SlowCount,
    Writer,
    counted,
    offsets,
    rows,
)
from thespian_dc.model.criteria import Exclude, Include
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.projection_errors import (
    ControlChangedError,
    NoPositionsError,
    NoWorkerError,
    UnknownProjectionError,
    WishRefusedError,
    WishWithdrawnError,
)
from thespian_dc.model.settings import Remote
from thespian_dc.projection.api import ProjectionHandler
from thespian_dc.projection.management import Projections
from thespian_dc.projection.observe import ProjectionView, progress
from thespian_dc.testkit.eventually import eventually, never

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
NAME = "popularity"


@pytest.fixture
def manage(read_model: Path) -> Projections:
    return Projections(f"sqlite:///{read_model}")


def add(writer: Writer, count: int, quantity: int = 1) -> None:
    """One event each for so many entities, over all slices."""
    writer.add([(f"c-{i}", Added("apple", quantity)) for i in range(count)])


def when(manage: Projections, fact: Callable[[ProjectionView], bool]) -> ProjectionView:
    """The first look at which it is so."""

    def look() -> ProjectionView | None:
        view = manage.status(NAME)
        return view if fact(view) else None

    found = eventually(look)
    assert found is not None
    return found


def slice_with_events(manage: Projections) -> int:
    return next(slice_ for slice_, offset in manage.positions(NAME).items() if offset)


def test_pause_holds_and_resume_goes_on(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """Nothing is handled while it is paused, nothing is lost or repeated by it."""
    add(writer, 20)
    child = run()
    eventually(lambda: counted(read_model) == {"apple": 20})
    view = manage.pause(NAME)
    assert (view.phase, view.paused) == ("paused", True)
    add(writer, 20)
    never(lambda: counted(read_model) != {"apple": 20}, within_s=0.3)
    assert child.ask("status").phase == "paused"
    assert manage.resume(NAME).phase in ("running", "rebuilding")
    eventually(lambda: counted(read_model) == {"apple": 40})


def test_pause_reaches_one_whose_handler_holds_the_database(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """It locks the database but for moments between two events; whoever waits looks often."""
    add(writer, 300)
    run(SlowCount)
    eventually(lambda: counted(read_model))
    view = manage.pause(NAME, timeout_s=20)
    assert 0 < sum(view.positions.values()) < 300
    assert view.workers[0].health == "paused"


def test_pause_outlives_the_process(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """It is a wish in the database: a new process starts paused."""
    add(writer, 10)
    child = run()
    eventually(lambda: counted(read_model) == {"apple": 10})
    manage.pause(NAME)
    child.kill()
    add(writer, 10)
    again = run()
    eventually(lambda: again.ask("status").phase == "paused")
    never(lambda: counted(read_model) != {"apple": 10}, within_s=0.3)
    manage.resume(NAME)
    eventually(lambda: counted(read_model) == {"apple": 20})


def test_a_wish_by_an_older_look_is_refused(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """Two operators do not undo each other unseen."""
    add(writer, 4)
    run()
    eventually(lambda: counted(read_model) == {"apple": 4})
    before = manage.status(NAME).version
    manage.pause(NAME, expected=before)
    with pytest.raises(ControlChangedError):
        manage.resume(NAME, expected=before)
    assert manage.status(NAME).paused


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_a_position_is_set_back_and_its_events_are_handled_again(
    writer: Writer, run: Any, manage: Projections, read_model: Path, runs: bool
) -> None:
    """By the worker, or on the rows where none runs; the effects of the events come again."""
    add(writer, 20)
    child = run(SumUp)
    eventually(lambda: counted(read_model) == {"apple": 20})
    if not runs:
        child.end()
    slice_ = slice_with_events(manage)
    stands = manage.positions(NAME)[slice_]
    manage.set_position(NAME, slice_, 0, expected=stands)
    if not runs:
        assert offsets(read_model)[slice_] == 0
        run(SumUp)
    eventually(lambda: counted(read_model) == {"apple": 20 + stands})
    add(writer, 20)
    eventually(lambda: counted(read_model) == {"apple": 40 + stands})


def test_a_producer_takes_a_position_that_was_set_by_hand(
    writer: Writer, serve: Any, run: Any, manage: Projections, read_model: Path
) -> None:
    """It names no commit to compare; the next one does again."""
    _, port = serve()
    add(writer, 20)
    run(SumUp, source=Remote("carts", f"127.0.0.1:{port}"))
    eventually(lambda: counted(read_model) == {"apple": 20})
    slice_ = slice_with_events(manage)
    stands = manage.positions(NAME)[slice_]
    manage.set_position(NAME, slice_, 1)
    eventually(lambda: counted(read_model) == {"apple": 20 + stands - 1})
    ((write_id,),) = rows(
        read_model, "select length(write_id) from thespian_dc_positions where slice = ?", slice_
    )
    assert write_id == 16


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_compare_and_set_is_refused_where_it_stands_elsewhere(
    writer: Writer, run: Any, manage: Projections, read_model: Path, runs: bool
) -> None:
    """Nothing is changed, and the answer says where it stands."""
    add(writer, 20)
    child = run()
    eventually(lambda: counted(read_model) == {"apple": 20})
    if not runs:
        child.end()
    before = manage.positions(NAME)
    slice_ = slice_with_events(manage)
    with pytest.raises(WishRefusedError, match=f"stands at {before[slice_]}, not at 10000"):
        manage.set_position(NAME, slice_, 0, expected=10_000)
    with pytest.raises(WishRefusedError, match="stands at"):
        manage.skip(NAME, slice_, before[slice_] + 1)
    if runs:
        with pytest.raises(WishRefusedError, match="nothing is known to be there"):
            manage.skip(NAME, slice_, before[slice_])
        with pytest.raises(WishRefusedError, match="nothing is known to be there"):
            manage.set_position(NAME, slice_, before[slice_] + 1)
    with pytest.raises(WishRefusedError, match="positions of slices 0, 1, 2, 3"):
        manage.set_position(NAME, SLICES, 0)
    with pytest.raises(SettingsError):
        manage.set_position(NAME, slice_, -1)
    assert manage.positions(NAME) == before


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_one_event_is_skipped(
    writer: Writer, run: Any, manage: Projections, read_model: Path, runs: bool
) -> None:
    """The handler fails at it again and again; behind it all goes on, at once."""
    writer.add([("c-1", Added("apple", 1)), ("c-1", Added("apple", 13)), ("c-1", Added("pear", 1))])
    child = run(PoisonedCount, restart_backoff_ms=(20_000, 20_000))
    eventually(lambda: counted(read_model) == {"apple": 1})
    eventually(lambda: manage.status(NAME).phase == "failing")
    slice_ = slice_with_events(manage)
    if not runs:
        child.end()
    manage.skip(NAME, slice_, 1)
    if not runs:
        run(PoisonedCount)
    eventually(lambda: counted(read_model) == {"apple": 1, "pear": 1}, deadline_s=15)
    assert offsets(read_model)[slice_] == 3


def test_an_event_that_is_looked_up_is_skipped_too(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """An entity that is included later brings its earlier events: the one the handler fails at
    stands below the position."""
    c_1 = [("c-1", Added("apple", 1)), ("c-1", Added("apple", 13)), ("c-1", Added("pear", 1))]
    writer.add([*c_1, ("c-2", Added("fig", 1))])
    run(PoisonedCount, filter=Exclude.entity_ids("c-1"), restart_backoff_ms=(20_000, 20_000))
    eventually(lambda: counted(read_model) == {"fig": 1})
    manage.add_criteria(NAME, Include.entity_ids("c-1"))
    view = when(manage, lambda v: v.phase == "failing")
    at = re.search(r"slice (\d+) offset (\d+)", view.workers[0].activity.error)
    assert at is not None, view
    manage.skip(NAME, int(at[1]), int(at[2]))
    eventually(lambda: counted(read_model) == {"fig": 1, "apple": 1, "pear": 1})


def test_a_rebuild_begins_at_zero_with_nothing_of_before(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """The handler takes away what it wrote, in the transaction that sets the positions back."""
    for _ in range(5):
        add(writer, 40)
    run(HundredthSlow)
    eventually(lambda: counted(read_model) == {"apple": 200})
    before = manage.rebuild(NAME)
    assert before.phase == "rebuilding"
    assert sum(before.rebuild_to.values()) == 200
    later = when(manage, lambda v: v.positions != before.positions)
    seen = progress(before, later, 0.1)
    assert 0 < seen.done < 1
    assert seen.rate > 0
    assert seen.eta_s is not None
    eventually(lambda: counted(read_model) == {"apple": 200} and manage.status(NAME))
    view = when(manage, lambda v: v.phase == "running")
    assert not view.rebuild_to
    assert rows(read_model, "select count(*) from seen") == [(200,)]


def test_a_rebuild_needs_a_handler_that_can_and_a_worker(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """Else every effect would be there twice, or nobody could take them away."""
    add(writer, 20)
    child = run(CountItems)
    eventually(lambda: counted(read_model) == {"apple": 20})
    with pytest.raises(WishRefusedError, match="does not define rebuild"):
        manage.rebuild(NAME)
    child.end()
    with pytest.raises(NoWorkerError):
        manage.rebuild(NAME)
    assert not manage.status(NAME).wishes
    assert sum(offsets(read_model).values()) == 20


def test_a_rebuild_that_raises_changes_nothing(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """Neither effects nor positions; the projection goes on."""
    add(writer, 20)
    run(Unbuildable)
    eventually(lambda: counted(read_model) == {"apple": 20})
    with pytest.raises(WishRefusedError, match="rebuild raised ValueError: no"):
        manage.rebuild(NAME)
    add(writer, 20)
    eventually(lambda: counted(read_model) == {"apple": 40})


def test_a_rebuild_without_a_transaction(
    writer: Writer, run: Any, manage: Projections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler deletes first, then the positions are set back."""
    notes = tmp_path / "notes.txt"
    monkeypatch.setenv("MANAGEMENT_TEST_NOTES", str(notes))
    add(writer, 20)
    run(Noted, delivery="at-least-once")
    eventually(lambda: len(notes.read_text().split()) == 20 if notes.exists() else False)
    manage.rebuild(NAME)
    eventually(lambda: manage.status(NAME).phase == "running")
    assert len(notes.read_text().split()) == 20
    assert len(set(notes.read_text().split())) == 20


def test_a_wish_that_no_worker_comes_to_is_withdrawn(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """The caller knows: it is not done, and will not be done behind its back."""
    add(writer, 20)
    child = run()
    eventually(lambda: counted(read_model) == {"apple": 20})
    slice_ = slice_with_events(manage)
    send_to_sleep(child.process.pid, read_model)
    with pytest.raises(WishWithdrawnError, match="nothing will be"):
        manage.set_position(NAME, slice_, 0, timeout_s=0.3)
    os.kill(child.process.pid, signal.SIGCONT)
    add(writer, 20)
    eventually(lambda: counted(read_model) == {"apple": 40})


def test_what_is_not_there_is_named(
    tmp_path: Path, writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """Looking makes no database; a wrong name says which there are."""
    nothing = tmp_path / "nothing.db"
    with pytest.raises(NoPositionsError):
        Projections(f"sqlite:///{nothing}").names()
    assert not nothing.exists()
    run()
    eventually(lambda: offsets(read_model) and manage.names() == [NAME])
    with pytest.raises(UnknownProjectionError, match="there are: popularity"):
        manage.status("popular")


def test_status_tells_idle_busy_stuck_and_dead_apart(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """From any process, by what the worker last wrote, its age, and whether its process lives."""
    add(writer, 8)
    child = run(SlowCount)
    eventually(lambda: counted(read_model) == {"apple": 8}, deadline_s=20)
    view = when(manage, lambda v: v.workers[0].health == "idle")
    assert (view.phase, view.lag) == ("running", 0)
    assert view.workers[0].slices == tuple(range(SLICES))
    add(writer, 40)
    busy = when(manage, lambda v: v.workers[0].health == "busy")
    assert busy.workers[0].busy_s > 0
    late = when(manage, lambda v: v.lag > 0)
    assert max(late.lag_s.values()) > 0
    os.kill(child.process.pid, signal.SIGSTOP)
    eventually(lambda: manage.status(NAME).phase == "stuck", deadline_s=20)
    child.kill()
    view = manage.status(NAME)
    assert (view.phase, view.workers[0].health) == ("stopped", "dead")


class Unbuildable(RebuiltCount):
    """Raises after it deleted something."""

    def rebuild(self, tx: Any) -> None:
        super().rebuild(tx)
        raise ValueError("no")


class Noted(ProjectionHandler):
    """A line per event in a file."""

    def handle(self, event: Any) -> None:
        with Path(os.environ["MANAGEMENT_TEST_NOTES"]).open("a") as notes:
            notes.write(f"{event.entity_id}#{event.seq_nr}\n")

    def rebuild(self) -> None:
        Path(os.environ["MANAGEMENT_TEST_NOTES"]).unlink()


class SumUp(CountItems):
    """May see an event again."""

    tables = "create table if not exists popularity(sku text primary key, n integer not null)"

    def handle(self, event: Any, tx: Any) -> None:
        tx.execute(
            "insert into popularity values (?, ?) "
            "on conflict (sku) do update set n = n + excluded.n",
            (event.payload.sku, event.payload.quantity),
        )

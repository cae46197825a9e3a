"""A handler that kills its process: real processes, real SIGKILL. Who died where is read from what
was durable before the call."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import (
    ENTITY_TYPE,
    SLICES,
    Added,
    CountItems,
    SumItems,
    Writer,
    counted,
    offsets,
    projection,
    rows,
)
from tests.streams.processes import Child, start_consumer
from tests.streams.test_healing import change, debts, in_force, seen
from thespian_dc.model.criteria import Filter, Include
from thespian_dc.model.delivery_settings import Recovery
from thespian_dc.model.ids import slice_of
from thespian_dc.model.settings import Local
from thespian_dc.projection.databases import open_stores
from thespian_dc.projection.parking import RETRY
from thespian_dc.testkit.eventually import eventually

pytestmark = pytest.mark.processes
POISON = 666


class Kills(CountItems):
    """Dies in the middle of its effects at a poisoned quantity, unless a file says it is mended."""

    def handle(self, event: Any, tx: Any) -> None:
        super().handle(event, tx)
        if event.payload.quantity == POISON and not os.path.exists(os.environ["MENDED"]):
            os.kill(os.getpid(), signal.SIGKILL)


class KillsInFlush(SumItems):
    """Dies where it writes what it gathered."""

    def flush(self, tx: Any) -> None:
        if POISON in self.sums.values():
            os.kill(os.getpid(), signal.SIGKILL)
        super().flush(tx)


@pytest.fixture
def mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mended"
    monkeypatch.setenv("MENDED", str(path))
    return path


def settings(tmp_path: Path, **changes: Any) -> Any:
    source = Local(ENTITY_TYPE, f"sqlite:///{tmp_path}/journal.db")
    defaults: dict[str, Any] = {"handler": Kills, "recovery": Recovery("retry-and-park")}
    return projection(tmp_path / "read.db", source, **(defaults | changes))


def run_until_it_lives(
    settings: Any, recorded: Any, first: Child | None = None
) -> tuple[Child, int]:
    """Start processes until one of them does not die; how many died. first: it runs already."""
    for died in range(10):
        child = first if first and not died else start_consumer(settings)
        recorded(child.process.pid)
        quiet = [0, -1]

        def ends_or_rests(child: Child = child, quiet: list[int] = quiet) -> bool:
            if child.process.poll() is not None:
                return True
            try:
                status = child.ask("status")
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return False
            if status.phase == "halted":
                return True
            quiet[:] = [quiet[0] + 1 if status.events == quiet[1] else 0, status.events]
            return status.phase == "running" and status.lag == 0 and quiet[0] > 10

        eventually(ends_or_rests)
        if child.process.poll() is None:
            return child, died
    raise AssertionError("all of them died")


@pytest.mark.parametrize("handler", [Kills, KillsInFlush])
def test_a_killer_is_parked_after_so_many_crashes(
    writer: Writer, tmp_path: Path, mended: Path, recorded: Any, handler: type
) -> None:
    """The first death tells that something kills, the second in which batch, the next two that it
    is this event: it is parked, the events around it are handled once, the process lives."""
    events = [(f"c-{nr % 3}", Added(f"s{nr}", POISON if nr == 4 else nr)) for nr in range(9)]
    writer.add(events)
    child, died = run_until_it_lives(settings(tmp_path, handler=handler), recorded)
    assert died == 4
    read_model = tmp_path / "read.db"
    eventually(lambda: sum(offsets(read_model).values()) == 9)
    assert counted(read_model) == {f"s{nr}": nr for nr in range(9) if nr not in (4, 7)}
    parked = open_stores(f"sqlite:///{read_model}").parked
    [entity] = parked.entities("popularity")
    assert (entity.entity_id, entity.events, entity.attempts) == ("c-1", 2, 3)
    assert "died 3 times" in entity.cause
    if handler is Kills:  # a retry that kills is one death, and over
        parked.wish("popularity", RETRY, "c-1")
        eventually(lambda: child.process.poll() is not None)
        child, died = run_until_it_lives(settings(tmp_path, handler=handler), recorded)
        assert died == 0
        [entity] = parked.entities("popularity")
        assert (entity.events, entity.attempts, entity.wished) == (2, 4, "")
        assert entity.cause == "the process died while it was handed over again"
        mended.touch()
        parked.wish("popularity", RETRY, "c-1")
        eventually(lambda: counted(read_model).get("s7") == 7)
        seen = rows(read_model, "select seq_nr from seen where entity_id = 'c-1' order by nr")
        assert seen == [(1,), (2,), (3,)]
    child.end()


def test_killers_in_a_row_are_parked_one_after_the_other(
    writer: Writer, tmp_path: Path, mended: Path, recorded: Any
) -> None:
    """Behind one that is refused the next one is not yet known: it is noted before it is called."""
    one, other, last = [entity for entity in map("c-{}".format, range(99))
                        if slice_of(entity, SLICES) == 1][:3]  # fmt: skip
    writer.add([(one, Added("a", POISON)), (other, Added("b", POISON)), (last, Added("c", 1))])
    child, died = run_until_it_lives(settings(tmp_path), recorded)
    assert died <= 8
    read_model = tmp_path / "read.db"
    eventually(lambda: counted(read_model) == {"c": 1})
    parked = open_stores(f"sqlite:///{read_model}").parked
    assert {entity.entity_id for entity in parked.entities("popularity")} == {one, other}
    child.end()


@pytest.mark.parametrize("included", [False, True], ids=["by its next event", "by id"])
def test_a_killer_among_what_is_owed_is_parked_too(
    writer: Writer, tmp_path: Path, mended: Path, recorded: Any, included: bool
) -> None:
    """A filter held the entity back; the event kills when it is looked up, which no position says.
    What is owed to others comes all the same, and the rest of the entity waits behind it."""
    read_model = tmp_path / "read.db"
    filtered = settings(tmp_path, filter=Include.entity_ids("c-0"))
    writer.add([(f"c-{nr % 3}", Added(f"s{nr}", POISON if nr == 4 else nr)) for nr in range(9)])
    child, _ = run_until_it_lives(filtered, recorded)
    eventually(lambda: counted(read_model) == {"s0": 0, "s3": 3, "s6": 6})
    every = Include.entity_ids("c-0", "c-1", "c-2").spelled_out()
    change(read_model, every if included else Filter())
    if not included:
        eventually(lambda: in_force(read_model, 2))
        writer.add([(f"c-{nr}", Added(f"t{nr}", 1)) for nr in range(3)])
    child, died = run_until_it_lives(filtered, recorded, child)
    assert died == 4
    handled = {"s0": 0, "s2": 2, "s3": 3, "s5": 5, "s6": 6, "s8": 8, "s1": 1}
    eventually(lambda: counted(read_model) == handled | ({} if included else {"t0": 1, "t2": 1}))
    parked = open_stores(f"sqlite:///{read_model}").parked
    [entity] = parked.entities("popularity")
    assert (entity.entity_id, entity.seq_nr, entity.attempts) == ("c-1", 2, 3)
    assert "died 3 times" in entity.cause
    mended.touch()
    parked.wish("popularity", RETRY, "c-1")
    eventually(lambda: seen(read_model)["c-1"] == list(range(1, 4 + (not included))))
    eventually(lambda: not debts(read_model))
    child.end()


def test_a_killer_halts_the_projection_where_nothing_else_is_said(
    writer: Writer, tmp_path: Path, mended: Path, recorded: Any
) -> None:
    """Better one projection that stands still by name than a process that dies for ever; and once
    mended it goes on from there."""
    writer.add([("c-1", Added("a", 1)), ("c-1", Added("b", POISON)), ("c-1", Added("c", 1))])
    read_model, fails = tmp_path / "read.db", settings(tmp_path, recovery=Recovery("fail"))
    child, died = run_until_it_lives(fails, recorded)
    status = child.ask("status")
    assert died == 4
    assert status.phase == "halted"
    assert status.error.startswith("HandlerCrashedError")
    assert counted(read_model) == {"a": 1}
    child.end()
    mended.touch()
    child, died = run_until_it_lives(fails, recorded)
    assert died == 0
    eventually(lambda: counted(read_model) == {"a": 1, "b": POISON, "c": 1})
    child.end()


def test_parked_events_outlive_kills(
    writer: Writer, tmp_path: Path, mended: Path, recorded: Any
) -> None:
    """What waits is as durable as the position: after a SIGKILL from outside nothing is handled
    twice, and nothing of the parked entity is handled early."""
    mended.touch()
    read_model = tmp_path / "read.db"
    parks = settings(tmp_path, handler=RaisesOnce, recovery=Recovery("retry-and-park", 1, 1))
    writer.add([("c-1", Added("a", POISON)), ("c-2", Added("b", 1))])
    child, _ = run_until_it_lives(parks, recorded)
    for _ in range(3):
        writer.add([("c-1", Added("a", 1)), ("c-2", Added("b", 1))])
        child.kill()
        child, died = run_until_it_lives(parks, recorded)
        assert died == 0
    eventually(lambda: counted(read_model) == {"b": 4})
    parked = open_stores(f"sqlite:///{read_model}").parked
    assert [one.events for one in parked.entities("popularity")] == [4]
    (tmp_path / "mended-too").touch()
    parked.wish("popularity", RETRY, "c-1")
    eventually(lambda: counted(read_model) == {"a": POISON + 3, "b": 4})
    child.end()


class RaisesOnce(CountItems):
    """Raises at a poisoned quantity until a second file is there."""

    def handle(self, event: Any, tx: Any) -> None:
        super().handle(event, tx)
        if event.payload.quantity == POISON and not os.path.exists(os.environ["MENDED"] + "-too"):
            raise ValueError("poison")


def test_a_kill_from_outside_costs_nothing_but_care(
    writer: Writer, tmp_path: Path, mended: Path, recorded: Any
) -> None:
    """After an unclean end each batch that was there is noted before it is handled, as a whole;
    never after a clean end."""
    read_model = tmp_path / "read.db"
    child, _ = run_until_it_lives(settings(tmp_path), recorded)
    child.kill()
    writer.add([("c-1", Added("a", 1))] * 5)
    child, died = run_until_it_lives(settings(tmp_path), recorded)
    assert died == 0
    eventually(lambda: counted(read_model) == {"a": 5})
    tries = "select max(until), max(tries), min(run > 0) from thespian_dc_attempts"
    assert rows(read_model, tries) == [(5, 1, 1)]
    child.end()
    assert rows(read_model, tries) == [(5, 0, 0)]
    writer.add([("c-1", Added("a", 1))] * 5)
    child, _ = run_until_it_lives(settings(tmp_path), recorded)
    eventually(lambda: counted(read_model) == {"a": 10})
    assert rows(read_model, tries) == [(5, 0, 1)]
    child.end()

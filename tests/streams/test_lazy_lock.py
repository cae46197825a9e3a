"""A handler that gathers in memory holds up nobody's writes while it computes, and is fenced as
exactly as one that writes at once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.streams.material import (
    SLICES,
    Added,
    CountItems,
    Writer,
    counted,
    offsets,
    projection,
    rows,
)
from thespian_dc.model.ids import slice_of
from thespian_dc.projection.api import SqlProjectionHandler
from thespian_dc.testkit.eventually import eventually


class Gathers(SqlProjectionHandler):
    """Computes as long as it is told to, and writes in flush."""

    tables = CountItems.tables
    inside: ClassVar[threading.Event] = threading.Event()
    goes_on: ClassVar[threading.Event] = threading.Event()

    def start(self, tx: Any) -> None:
        self._seen: list[tuple[str, int]] = []

    def handle(self, event: Any, tx: Any) -> None:
        self.inside.set()
        assert self.goes_on.wait(60)
        self._seen.append((event.entity_id, event.seq_nr))

    def flush(self, tx: Any) -> None:
        tx.executemany("insert into seen(entity_id, seq_nr) values (?, ?)", self._seen)
        self._seen.clear()


class Writes(Gathers):
    """Writes before it computes."""

    def handle(self, event: Any, tx: Any) -> None:
        tx.execute("insert into popularity values (?, 1)", (f"{event.seq_nr}",))
        super().handle(event, tx)


@pytest.fixture
def run(run_local: Any, writer: Writer) -> Iterator[Any]:
    Gathers.inside.clear()
    Gathers.goes_on.clear()
    yield lambda read_model, handler: run_local(projection(read_model, handler=handler))
    Gathers.goes_on.set()


def try_to_write(read_model: Path, sql: str) -> bool:
    with closing(sqlite3.connect(read_model, timeout=0.05, isolation_level=None)) as other:
        try:
            other.execute(sql)
        except sqlite3.OperationalError:
            return False
        return True


@pytest.mark.parametrize(("handler", "free"), [(Gathers, True), (Writes, False)])
def test_who_only_computes_locks_nothing(
    handler: type, free: bool, run: Any, writer: Writer, tmp_path: Path
) -> None:
    """The write lock is taken at the first statement, or for the commit."""
    read_model = tmp_path / "read.db"
    run(read_model, handler)
    writer.add([("a", Added("x", 1))])
    assert Gathers.inside.wait(60)
    assert try_to_write(read_model, "insert into popularity values ('other', 1)") is free
    Gathers.goes_on.set()
    eventually(lambda: rows(read_model, "select seq_nr from seen") == [(1,)])
    assert ("other" in counted(read_model)) is free


def test_who_was_fenced_while_it_computed_keeps_nothing(
    run: Any, writer: Writer, tmp_path: Path
) -> None:
    """Another consumer took the slice over meanwhile: when the lock is taken the row is compared
    again, and this handler's effects are gone with its move."""
    read_model = tmp_path / "read.db"
    running = run(read_model, Gathers)
    writer.add([("a", Added("x", 1))])
    assert Gathers.inside.wait(60)
    moved = (
        "update thespian_dc_positions set epoch = epoch + 1, offset = offset + 1, write_id = x''"
    )
    assert try_to_write(read_model, f"{moved} where slice = {slice_of('a', SLICES)}")
    Gathers.goes_on.set()
    eventually(lambda: running.status().restarts)
    assert rows(read_model, "select * from seen") == []
    assert sum(offsets(read_model).values()) == 1

"""Where a projection begins, over a local journal and over gRPC."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import Added, Writer, projection, rows
from tests.streams.test_healing import (
    change,
    make_source,
    passed,
    run,
    seen,
)
from thespian_dc.model.criteria import Include
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.position import START, Position
from thespian_dc.projection.starts import Ask, Put, Starts
from thespian_dc.testkit.eventually import eventually

__all__ = ["make_source", "run"]  # fixtures

HOUR_US = 3_600_000_000


class Chosen:
    """What `chosen` returns, and what it was given."""

    answer: Any = "stored"
    given: Mapping[int, Position] | None = None


def chosen(stored: Mapping[int, Position]) -> Any:
    Chosen.given = stored
    return Chosen.answer


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Chosen.answer, Chosen.given = "stored", None


def now() -> datetime:
    return datetime.now(UTC)


def test_now_begins_behind_all_that_is_there(run: Any, writer: Writer, read_model: Path) -> None:
    """And goes on from what is stored when it starts again."""
    writer.add([("a", Added("x", 1))] * 3)
    first = run(read_model, start="now")
    eventually(lambda: passed(read_model, writer))
    writer.add([("a", Added("x", 1))])
    eventually(lambda: seen(read_model) == {"a": [4]})
    assert first.stop()
    writer.add([("a", Added("x", 1))])
    run(read_model, start="now")
    eventually(lambda: seen(read_model) == {"a": [4, 5]})


def test_a_time_begins_with_what_was_written_then(
    run: Any, writer: Writer, read_model: Path
) -> None:
    """To the commit."""
    writer.add([("a", Added("x", 1))] * 3)
    between = now()
    writer.add([("a", Added("x", 1))] * 2)
    run(read_model, start=between)
    eventually(lambda: seen(read_model) == {"a": [4, 5]})


def test_the_baseline_of_healing_is_the_start(run: Any, writer: Writer, read_model: Path) -> None:
    """An entity included later comes from where the projection began; from before only where that
    was asked for."""
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))] * 2)
    run(read_model, start="now", filter=Include.tags("none"))
    eventually(lambda: passed(read_model, writer))
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))] * 2)
    eventually(lambda: passed(read_model, writer))
    wanted = Include.entity_ids("a") + Include.entity_ids("b", from_seq_nr=2)
    change(read_model, wanted.spelled_out())
    eventually(lambda: seen(read_model) == {"a": [3, 4], "b": [2, 3, 4]})
    writer.add([("a", Added("x", 1)), ("b", Added("x", 1))])
    eventually(lambda: seen(read_model) == {"a": [3, 4, 5], "b": [2, 3, 4, 5]})


def test_a_function_decides_over_what_is_stored(run: Any, writer: Writer, read_model: Path) -> None:
    """Also to skip what was missed, or to do everything again."""
    first = run(read_model, start=chosen)
    writer.add([("a", Added("x", 1))] * 2)
    eventually(lambda: seen(read_model) == {"a": [1, 2]})
    assert first.stop()
    assert Chosen.given == {}
    writer.add([("a", Added("x", 1))] * 2)
    Chosen.answer = "now"
    second = run(read_model, start=chosen)
    eventually(lambda: passed(read_model, writer))
    assert Chosen.given is not None
    assert sum(at.offset for at in Chosen.given.values()) == 2
    assert second.stop()
    assert seen(read_model) == {"a": [1, 2]}
    Chosen.answer = "beginning"
    with closing(sqlite3.connect(read_model, isolation_level=None)) as connection:
        connection.execute("delete from seen")
    run(read_model, start=chosen)
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3, 4]})


def test_what_is_missing_yet_begins_at_the_beginning(tmp_path: Path) -> None:
    """Nobody answers at the first try: what is written before the second is not lost."""
    decide = Starts(projection(tmp_path / "x.db", start="now")).decide
    assert decide({}, HOUR_US) == Ask(None, moves=False)
    assert decide({}, 2 * HOUR_US) == Ask(HOUR_US, moves=False)


def test_a_start_is_decided_once(tmp_path: Path) -> None:
    """A restart after a failure goes on from what is stored."""
    starts = Starts(projection(tmp_path / "x.db", start=chosen))
    Chosen.answer = {0: START}
    assert starts.decide({0: Position(5, b"w")}, 0) == Put({0: START})
    starts.on_placed()
    assert starts.decide({0: Position(5, b"w")}, 0) is None


@pytest.mark.parametrize("answer", [{1: START}, {0: 5}, "soon", None])
def test_a_bad_answer_is_named(answer: Any, tmp_path: Path) -> None:
    """Not guessed."""
    starts = Starts(projection(tmp_path / "x.db", start=chosen))
    Chosen.answer = answer
    with pytest.raises(SettingsError, match="start"):
        starts.decide({0: Position(5, b"w")}, 0)


def test_nobody_else_is_moved_by_a_start(run: Any, writer: Writer, read_model: Path) -> None:
    """Rows of another projection in the same database stand where they stood."""
    writer.add([("a", Added("x", 1))] * 3)
    run(read_model, name="other")
    eventually(lambda: seen(read_model) == {"a": [1, 2, 3]})
    run(read_model, start="now")
    sql = "select projection, sum(offset) from thespian_dc_positions group by projection"
    eventually(lambda: rows(read_model, sql) == [("other", 3), ("popularity", 3)])

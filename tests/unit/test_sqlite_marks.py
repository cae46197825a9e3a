"""What a projection remembers, and which filter it wants, in SQLite: what is written is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from thespian_dc.model.criteria import UNFILTERED, Exclude, Filter, Include, VersionedFilter
from thespian_dc.model.projection_errors import FilterChangedError
from thespian_dc.projection.memory import (
    Changes,
    Debt,
    Mark,
    SliceMemory,
    Start,
    StoredMemory,
)
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.sqlite.filters import SqliteFilters
from thespian_dc.projection.sqlite.marks import SqliteMarks

RED, BLUE = Include.tags("red"), Exclude.entity_ids("blue")
MEMORY = {0: SliceMemory(3, 7, [Start(7, 1), Start(20, 2)]), 1: SliceMemory(0, 9, [Start(9, 2)])}
CHANGES = Changes(
    MEMORY, {1: RED, 2: BLUE},
    [(0, "a", Mark(5, 12)), (1, "b", Mark(0, 30))],
    [(0, "a", Debt(9, 25)), (1, "c", Debt(0, 0, 40, 3))],
)  # fmt: skip


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/read.db"


@pytest.fixture
def database(url: str) -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase(url)
    yield opened
    opened.close()


@pytest.fixture
def marks(database: SqliteDatabase) -> SqliteMarks:
    stored = SqliteMarks(database)
    write(database, stored, CHANGES)
    return stored


def write(database: SqliteDatabase, marks: SqliteMarks, changes: Changes) -> None:
    database.begin()
    marks.write("p", changes)
    database.commit()


def test_what_was_written_is_loaded_for_the_slices_asked_for(marks: SqliteMarks) -> None:
    """With the marks of entities that are owed something, and no others."""
    assert marks.load("p", [0, 1]) == StoredMemory(
        MEMORY, {1: RED, 2: BLUE}, {"a": (0, Debt(9, 25)), "c": (1, Debt(0, 0, 40, 3))},
        {"a": Mark(5, 12)}, {},
    )  # fmt: skip
    assert marks.load("p", [1]).slices == {1: MEMORY[1]}
    assert marks.load("p", [1]).debts == {"c": (1, Debt(0, 0, 40, 3))}
    assert marks.load("other", [0, 1]) == StoredMemory()
    assert marks.marks("p", 0, ["a", "b", "'"]) == {"a": Mark(5, 12)}


def test_what_is_paid_goes_and_filters_of_no_slice_go(
    marks: SqliteMarks, database: SqliteDatabase
) -> None:
    """A mark is replaced, a paid debt goes; version 1 was in force nowhere that is remembered."""
    later = SliceMemory(3, 7, [Start(20, 2)])
    write(
        database, marks, Changes({0: later}, {2: BLUE}, [(0, "a", Mark(9, 25))], [(0, "a", None)])
    )
    found = marks.load("p", [0, 1])
    assert found.slices == {0: later, 1: MEMORY[1]}
    assert found.debts.keys() == {"c"}
    assert found.filters == {2: BLUE}
    assert marks.marks("p", 0, ["a"]) == {"a": Mark(9, 25)}


def test_nothing_is_kept_of_a_transaction_that_is_rolled_back(
    marks: SqliteMarks, database: SqliteDatabase
) -> None:
    """Marks, debts and versions are part of the position's transaction."""
    before = marks.load("p", [0, 1])
    database.begin()
    marks.write("p", Changes({0: SliceMemory()}, {}, [(0, "a", Mark(99, 99))], [(0, "a", None)]))
    database.rollback()
    assert marks.load("p", [0, 1]) == before


def test_a_slice_can_be_forgotten_and_begin_elsewhere(marks: SqliteMarks) -> None:
    """A position set by hand: nothing of the slice counts any more."""
    marks.skip("p", 0, 17)
    marks.skip("p", 0, 17)
    assert marks.load("p", [0]).skips == {0: frozenset({17})}
    marks.forget("p", 0, 100)
    found = marks.load("p", [0, 1])
    assert found.slices == {0: SliceMemory(100), 1: MEMORY[1]}
    assert found.debts.keys() == {"c"}
    assert found.skips == {}
    assert marks.marks("p", 0, ["a"]) == {}


# --- the filter that is wanted ---


@pytest.fixture
def filters(database: SqliteDatabase) -> SqliteFilters:
    return SqliteFilters(database)


def test_the_settings_filter_counts_where_nothing_is_stored(filters: SqliteFilters) -> None:
    """And again when it is another one than before; a change made meanwhile counts until then."""
    assert filters.read("p") == filters.begin("p", Filter()) == UNFILTERED
    assert filters.begin("p", RED) == VersionedFilter(1, RED)
    assert filters.change("p", 1, BLUE) == VersionedFilter(2, BLUE)
    assert filters.begin("p", RED) == filters.read("p") == VersionedFilter(2, BLUE)
    assert filters.begin("p", RED + BLUE) == VersionedFilter(3, RED + BLUE)
    assert filters.read("other") == UNFILTERED


def test_of_two_changes_from_one_version_one_is_refused(filters: SqliteFilters, url: str) -> None:
    """By name, and it changed nothing; versions never count down or repeat."""
    other = SqliteDatabase(url)
    try:
        assert SqliteFilters(other).change("p", 0, RED).version == 1
        with pytest.raises(FilterChangedError, match="version 1, not 0"):
            filters.change("p", 0, BLUE)
        assert filters.read("p") == VersionedFilter(1, RED)
        assert filters.change("p", 1, Filter()) == VersionedFilter(2, Filter())
    finally:
        other.close()


def test_a_change_of_another_connection_is_noticed(database: SqliteDatabase, url: str) -> None:
    """By one number that is nearly free to read; our own writes do not raise it."""
    filters, other = SqliteFilters(database), SqliteDatabase(url)
    try:
        theirs = SqliteFilters(other)
        before = database.data_version()
        filters.change("p", 0, RED)
        assert database.data_version() == before
        theirs.change("p", 1, BLUE)
        assert database.data_version() != before
    finally:
        other.close()

"""A consumer's SQLite database is opened by several at once: workers, a verb, whoever reads it."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thespian_dc.model.errors import SettingsError
from thespian_dc.model.projection_errors import NoPositionsError
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.management import Projections
from thespian_dc.projection.sqlite.database import SqliteDatabase, sqlite_path
from thespian_dc.testkit.eventually import never


def test_who_makes_a_table_meanwhile_is_waited_for(tmp_path: Path) -> None:
    """A new file is no write-ahead log yet, and SQLite itself does not wait to make it one."""
    path = tmp_path / "read.db"
    url = f"sqlite:///{path}"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    other.execute("create table popularity(sku text)")
    with pytest.raises(PositionStoreError, match="locked"):
        SqliteDatabase(url, busy_timeout_s=0)
    opened = threading.Event()

    def open_it() -> str:
        database = SqliteDatabase(url)
        opened.set()
        mode: str = database.execute("pragma journal_mode").fetchone()[0]
        database.close()
        return mode

    with ThreadPoolExecutor(1) as pool:
        mode = pool.submit(open_it)
        never(opened.is_set, within_s=0.1)
        other.execute("commit")
        assert mode.result(30) == "wal"
    other.close()


def test_looking_for_positions_changes_no_other_file(tmp_path: Path) -> None:
    """A journal's, another program's, an operator's notes: SQLite takes a short text for a database
    that is empty yet."""
    notes, customers = tmp_path / "notes?.txt", tmp_path / "customers.db"
    notes.write_text("x")
    other = sqlite3.connect(customers)
    other.execute("create table customers(name text)")
    other.close()
    for path in (notes, customers):
        before = path.read_bytes()
        manage = Projections(f"sqlite:///{path}")
        for look in (manage.names, lambda to=manage: to.pause("popularity")):
            with pytest.raises(NoPositionsError):
                look()
        assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [customers, notes]


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:", "ranking.db"])
def test_positions_are_kept_in_a_file(url: str) -> None:
    """In memory each of a worker's threads would have a database of its own."""
    with pytest.raises(SettingsError, match="the path of a file"):
        sqlite_path(url)

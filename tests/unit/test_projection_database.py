"""A consumer's SQLite database is opened by several at once: workers, a verb, whoever reads it."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thespian_dc import ProjectionHandler
from thespian_dc.journal.api import open_journal
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.projection_errors import NoPositionsError
from thespian_dc.model.settings import Local, Projection, Settings
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.node_checks import check_settings
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


class Noting(ProjectionHandler):
    def handle(self, event: object) -> None:
        """Nothing to do."""


@pytest.mark.parametrize("own", [True, False], ids=["the node's", "the source's"])
def test_a_journals_file_is_none_for_positions(tmp_path: Path, own: bool) -> None:
    """A handler's table `state` would be the journal's, its rows damage there. Found before there
    is a file, under whatever name it goes."""
    (tmp_path / "same").symlink_to(tmp_path)
    journal = f"sqlite:///{tmp_path}/the%20shop.db?synchronous=normal"
    source = Local("cart", "" if own else journal)
    positions = f"sqlite:///{tmp_path}/same/the shop.db"
    settings = Settings(
        "shop", journal=journal if own else "memory:",
        projections=[Projection("ranking", source, Noting, positions, delivery="at-least-once")],
    )  # fmt: skip
    with pytest.raises(SettingsError, match=r"ranking: positions .* file of its own"):
        check_settings(settings, simple=True)


def test_who_opens_a_journals_file_for_positions_writes_nothing_to_it(tmp_path: Path) -> None:
    """Any journal's, also of a node that is not asked."""
    path = tmp_path / "shop.db"
    open_journal(f"sqlite:///{path}").close()
    before = path.read_bytes()
    with pytest.raises(SettingsError, match=r"a journal's .* file of its own"):
        SqliteDatabase(f"sqlite:///{path}")
    assert path.read_bytes() == before

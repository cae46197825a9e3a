"""The journal in SQLite keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journal.sqlite_storage import SqliteUnderTest
from thespian_dc.testkit.journal_kit import JournalConformance


class TestSqliteJournal(JournalConformance):
    segment_records = (
        None  # one row per slice holds its head: there are no partitions to keep small
    )

    @pytest.fixture
    def journal_factory(self, tmp_path: Path) -> Iterator[SqliteUnderTest]:
        storage = SqliteUnderTest(tmp_path)
        yield storage
        storage.close()

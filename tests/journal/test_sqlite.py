"""The journal in SQLite keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journal.sqlite_storage import SqliteUnderTest
from thespian_dc.journal.sqlite.open import open_sqlite
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


def test_who_is_overtaken_between_two_looks_takes_the_others_slice_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count stood nowhere at the first look, and logs stand at the second: no damage."""
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    slow, quick = open_sqlite(url), open_sqlite(url)
    look = slow._has_logs

    def overtaken(entity_type: str) -> bool:
        quick.slices(entity_type, 8)
        return look(entity_type)

    monkeypatch.setattr(slow, "_has_logs", overtaken)
    assert slow.slices("cart", 8) == 8
    slow.close()
    quick.close()

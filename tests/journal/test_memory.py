"""The journal in memory keeps the contract."""

from __future__ import annotations

import pytest

from tests.journal.memory_storage import SEGMENT_RECORDS, MemoryUnderTest
from thespian_dc.journal.api import open_journal
from thespian_dc.model.errors import JournalUrlError
from thespian_dc.testkit.journal_kit import JournalConformance


class TestMemoryJournal(JournalConformance):
    segment_records = SEGMENT_RECORDS

    @pytest.fixture
    def journal_factory(self) -> MemoryUnderTest:
        return MemoryUnderTest()


def test_a_name_is_one_storage_in_a_process() -> None:
    """Tests of several actors' cores in one process share a journal by its URL."""
    first, second = open_journal("memory:shared-by-name"), open_journal("memory:shared-by-name")
    other = open_journal("memory:another-name")
    assert first.put_entry("x", 0, 1)
    assert second.entry("x").value == 1
    assert other.entry("x").value is None
    assert first.journal_id == second.journal_id != other.journal_id
    first.close()
    assert second.entry("x").value == 1


def test_nonsense_names_are_refused() -> None:
    """`memory://x` looks like a file that would outlive the process."""
    with pytest.raises(JournalUrlError):
        open_journal("memory://x")

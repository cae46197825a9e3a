"""The conformance suite fails where a promise is broken: each bug is put into the memory journal.

A suite that passes on everything proves nothing. Each entry is one bug a backend could have.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.journal.memory_storage import MemoryUnderTest
from thespian_dc.journal import memory
from thespian_dc.journal.api import Appended, Head, Member, Outcome, Owner, StateRow
from thespian_dc.journal.cells import Cell
from thespian_dc.journal.memory import MemoryJournal
from thespian_dc.model.errors import JournalError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.record import Commit
from thespian_dc.testkit.journal_cases.storage import SLICES, TYPE
from thespian_dc.testkit.journal_kit import JournalConformance


class EpochNotCompared(MemoryJournal):
    def _append(self, commit: Commit) -> Appended:
        here = self.head_at(commit.key, commit.base_offset)
        if here is not None and here.head == commit.base_offset:
            commit.epoch = here.epoch
        return super()._append(commit)


class HeadNotCompared(MemoryJournal):
    def _append(self, commit: Commit) -> Appended:
        if commit.base_offset != self.find_head(commit.key).head:
            self._storage.commits[commit.key][commit.base_offset] = commit
            return Appended(commit, Outcome.DONE)
        return super()._append(commit)


class SegmentsNotFollowed(MemoryJournal):
    def find_head(self, key: SliceKey) -> Head:
        return self._static(key, 0) or Head(0, 0)


class InstalledBehindTheHead(MemoryJournal):
    def install(self, key: SliceKey, head: int, epoch: int) -> bool:
        at = (key, max(head - 1, 0) // self._storage.segment_records)
        self._storage.statics[at] = memory._sealed(*key, at[1], head, epoch)
        return True


class SameEpochInstalled(MemoryJournal):
    def install(self, key: SliceKey, head: int, epoch: int) -> bool:
        here = self.find_head(key)
        return here == (head, epoch) or super().install(key, head, epoch)


class MarkRaisedBlindly(MemoryJournal):
    def advance_index(self, key: SliceKey, until_offset: int, recent: Sequence[Commit] = ()) -> int:
        mark = min((commit.base_offset for commit in recent), default=self.index_mark(key))
        self._storage.marks[key] = memory._sealed(*key, mark)
        return super().advance_index(key, until_offset, recent)


class TailNotRead(MemoryJournal):
    def read_entity(
        self, key: SliceKey, entity_id: str, from_seq_nr: int = 1, until_offset: int | None = None,
        until_seq_nr: int | None = None,
    ) -> list[Any]:  # fmt: skip
        until = min(until_offset or 1 << 60, self.index_mark(key))
        return super().read_entity(key, entity_id, from_seq_nr, until, until_seq_nr)


class LateStateWins(MemoryJournal):
    def write_states(self, key: SliceKey, rows: Sequence[StateRow]) -> None:
        for row in rows:
            self.delete_state(key, row.entity_id)
        super().write_states(key, rows)


class StateNotChecked(MemoryJournal):
    def read_state(self, key: SliceKey, entity_id: str) -> StateRow | None:
        row = self._storage.states.get((key, entity_id))
        return StateRow(*row[2:-1]) if row else None


class StatesOfAllSlices(MemoryJournal):
    def states(self, key: SliceKey, after: str = "", limit: int = 1000) -> list[StateRow]:
        every = {name: at for at, name in self._storage.states if name > after}
        rows = [self.read_state(every[name], name) for name in sorted(every)]
        return [row for row in rows if row is not None][:limit]


class SeenEpochIgnored(MemoryJournal):
    def claim(
        self, key: SliceKey, member_id: str, token: bytes, seen_epoch: int | None = None
    ) -> Owner:
        return super().claim(key, member_id, token)


class TrimForgetsTheWriteId(MemoryJournal):
    def _trimmed(self, key: SliceKey) -> Position:
        return super()._trimmed(key)._replace(write_id=b"")


class TrimPassesTheMark(MemoryJournal):
    def trim(self, key: SliceKey, until_offset: int) -> int:
        self._storage.marks[key] = memory._sealed(*key, until_offset)
        return super().trim(key, until_offset)


class PositionAboveTheHead(MemoryJournal):
    def position_before(self, key: SliceKey, offset: int) -> Position:
        return super().position_before(key, min(offset, self.find_head(key).head))


class SliceCountOverwritten(MemoryJournal):
    def slices(self, entity_type: str, wanted: int) -> int:
        self._put_cell(Cell.make(f"slices/{entity_type}", 1, wanted), None)
        return wanted


class EntriesNotCompared(MemoryJournal):
    def put_entry(
        self, name: str, expected_version: int, value: Any, lightly: bool = False
    ) -> bool:
        return self._put_cell(Cell.make(f"entry/{name}", expected_version + 1, value), None)


class MembersKept(MemoryJournal):
    def forget(self, member_id: str) -> None:
        self.announce(Member(member_id, "", "", (), 9))


class AnsweredTwice(MemoryJournal):
    def append(self, commits: Sequence[Commit], on_appended: Callable[[Appended], None]) -> None:
        super().append([*commits, commits[0]], on_appended)


class SealsNotChecked(MemoryJournal):
    def _static(self, key: SliceKey, segment: int) -> Head | None:
        row = self._storage.statics.get((key, segment))
        return Head(row[3], row[4]) if row else None


class BytesNotBounded(MemoryJournal):
    def read(self, key: SliceKey, from_offset: int, bytes_max: int = 1 << 20) -> list[Commit]:
        return super().read(key, from_offset, 1 << 30)


class CoveringNotFound(MemoryJournal):
    def read(self, key: SliceKey, from_offset: int, bytes_max: int = 1 << 20) -> list[Commit]:
        found = super().read(key, from_offset, bytes_max)
        return [commit for commit in found if commit.base_offset >= from_offset]


CAUGHT = {
    EpochNotCompared: "test_a_zombie_is_fenced_on_a_quiet_slice",
    HeadNotCompared: "test_append_at_another_head_conflicts_and_writes_nothing",
    SegmentsNotFollowed: "test_commits_cross_segments_and_heads_follow",
    InstalledBehindTheHead: "test_a_zombie_is_fenced_at_a_segment_it_has_not_reached",
    SameEpochInstalled: "test_install_needs_this_head_and_a_higher_epoch",
    MarkRaisedBlindly: "test_the_mark_is_never_raised_over_what_is_not_indexed",
    TailNotRead: "test_an_entity_is_read_complete_wherever_the_index_mark_is",
    LateStateWins: "test_a_late_older_state_never_wins",
    StateNotChecked: "test_a_damaged_state_is_absent_and_named_by_verify",
    StatesOfAllSlices: "test_states_are_listed_by_slice_each_once_in_pages",
    SeenEpochIgnored: "test_a_claim_on_an_outdated_view_returns_who_was_quicker",
    TrimForgetsTheWriteId: "test_trimming_removes_whole_commits_and_keeps_the_head",
    TrimPassesTheMark: "test_trimming_stops_at_the_index_mark",
    PositionAboveTheHead: "test_a_position_above_the_head_has_diverged",
    SliceCountOverwritten: "test_the_slice_count_is_fixed_by_the_first_use",
    EntriesNotCompared: "test_entries_change_by_compare_and_set",
    MembersKept: "test_members_announce_and_are_forgotten",
    AnsweredTwice: "test_every_commit_is_answered_exactly_once",
    SealsNotChecked: "test_every_flipped_bit_is_found_and_named",
    BytesNotBounded: "test_read_is_bounded_by_bytes_and_makes_progress",
    CoveringNotFound: "test_read_starts_with_the_commit_that_covers_the_offset",
}


def run_case(case: str, journal_class: type[MemoryJournal]) -> None:
    """Run one test of the suite on a journal of this class."""

    class Storage(MemoryUnderTest):
        def open(self) -> MemoryJournal:
            return journal_class("memory:broken", self.storage)

    class Suite(JournalConformance):
        segment_records = 16

    storage = Storage()
    journal, other = storage.open(), storage.open()
    journal.slices(TYPE, SLICES)
    given = {"journal_factory": storage, "journal": journal, "other": other}
    test = getattr(Suite(), case)
    test(**{name: given[name] for name in inspect.signature(test).parameters})


@pytest.mark.parametrize("bug", CAUGHT, ids=lambda bug: bug.__name__)
def test_a_broken_promise_fails_the_suite(bug: type[MemoryJournal]) -> None:
    """The same case passes on the journal as it is."""
    run_case(CAUGHT[bug], MemoryJournal)
    with pytest.raises((AssertionError, JournalError, IndexError, pytest.fail.Exception)):
        run_case(CAUGHT[bug], bug)

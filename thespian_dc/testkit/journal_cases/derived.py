"""What is derived from the log: the entity index, states, times, positions, and trimming."""

from __future__ import annotations

import random

import pytest

from thespian_dc.journal.api import Head, Journal, StateRow
from thespian_dc.model.errors import JournalDivergedError, JournalError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import START, Position
from thespian_dc.testkit.journal_cases.storage import (
    SLICES,
    TYPE,
    JournalStorage,
    Suite,
    Writer,
    all_commits,
    offsets_of,
)

KEY = SliceKey(TYPE, 2)


def seq_nrs(
    journal: Journal, entity_id: str, from_seq_nr: int = 1, until: int | None = None
) -> list[int]:
    """The entity's sequence numbers as `read_entity` gives them."""
    found = journal.read_entity(KEY, entity_id, from_seq_nr, until)
    assert all(one.record.entity_id == entity_id for one in found)
    return [one.record.seq_nr for one in found]


class DerivedCases(Suite):
    """What `read_entity`, the index, states, `offset_at`, `position_before` and `trim` promise."""

    # --- by entity ---
    def test_an_entity_is_read_complete_wherever_the_index_mark_is(self, journal: Journal) -> None:
        """Mark, then index, then the log: an index that lags behind hides nothing."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write("a", f"e-{n}", "a") for n in range(6)]
        for commit in commits:
            journal.advance_index(KEY, commit.end_offset)
            assert journal.index_mark(KEY) >= commit.end_offset
            assert seq_nrs(journal, "a") == list(range(1, 13))
            assert seq_nrs(journal, "e-5") == [1]
        writer.write("a")
        assert seq_nrs(journal, "a") == list(range(1, 14))

    def test_an_entity_is_read_with_place_and_time(self, journal: Journal) -> None:
        """Recovery and healing need to know where a record stands."""
        writer = Writer(journal, KEY).take_over()
        first, second = writer.write("x", "a"), writer.write("a")
        journal.advance_index(KEY, first.end_offset)
        found = journal.read_entity(KEY, "a")
        assert [(f.offset, f.time_us) for f in found] == [(1, first.time_us), (2, second.time_us)]

    def test_an_entity_is_read_from_a_seq_nr_until_an_offset(self, journal: Journal) -> None:
        """Replay after a snapshot; a lookup that must not pass a consumer's position."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write("a", "b", "a") for _ in range(4)]
        for mark in (0, 6, 12):
            journal.advance_index(KEY, mark)
            assert seq_nrs(journal, "a", 4) == [4, 5, 6, 7, 8]
            assert seq_nrs(journal, "a", 3, until=commits[1].base_offset + 2) == [3]
            assert seq_nrs(journal, "a", 1, until=0) == []
            assert seq_nrs(journal, "a", 9) == []
            assert seq_nrs(journal, "nobody") == []

    def test_an_entity_is_read_a_piece_at_a_time(self, journal: Journal) -> None:
        """So that a long history is never held as a whole, whether it is indexed or not."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write("a", "b", "a", "a") for _ in range(4)]
        for mark in (0, 4, 8, 16):
            journal.advance_index(KEY, mark)
            for start in range(1, 14):
                for end in range(start, 15):
                    found = journal.read_entity(KEY, "a", start, None, end)
                    seen = [one.record.seq_nr for one in found]
                    assert seen == list(range(start, min(end, 13)))
        below = journal.read_entity(KEY, "a", 2, commits[1].base_offset + 1, 9)
        assert [one.record.seq_nr for one in below] == [2, 3, 4]
        assert journal.read_entity(KEY, "nobody", 1, None, 9) == []
        journal.trim(KEY, 8)
        for start, end in ((1, 2), (1, 9), (4, 7), (6, 7)):
            with pytest.raises(TrimmedError):
                journal.read_entity(KEY, "a", start, None, end)
        assert [f.record.seq_nr for f in journal.read_entity(KEY, "a", 7, None, 10)] == [7, 8, 9]

    def test_the_mark_is_never_raised_over_what_is_not_indexed(self, journal: Journal) -> None:
        """A new owner has only its own commits at hand; the ones before come from the log."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write("a") for _ in range(12)]
        mark = journal.advance_index(KEY, commits[-1].end_offset, recent=commits[-2:])
        assert mark == journal.index_mark(KEY) == 12
        assert seq_nrs(journal, "a") == list(range(1, 13))
        assert journal.verify() == []

    def test_the_mark_never_falls(self, journal: Journal) -> None:
        """Two that index at once, or one again: below the mark everything stays indexed."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write("a", "b") for _ in range(4)]
        journal.advance_index(KEY, 8, recent=commits)
        assert journal.advance_index(KEY, 4, recent=commits[:2]) == 8
        assert journal.index_mark(KEY) == 8

    def test_recent_commits_of_other_slices_are_not_mixed_in(self, journal: Journal) -> None:
        """A host keeps what it appended to all its slices."""
        writer = Writer(journal, KEY).take_over()
        foreign = Writer(journal, SliceKey(TYPE, 0)).take_over()
        mine, theirs = writer.write("a"), foreign.write("z")
        journal.advance_index(KEY, 1, recent=[theirs, mine])
        assert seq_nrs(journal, "a") == [1]
        assert seq_nrs(journal, "z") == []

    def test_entity_ids_are_listed_once_in_pages(self, journal: Journal) -> None:
        """Tools walk all entities without holding them."""
        names = {f"e-{n}" for n in range(25)}
        for number in range(4):
            writer = Writer(journal, SliceKey(TYPE, number)).take_over()
            mine = sorted(name for name in names if int(name[2:]) % 4 == number)
            writer.write(*mine, *mine)
            journal.advance_index(writer.key, writer.head)
        seen: list[str] = []
        while page := journal.entity_ids(TYPE, after=seen[-1] if seen else "", limit=7):
            assert len(page) <= 7
            seen += page
        assert len(seen) == len(set(seen))
        assert set(seen) == names
        assert journal.entity_ids("nothing") == []

    # --- states ---
    def test_a_late_older_state_never_wins(self, journal: Journal, other: Journal) -> None:
        """States are written behind the log, by old and new owners; their order is the offset's."""
        Writer(journal, KEY).take_over().write("a")
        newer = StateRow("a", 9, 90, b"newer")
        for offset, body in ((50, b"first"), (90, b"newer"), (20, b"late"), (89, b"late too")):
            journal.write_states(KEY, [StateRow("a", offset // 10, offset, body)])
        assert other.read_state(KEY, "a") == newer
        other.write_states(KEY, [StateRow("a", 3, 30, b"late"), StateRow("b", 1, 1, b"b")])
        assert journal.read_state(KEY, "a") == newer
        assert journal.read_state(KEY, "b") == StateRow("b", 1, 1, b"b")

    def test_states_are_forgotten_on_request_and_absent_otherwise(self, journal: Journal) -> None:
        """Recovery replays then."""
        Writer(journal, KEY).take_over().write("a")
        assert journal.read_state(KEY, "a") is None
        journal.write_states(KEY, [StateRow("a", 1, 0, b"")])
        assert journal.read_state(KEY, "a") == StateRow("a", 1, 0, b"")
        assert journal.read_state(SliceKey(TYPE, 0), "a") is None
        journal.delete_state(KEY, "a")
        journal.delete_state(KEY, "a")
        assert journal.read_state(KEY, "a") is None
        journal.write_states(KEY, [])

    def test_states_are_listed_by_slice_each_once_in_pages(self, journal: Journal) -> None:
        """What a consumer far behind begins with; states of other slices and types are others'."""
        journal.slices("other", SLICES)
        rows = {f"e-{n}": StateRow(f"e-{n}", n + 1, 10 * n, b"%d" % n) for n in range(25)}
        for key in (KEY, SliceKey(TYPE, 0), SliceKey("other", KEY.slice)):
            Writer(journal, key).take_over().write("a")
        assert journal.states(KEY) == []
        journal.write_states(KEY, list(rows.values()))
        journal.write_states(SliceKey(TYPE, 0), [StateRow("foreign", 1, 0, b"")])
        journal.write_states(SliceKey("other", KEY.slice), [StateRow("e-3", 9, 90, b"other")])
        seen: list[StateRow] = []
        while page := journal.states(KEY, after=seen[-1].entity_id if seen else "", limit=7):
            assert len(page) <= 7
            seen += page
        assert {row.entity_id: row for row in seen} == rows
        assert len(seen) == len(rows)
        assert journal.states(SliceKey(TYPE, 1)) == []

    def test_states_of_many_entities_are_read_at_once(self, journal: Journal) -> None:
        """Those without one are simply not there."""
        Writer(journal, KEY).take_over().write("a")
        rows = {name: StateRow(name, 2, 5, name.encode()) for name in ("a", "b", "c")}
        journal.write_states(KEY, list(rows.values()))
        assert journal.read_states(KEY, ["c", "nobody", "a"]) == {"a": rows["a"], "c": rows["c"]}
        assert journal.read_states(KEY, []) == {}
        assert journal.read_states(SliceKey(TYPE, 1), ["a"]) == {}

    def test_a_damaged_state_is_absent_and_named_by_verify(
        self, journal_factory: JournalStorage, journal: Journal
    ) -> None:
        """A bad snapshot must fall back to replay, never recover a wrong state; a new one heals
        it."""
        Writer(journal, KEY).take_over().write("a")
        row = StateRow("a", 1, 0, b"state" * 9)
        journal.write_states(KEY, [row])
        for seed in range(100):
            flip = journal_factory.flip(random.Random(seed), only_states=True)
            assert journal.read_state(KEY, "a") is None, flip.where
            assert journal.read_states(KEY, ["a"]) == {}, flip.where
            assert journal.states(KEY) == [], flip.where
            assert journal.verify(), flip.where
            flip.undo()
            assert journal.read_state(KEY, "a") == row
        journal_factory.flip(random.Random(1), only_states=True)
        journal.delete_state(KEY, "a")
        journal.write_states(KEY, [row])
        assert journal.read_state(KEY, "a") == row

    # --- times and positions ---
    def test_time_leads_to_the_first_commit_not_before_it(self, journal: Journal) -> None:
        """A projection that starts at a time; commits may share one."""
        writer = Writer(journal, KEY).take_over()
        assert journal.offset_at(KEY, 5) == 0
        writer.time_us = 90
        for step in (10, 10, 0, 0, 20):
            writer.time_us += step - 10
            writer.write("a", "b")
        times = [commit.time_us for commit in all_commits(journal, KEY)]
        assert times == [100, 110, 110, 110, 130]
        expected = {0: 0, 100: 0, 101: 2, 110: 2, 111: 8, 130: 8, 131: 10, 999: 10}
        assert {time: journal.offset_at(KEY, time) for time in expected} == expected

    def test_a_position_names_the_commit_before_it(self, journal: Journal) -> None:
        """What a consumer stores and a producer compares."""
        writer = Writer(journal, KEY).take_over()
        assert journal.position_before(KEY, 0) == START
        first, second = writer.write("a", "b", "c"), writer.write("a")
        for offset in (1, 2, 3):
            assert journal.position_before(KEY, offset) == Position(offset, first.write_id)
        assert journal.position_before(KEY, 4) == Position(4, second.write_id)
        assert journal.position_before(KEY, 0) == START

    def test_a_position_above_the_head_has_diverged(self, journal: Journal) -> None:
        """The journal was restored from a copy, or is another one: never a silent continue."""
        Writer(journal, KEY).take_over().write("a")
        with pytest.raises(JournalDivergedError):
            journal.position_before(KEY, 2)
        with pytest.raises(JournalDivergedError):
            journal.position_before(SliceKey(TYPE, 0), 1)

    # --- trimming ---
    def test_trimming_removes_whole_commits_and_keeps_the_head(
        self, journal: Journal, other: Journal
    ) -> None:
        """The log goes on where it was; the last trimmed write_id stays comparable for ever."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write("a", "b", "c") for _ in range(6)]
        journal.advance_index(KEY, 18)
        assert journal.trim(KEY, 8) == 6
        assert all_commits(other, KEY, 6) == commits[2:]
        for below in (0, 5):
            with pytest.raises(TrimmedError) as caught:
                other.read(KEY, below)
            assert caught.value.trimmed_to == 6
        assert other.position_before(KEY, 6) == Position(6, commits[1].write_id)
        with pytest.raises(TrimmedError):
            other.position_before(KEY, 5)
        assert other.find_head(KEY) == Head(18, 1)
        assert other.offset_at(KEY, 0) == 6
        writer.write("a")
        assert journal.trim(KEY, 3) == 6
        assert journal.verify() == []

    def test_a_wholly_trimmed_log_still_takes_appends(self, journal: Journal) -> None:
        """Head, epoch and last write_id do not live in the rows that went."""
        writer = Writer(journal, KEY).take_over()
        last = [writer.write("a") for _ in range(10)][-1]
        journal.advance_index(KEY, 10)
        assert journal.trim(KEY, 99) == 10
        assert journal.read(KEY, 10) == []
        assert journal.position_before(KEY, 10) == Position(10, last.write_id)
        assert journal.find_head(KEY) == Head(10, 1)
        assert journal.install(KEY, 10, journal.claim(KEY, "m-2", b"t" * 16).epoch)
        writer.epoch = 2
        after = writer.write("a")
        assert journal.read(KEY, 10) == [after]
        assert journal.verify() == []

    def test_an_entity_with_trimmed_records_says_so(self, journal: Journal) -> None:
        """Recovery without its snapshot must fail by name, not begin an empty entity."""
        writer = Writer(journal, KEY).take_over()
        writer.write("gone", "both")
        writer.write("gone")
        writer.write("both", "new")
        journal.advance_index(KEY, 5)
        assert journal.trim(KEY, 3) == 3
        for entity_id in ("gone", "both"):
            with pytest.raises(TrimmedError):
                journal.read_entity(KEY, entity_id)
        assert seq_nrs(journal, "both", 2) == [2]
        assert seq_nrs(journal, "gone", 3) == []
        assert seq_nrs(journal, "new") == [1]

    def test_an_entity_trimmed_twice_says_so_of_any_range(self, journal: Journal) -> None:
        """Its last record at the first trimming is in the middle at the second."""
        writer = Writer(journal, KEY).take_over()
        for count in (2, 4):
            for _ in range(count):
                writer.write("a")
            journal.advance_index(KEY, writer.head)
            assert journal.trim(KEY, writer.head) == writer.head
        for first, until in ((1, 3), (1, 5), (1, 7), (2, 3), (3, 5)):
            with pytest.raises(TrimmedError):
                journal.read_entity(KEY, "a", first, None, until)
        assert seq_nrs(journal, "a", 7) == []
        assert journal.verify() == []

    def test_trimming_stops_at_the_index_mark(self, journal: Journal) -> None:
        """What is not indexed yet could never be indexed afterwards."""
        writer = Writer(journal, KEY).take_over()
        for _ in range(4):
            writer.write("a", "b")
        journal.advance_index(KEY, 4)
        trimmed = journal.trim(KEY, 8)
        assert trimmed == (4 if journal.derived_index else 8)
        journal.advance_index(KEY, 8)
        assert seq_nrs(journal, "a", trimmed // 2 + 1) == list(range(trimmed // 2 + 1, 5))

    def test_nothing_to_trim(self, journal: Journal) -> None:
        """A new slice, or a bound inside the first commit."""
        assert journal.trim(KEY, 10) == 0
        writer = Writer(journal, KEY).take_over()
        writer.write("a", "b", "c")
        journal.advance_index(KEY, 3)
        assert journal.trim(KEY, 2) == 0
        assert offsets_of(all_commits(journal, KEY)) == [0, 1, 2]

    def test_an_index_beyond_the_head_is_refused(self, journal: Journal) -> None:
        """There is nothing to index there; a mark there would hide what comes."""
        Writer(journal, KEY).take_over().write("a")
        if not journal.derived_index:
            assert journal.advance_index(KEY, 9) == 1
            return
        with pytest.raises((JournalError, ValueError)):
            journal.advance_index(KEY, 9)
        assert journal.index_mark(KEY) <= 1

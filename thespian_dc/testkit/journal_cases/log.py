"""The slice log: appends by (head, epoch), take-over, zombies, segments, unknown outcomes,
reading by offset."""

from __future__ import annotations

from functools import partial

import pytest

from thespian_dc.journal.api import Appended, Head, Journal, Outcome, append_wait
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import records_of
from thespian_dc.testkit.eventually import eventually as wait_until
from thespian_dc.testkit.journal_cases.storage import TYPE, Suite, Writer, all_commits, offsets_of

KEY = SliceKey(TYPE, 1)


class LogCases(Suite):
    """What `find_head`, `head_at`, `install`, `append`, `commit_at` and `read` promise."""

    def test_new_slice_is_empty(self, journal: Journal) -> None:
        """A host starts from (0, 0) where nobody ever was."""
        assert journal.find_head(KEY) == Head(0, 0)
        assert journal.head_at(KEY, 0) is None
        assert journal.commit_at(KEY, 0) is None
        assert journal.read(KEY, 0) == []
        assert journal.owner(KEY) is None

    def test_what_was_appended_is_read_back_byte_by_byte(
        self, journal: Journal, other: Journal
    ) -> None:
        """The stored bytes are the wire bytes, for every process."""
        writer = Writer(journal, KEY).take_over()
        commits = [
            writer.write("a", "b", "a"),
            writer.write("c"),
            writer.write("b", "ü-é\N{ROCKET}"),
        ]
        assert all_commits(other, KEY) == commits
        assert [other.commit_at(KEY, c.base_offset) for c in commits] == commits
        assert offsets_of(commits) == list(range(6))
        assert other.find_head(KEY) == Head(6, 1)

    def test_append_at_another_head_conflicts_and_writes_nothing(self, journal: Journal) -> None:
        """An append is a compare-and-set: who is wrong about the head has a wrong memory."""
        writer = Writer(journal, KEY).take_over()
        writer.write("a")
        writer.write("b")
        for base in (0, 1, 3):
            assert writer.send(writer.commit("x", base=base)) is Outcome.CONFLICT
        assert offsets_of(all_commits(journal, KEY)) == [0, 1]
        assert journal.read_entity(KEY, "x") == []
        assert journal.commit_at(KEY, 3) is None
        assert journal.find_head(KEY) == Head(2, 1)

    def test_an_append_at_once_is_an_append_or_nothing(self, journal: Journal) -> None:
        """Where somebody must be waited for, nothing is done, and `append` is the way."""
        writer = Writer(journal, KEY).take_over()
        commit, elsewhere = writer.commit("a"), writer.commit("b", base=7)
        answers = journal.append_at_once([commit])
        if answers is None:
            assert all_commits(journal, KEY) == []
            return
        assert [(one.commit, one.outcome) for one in answers] == [(commit, Outcome.DONE)]
        assert all_commits(journal, KEY) == [commit]
        conflict = journal.append_at_once([elsewhere])
        assert conflict is not None
        assert [one.outcome for one in conflict] == [Outcome.CONFLICT]
        assert all_commits(journal, KEY) == [commit]

    @pytest.mark.parametrize("epoch", [1, 3])
    def test_append_under_another_epoch_conflicts(self, journal: Journal, epoch: int) -> None:
        """Neither a former owner nor one that has not installed its epoch yet may append."""
        writer = Writer(journal, KEY).take_over()
        writer.write("a")
        writer.take_over()
        writer.epoch = epoch
        assert writer.send(writer.commit("x")) is Outcome.CONFLICT
        assert offsets_of(all_commits(journal, KEY)) == [0]

    def test_a_claimed_epoch_alone_permits_nothing(self, journal: Journal, other: Journal) -> None:
        """Only what is installed at the head fences; the registry just hands out numbers."""
        owner = Writer(journal, KEY).take_over()
        claimed = other.claim(KEY, "m-2", b"t" * 16).epoch
        assert claimed == 2
        owner.write("x")
        late = Writer(other, KEY, head=1, epoch=2)
        assert late.send(late.commit("y")) is Outcome.CONFLICT

    def test_a_zombie_is_fenced_on_a_quiet_slice(self, journal: Journal, other: Journal) -> None:
        """The head did not move since it slept, so only the epoch can stop it."""
        zombie = Writer(journal, KEY).take_over()
        zombie.write("a")
        Writer(other, KEY, "m-2").take_over()
        assert zombie.send(zombie.commit("b")) is Outcome.CONFLICT
        assert offsets_of(all_commits(journal, KEY)) == [0]

    def test_a_zombie_is_fenced_before_the_first_record(
        self, journal: Journal, other: Journal
    ) -> None:
        """Nothing was ever written; the epoch must stand there all the same."""
        zombie = Writer(journal, KEY).take_over()
        Writer(other, KEY, "m-2").take_over()
        assert zombie.send(zombie.commit("a")) is Outcome.CONFLICT
        assert all_commits(journal, KEY) == []

    def test_a_zombie_is_fenced_at_a_segment_it_has_not_reached(
        self, journal: Journal, other: Journal
    ) -> None:
        """A segment's first append is `if nothing is there`: the take-over puts its epoch where
        that would go."""
        zombie = Writer(journal, KEY).take_over()
        for _ in range(self.segment_records or 8):
            zombie.write("a")
        fresh = Writer(other, KEY, "m-2").take_over()
        assert zombie.send(zombie.commit("b")) is Outcome.CONFLICT
        fresh.write("c")
        assert zombie.send(zombie.commit("b")) is Outcome.CONFLICT
        assert zombie.send(zombie.commit("b", base=zombie.head + 1)) is Outcome.CONFLICT

    def test_install_needs_this_head_and_a_higher_epoch(self, journal: Journal) -> None:
        """Two that take over at once: the higher epoch wins, whoever comes first; a stale head
        wins nothing."""
        writer = Writer(journal, KEY).take_over()
        writer.write("a")
        assert not journal.install(KEY, 0, 9)
        assert not journal.install(KEY, 1, 1)
        assert journal.find_head(KEY) == Head(1, 1)
        assert journal.install(KEY, 1, 5)
        assert not journal.install(KEY, 1, 4)
        assert not journal.install(KEY, 1, 5)
        assert journal.find_head(KEY) == Head(1, 5)

    def test_each_commit_of_a_call_has_its_own_answer(self, journal: Journal) -> None:
        """One slice that was lost must not stop the others in the same round trip."""
        writers = [Writer(journal, SliceKey(TYPE, n)).take_over() for n in range(4)]
        writers[1].take_over()
        commits = [writer.commit("a", "b") for writer in writers]
        lost = writers[1].commit("a", base=0)
        lost.epoch = 1
        late = writers[2].commit("a", base=1)
        answers = append_wait(journal, [commits[0], lost, late, commits[3]])
        outcomes = [answer.outcome for answer in answers]
        assert outcomes == [Outcome.DONE, Outcome.CONFLICT, Outcome.CONFLICT, Outcome.DONE]
        heads = [journal.find_head(writer.key).head for writer in writers]
        assert heads == [2, 0, 0, 2]

    def test_every_commit_is_answered_exactly_once(self, journal: Journal) -> None:
        """A host counts on one answer per commit: none leaves a slice stuck, two release effects
        twice."""
        writers = [Writer(journal, SliceKey(TYPE, n)).take_over() for n in range(4)]
        answers: list[Appended] = []
        for _ in range(3):
            commits = [writer.commit("a") for writer in writers]
            seen = len(answers)
            journal.append(commits, answers.append)
            wait_until(partial(_has_length, answers, seen + 4), deadline_s=30)
            for writer, commit in zip(writers, commits, strict=True):
                writer.note(commit)
        ids = [answer.commit.write_id for answer in answers]
        assert len(ids) == len(set(ids)) == 12
        assert {answer.outcome for answer in answers} == {Outcome.DONE}

    def test_commits_cross_segments_and_heads_follow(
        self, journal: Journal, other: Journal
    ) -> None:
        """A commit belongs to the segment of its base and may run past its end."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write(*"abcde"[: 1 + n % 5]) for n in range(20)]
        assert all_commits(other, KEY) == commits
        assert other.find_head(KEY) == Head(commits[-1].end_offset, 1)
        again = Writer(other, KEY, "m-2").take_over()
        assert again.head == writer.head
        again.write("f")
        assert offsets_of(all_commits(journal, KEY)) == list(range(again.head))

    def test_a_commit_longer_than_a_segment_is_followed(self, journal: Journal) -> None:
        """Segments between may stay empty for ever."""
        writer = Writer(journal, KEY).take_over()
        names = [f"e-{n}" for n in range(3 * (self.segment_records or 8) + 1)]
        writer.write(*names)
        writer.write("last")
        assert journal.find_head(KEY) == Head(len(names) + 1, 1)
        assert offsets_of(all_commits(journal, KEY)) == list(range(len(names) + 1))
        assert journal.verify() == []

    # --- unknown outcomes: what a host reads to resolve them ---
    def test_a_lost_done_is_found_by_its_write_id(self, journal: Journal, other: Journal) -> None:
        """The head above my base makes the row at my base immutable: its write_id decides."""
        writer = Writer(journal, KEY).take_over()
        commit = writer.write("a", "b")
        at = other.head_at(KEY, commit.base_offset)
        assert at is not None
        assert at.head > commit.base_offset
        row = other.commit_at(KEY, commit.base_offset)
        assert row is not None
        assert row.write_id == commit.write_id

    def test_a_fenced_commit_is_seen_as_never_written(
        self, journal: Journal, other: Journal
    ) -> None:
        """Head still my base under a higher epoch: mine can never be applied any more."""
        writer = Writer(journal, KEY).take_over()
        commit = writer.commit("a")
        Writer(other, KEY, "m-2").take_over()
        assert journal.head_at(KEY, commit.base_offset) == Head(0, 2)
        assert journal.commit_at(KEY, commit.base_offset) is None
        assert writer.send(commit) is Outcome.CONFLICT

    def test_the_identical_commit_sent_again_is_in_the_log_once(self, journal: Journal) -> None:
        """The only thing allowed after an unknown outcome with an unmoved head; both sends may
        arrive."""
        writer = Writer(journal, KEY).take_over()
        commit = writer.commit("a")
        assert journal.head_at(KEY, 0) == Head(0, 1)
        assert writer.send(commit) is Outcome.DONE
        assert writer.send(commit) is Outcome.CONFLICT
        assert all_commits(journal, KEY) == [commit]

    def test_a_foreign_row_at_my_base_is_told_by_its_write_id(
        self, journal: Journal, other: Journal
    ) -> None:
        """Somebody took over and wrote there: mine never was."""
        writer = Writer(journal, KEY).take_over()
        mine = writer.commit("a")
        Writer(other, KEY, "m-2").take_over().write("b")
        row = journal.commit_at(KEY, mine.base_offset)
        assert row is not None
        assert row.write_id != mine.write_id
        assert writer.send(mine) is Outcome.CONFLICT

    # --- read ---
    def test_read_starts_with_the_commit_that_covers_the_offset(self, journal: Journal) -> None:
        """A consumer's offset may lie inside a commit."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write("a", "b", "c") for _ in range(7)]
        for offset in range(21):
            assert journal.read(KEY, offset) == commits[offset // 3 :]
        assert journal.read(KEY, 21) == []
        assert journal.read(KEY, 99) == []

    def test_read_is_bounded_by_bytes_and_makes_progress(self, journal: Journal) -> None:
        """A reader's memory is bounded; a commit larger than the bound is still delivered,
        alone."""
        writer = Writer(journal, KEY).take_over()
        commits = [writer.write("a", payload=b"x" * 1000) for _ in range(12)]
        assert journal.read(KEY, 0, 1) == commits[:1]
        assert journal.read(KEY, 5, 1) == commits[5:6]
        page = journal.read(KEY, 0, 5_000)
        assert commits[: len(page)] == page
        assert 4 <= len(page) <= 6
        assert journal.read(KEY, 0, 1 << 20) == commits

    def test_records_keep_every_field(self, journal: Journal) -> None:
        """What a host packed, a producer unpacks."""
        from thespian_dc.model.record import STATE, Record, make_commit, pack_record

        Writer(journal, KEY).take_over()
        record = Record(
            STATE, "a", 1, "Cart:3", b"\0\xff", ["x", "y"], "c-1", b"r", {"o": [1, "u"]}
        )
        commit = make_commit(KEY, 0, b"w" * 16, 1, 5, [("a", pack_record(record))])
        assert append_wait(journal, [commit])[0].outcome is Outcome.DONE
        assert records_of(journal.read(KEY, 0)[0]) == [record]

    def test_a_commit_over_the_hard_limit_is_refused(self, journal: Journal) -> None:
        """One culprit is answered, nothing of it is stored, the slice goes on."""
        writer = Writer(journal, KEY).take_over()
        journal.command_bytes_max = 10_000
        assert writer.send(writer.commit("a", payload=b"x" * 10_001)) is Outcome.REFUSED
        writer.write("a")
        assert offsets_of(all_commits(journal, KEY)) == [0]

    def test_a_closed_journal_says_so(self, journal_factory: object, journal: Journal) -> None:
        """Using it afterwards is a bug of the caller's, named."""
        journal.close()
        journal.close()
        with pytest.raises(JournalUnavailableError):
            journal.find_head(KEY)

    def test_slices_are_independent(self, journal: Journal) -> None:
        """Heads, epochs and records of one slice are nobody else's."""
        first = Writer(journal, SliceKey(TYPE, 0)).take_over()
        second = Writer(journal, SliceKey(TYPE, 3)).take_over().take_over()
        first.write("a")
        second.write("a", "b")
        assert journal.find_head(first.key) == Head(1, 1)
        assert journal.find_head(second.key) == Head(2, 2)
        assert [f.record.seq_nr for f in journal.read_entity(first.key, "a")] == [1]


def _has_length(answers: list[Appended], length: int) -> bool:
    return len(answers) >= length

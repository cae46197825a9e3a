"""Writers that append to one slice each for as long as the journal says done, and the log they must
find."""

from __future__ import annotations

import os

from thespian_dc.journal.api import Appended, Journal, Outcome, append_wait, open_journal
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import EVENT, Commit, Record, make_commit, pack_record, records_of
from thespian_dc.testkit.eventually import eventually


class Appender:
    """One slice's owner: appends commit after commit from the answers, until one is not done."""

    def __init__(self, journal: Journal, key: SliceKey) -> None:
        self.journal, self.key, self.head, self.epoch = journal, key, 0, 0
        self.sent: list[Commit] = []
        self.stopping = False
        self.done: set[bytes] = set()
        self.last: Appended | None = None

    def take_over(self) -> None:
        self.epoch = self.journal.claim(self.key, "m", os.urandom(16)).epoch
        self.head = self.journal.find_head(self.key).head
        assert self.journal.install(self.key, self.head, self.epoch)

    def start(self) -> None:
        self.last = None
        self._send_next()

    def _send_next(self) -> None:
        offset = self.head
        record = Record(EVENT, "a", offset + 1, "Added:1", os.urandom(50), [], f"c-{offset}")
        pairs = [("a", pack_record(record))]
        self.sent.append(make_commit(self.key, offset, os.urandom(16), self.epoch, offset, pairs))
        self.journal.append([self.sent[-1]], self._answered)

    def _answered(self, answer: Appended) -> None:
        if answer.outcome is Outcome.DONE:
            self.note(answer.commit)
        if answer.outcome is Outcome.DONE and not self.stopping:
            self._send_next()
        else:
            self.last = answer

    def note(self, commit: Commit) -> None:
        self.done.add(commit.write_id)
        self.head = commit.end_offset

    def resolve(self) -> str:
        """By the contract: head and epoch first, then the row, else the identical commit again.
        What became of the last one; "": it is not known yet."""
        assert self.last is not None
        commit = self.last.commit
        at = self.journal.head_at(self.key, commit.base_offset)
        if at is not None and at.head > commit.base_offset:
            row = self.journal.commit_at(self.key, commit.base_offset)
            assert row is not None
            assert row.write_id == commit.write_id, "nobody else owns this slice"
            self.note(commit)
            return "was written"
        (self.last,) = append_wait(self.journal, [commit])
        if self.last.outcome is not Outcome.DONE:
            return ""
        self.note(commit)
        return "was not, is now"

    def settle(self) -> bool:
        """Whether nothing is open: done, or resolved just now."""
        if self.last is None:
            return False
        try:
            return self.last.outcome is Outcome.DONE or self.resolve() != ""
        except JournalUnavailableError:
            return False


class Appenders:
    """One for each of some slices, with a journal of their own."""

    def __init__(self, url: str, entity_type: str, slices: int = 8) -> None:
        self.journal, self.entity_type = open_journal(url), entity_type
        keys = [SliceKey(entity_type, number) for number in range(slices)]
        self.all = [Appender(self.journal, key) for key in keys]
        for one in self.all:
            one.take_over()
            one.start()

    def progress(self, commits: int, within_s: float) -> None:
        """Until each has so many more acknowledged; what is not known is resolved on the way."""
        goals = [len(one.done) + commits for one in self.all]

        def reached() -> bool:
            for one in self.all:
                if one.last is not None and one.settle():
                    one.start()
            return all(len(one.done) >= goal for one, goal in zip(self.all, goals, strict=True))

        eventually(reached, deadline_s=within_s)

    def stuck(self) -> bool:
        """Each has an answer that is not "done"."""
        return all(one.last is not None for one in self.all)

    def finish(self, within_s: float) -> int:
        """Append no more, resolve what is open, check each log; the commits acknowledged."""
        for one in self.all:
            one.stopping = True
        eventually(lambda: all(one.settle() for one in self.all), deadline_s=within_s)
        for one in self.all:
            check_log(self.journal, one)
        assert self.journal.verify(self.entity_type) == []
        self.journal.close()
        return sum(len(one.done) for one in self.all)


def check_log(journal: Journal, appender: Appender) -> None:
    """Each acknowledged commit once, in order, nothing else."""
    stored: list[Commit] = []
    offset = 0
    while page := journal.read(appender.key, offset):
        stored += page
        offset = page[-1].end_offset
    assert [commit.base_offset for commit in stored] == list(range(appender.head))
    write_ids = [commit.write_id for commit in stored]
    assert len(write_ids) == len(set(write_ids))
    assert set(write_ids) == appender.done
    seq_nrs = [record.seq_nr for commit in stored for record in records_of(commit)]
    assert seq_nrs == list(range(1, appender.head + 1))

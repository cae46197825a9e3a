"""Change slice logs: append and install by one compare-and-set of (head, epoch) each; trim by range
delete.

An append is one conditional update of one partition: it sets the segment's static head and epoch
and the row, or nothing. A segment's first append finds no head there and says so (`if head =
null`); that form compares no epoch, so it is sent only where this slice's head is known to be at
the commit's base under the commit's epoch: by this process's own acknowledged append or install, or
by a read. The two forms exclude each other, and "not applied" is certain, so after it the other
form may be sent, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from thespian_dc.journal.api import Appended, Outcome
from thespian_dc.journal.cassandra.limits import ServerLimits
from thespian_dc.journal.cassandra.link import CONDITIONAL, Link
from thespian_dc.journal.cassandra.outcome import outcome_of, reason_of
from thespian_dc.journal.cassandra.reader import LogReader
from thespian_dc.journal.cassandra.schema import Meta
from thespian_dc.journal.cassandra.sealed import wrap, write_time
from thespian_dc.journal.cassandra.url import CassandraUrl
from thespian_dc.journal.reading import check_sound
from thespian_dc.journal.seal import seal
from thespian_dc.model.errors import JournalError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.record import Commit


class Known(NamedTuple):
    """What this process last wrote for a slice: the head, under its epoch, and the segment that
    says so.
    """

    head: int
    epoch: int
    segment: int


class SliceLog(LogReader):
    """The writing half of the slice log."""

    appends_at_once = 8  # each conditional write costs the server much, whatever is in it

    def __init__(self, link: Link, url: CassandraUrl, meta: Meta, limits: ServerLimits) -> None:
        super().__init__(link, url, meta, limits)
        self._known: dict[SliceKey, Known] = {}
        self._aside = ThreadPoolExecutor(
            1, "journal-aside"
        )  # blocking steps that a callback asks for

    def install(self, key: SliceKey, head: int, epoch: int) -> bool:
        segment = head // self._segment_records
        crc = seal(*key, segment, head, epoch)
        here = self.head_at(key, head)
        if here is None:
            # Nothing there compares an epoch, so the segment before must: a higher one fences us.
            found = self.find_head(key)
            if found.head != head or (found.epoch >= epoch and found != (0, 0)):
                return False
            statement = self._statements.bind("install_first", head, epoch, crc, *key, segment)
        elif here.head == head and here.epoch < epoch:
            statement = self._statements.bind("install", epoch, crc, *key, segment, head, epoch)
        else:
            return False
        if not self._link.decide(statement)["[applied]"]:
            return False
        self._known[key] = Known(head, epoch, segment)
        return True

    def append_at_once(self, commits: Sequence[Commit]) -> list[Appended] | None:
        return None

    def append(self, commits: Sequence[Commit], on_appended: Callable[[Appended], None]) -> None:
        bytes_max = min(self.command_bytes_max, self._limits.mutation_bytes_max)
        for commit in commits:
            if self._link.closed or commit.size_bytes > bytes_max:
                too_large = f"{commit.size_bytes} bytes are more than {bytes_max}"
                reason = "the journal is closed" if self._link.closed else too_large
                on_appended(Appended(commit, Outcome.REFUSED, reason))
            else:
                form = "append_first" if self._opens_segment(commit) else "append"
                self._send(commit, on_appended, form, last_form=False)

    def _opens_segment(self, commit: Commit) -> bool:
        """Whether this process knows that the commit's segment has no head yet."""
        known = self._known.get(commit.key)
        if known is None or known[:2] != (commit.base_offset, commit.epoch):
            return False
        return known.segment != commit.base_offset // self._segment_records

    def _send(
        self, commit: Commit, on_appended: Callable[[Appended], None], form: str, last_form: bool
    ) -> None:
        def on_rows(rows: list[dict[str, Any]]) -> None:
            if rows[0]["[applied]"]:
                segment = commit.base_offset // self._segment_records
                self._known[commit.key] = Known(commit.end_offset, commit.epoch, segment)
                on_appended(Appended(commit, Outcome.DONE))
            elif last_form:
                on_appended(Appended(commit, Outcome.CONFLICT))
            else:
                self._other_form(commit, on_appended, form, rows[0])

        def on_error(error: BaseException) -> None:
            on_appended(Appended(commit, outcome_of(error), reason_of(error)))

        self._link.send(self._append_statement(form, commit), CONDITIONAL, on_rows, on_error)

    def _other_form(
        self,
        commit: Commit,
        on_appended: Callable[[Appended], None],
        form: str,
        found: dict[str, Any],
    ) -> None:
        """The first form was certainly not applied; `found` is what stood there instead."""
        head = found.get("head")
        if form == "append_first" and head == commit.base_offset:
            self._send(commit, on_appended, "append", last_form=True)
        elif form == "append" and head is None:
            # This runs in a callback of the driver, and finding the head blocks.
            self._aside.submit(self._append_to_empty, commit, on_appended)
        else:
            on_appended(Appended(commit, Outcome.CONFLICT))

    def _append_to_empty(self, commit: Commit, on_appended: Callable[[Appended], None]) -> None:
        """The commit's segment has no head: it is the segment's first, if the log's head is at its
        base.
        """
        try:
            found = self.find_head(commit.key)
        except JournalError as error:
            on_appended(Appended(commit, Outcome.REFUSED, f"not sent: {error}"))
            return
        if found == (commit.base_offset, commit.epoch) or (
            found == (0, 0) and commit.base_offset == 0
        ):
            self._send(commit, on_appended, "append_first", last_form=True)
        else:
            on_appended(Appended(commit, Outcome.CONFLICT))

    def _append_statement(self, form: str, commit: Commit) -> Any:
        key, base = commit.key, commit.base_offset
        segment, head = base // self._segment_records, commit.end_offset
        static = (head, commit.epoch, seal(*key, segment, head, commit.epoch))
        row = (commit.count, commit.write_id, commit.epoch, commit.time_us, commit.size_bytes)
        compared = (base, commit.epoch) if form == "append" else ()
        return self._statements.bind(
            form,
            *static,
            *row,
            commit.heads,
            commit.body,
            commit.checksum,
            *key,
            segment,
            base,
            *compared,
        )

    def trim(self, key: SliceKey, until_offset: int) -> int:
        trimmed, until = self._trimmed(key), min(until_offset, self.index_mark(key))
        new = self._boundary(key, until) if until > trimmed.offset else trimmed
        if new is None:  # another trims at this moment: its mark was there before rows went
            again = self._trimmed(key).offset > trimmed.offset
            return self.trim(key, until_offset) if again else trimmed.offset
        if new.offset > trimmed.offset:
            cell = wrap("trim mark", key, tuple(new))
            # First the mark, so that a reader below it is told so and does not meet a hole.
            self._rows("raise_trim_mark", *key, cell, write_time(new.offset))
        self._delete_below(key, trimmed.offset, new.offset)
        return new.offset

    def _start_segments(self, key: SliceKey) -> list[int]:
        known = self._known.get(key)
        return [known.segment, 0] if known else super()._start_segments(key)

    def _boundary(self, key: SliceKey, until: int) -> Position | None:
        """The last commit's end at or below `until`; None where its row is not there any more."""
        place = self._covering(key, until - 1)
        commit = None if place is None else self.commit_at(key, place.base_offset)
        if place is None or commit is None:
            return None
        end = check_sound(commit, "it cannot be trimmed").end_offset
        try:
            return self.position_before(key, end if end <= until else place.base_offset)
        except TrimmedError:
            return None

    def _delete_below(self, key: SliceKey, earlier_mark: int, mark: int) -> None:
        """Delete segment by segment, upwards: a trim that was cut short leaves the rows right below
        its mark.
        """
        if mark == 0:
            return
        if earlier_mark and self._covering(key, earlier_mark - 1) is not None:
            earlier_mark = 0
        elif earlier_mark == mark:
            return
        for segment in range(
            earlier_mark // self._segment_records, mark // self._segment_records + 1
        ):
            self._rows("trim", *key, segment, mark)

    def _close(self) -> None:
        self._aside.shutdown(wait=False, cancel_futures=False)
        self._link.close()

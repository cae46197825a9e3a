"""The slices of one destination type: SliceWriters over a journal. What is submitted becomes
commits, a few appends at a time, whose index is kept up. Blocks; for one thread, but for the
answers to appends, which come from any.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from thespian_dc.journal.api import Appended, Journal, Outcome
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit
from thespian_dc.shell.clock import now_us
from thespian_dc.slices.actions import (
    Action,
    Append,
    Durable,
    Failed,
    Lost,
    NotWritten,
    Owned,
    Submission,
)
from thespian_dc.slices.perform import perform
from thespian_dc.slices.writer import SliceWriter

log = logging.getLogger(__name__)

RECENT_MAX = 64
"""Commits of a slice that are kept for its index; older ones are read again."""


class Told(NamedTuple):
    """Whom the slices tell, on their own thread. owned: one more is ours. lost: it is written
    elsewhere, and why. not_written: a submission, those behind it that go with it, and why."""

    owned: Callable[[], None]
    durable: Callable[[Commit, Sequence[Submission]], None]
    lost: Callable[[SliceKey, str], None]
    not_written: Callable[[Submission, Sequence[Submission], str], None]


class DestinationSlices:
    """Of one entity type. appended: takes each answer to an append, from any thread, and brings it
    to `on_appended`."""

    def __init__(
        self, journal: Journal, entity_type: str, slices: int,
        appended: Callable[[Appended], None], told: Told,
    ) -> None:  # fmt: skip
        self._journal, self._entity_type = journal, entity_type
        self._appended, self._told = appended, told
        member_id = f"destination-{os.getpid()}-{os.urandom(4).hex()}"
        self._writers = [
            SliceWriter(
                SliceKey(entity_type, n), member_id, lambda: os.urandom(16),
                journal.commit_bytes_max,
            )
            for n in range(slices)
        ]  # fmt: skip
        self._appends: list[Commit] = []
        self._recent: dict[int, deque[Commit]] = {}

    @property
    def owned(self) -> bool:
        """All of them are ours."""
        return all(writer.owned for writer in self._writers)

    def head(self, slice_: int) -> int:
        """As its writer knows it."""
        return self._writers[slice_].head

    def wakeups_us(self) -> list[int]:
        """When `tick` is due."""
        return [one for one in (writer.wakeup_us() for writer in self._writers) if one is not None]

    def acquire(self) -> None:
        """Take over all that are not ours."""
        for writer in self._writers:
            self._perform(writer, writer.acquire(now_us()))

    def submit(self, slice_: int, submission: Submission) -> None:
        """For the next commit; `flush` follows."""
        self._writers[slice_].submit(submission)

    def on_appended(self, answer: Appended) -> None:
        """What became of an append."""
        writer = self._writers[answer.commit.key.slice]
        self._perform(writer, writer.on_appended(answer, now_us()))

    def tick(self, now: int) -> None:
        """Time has passed."""
        for writer in self._writers:
            self._perform(writer, writer.on_tick(now))

    def look_for_owners(self, now: int) -> None:
        """Whoever claimed a slice meanwhile takes it."""
        for slice_, owner in self._journal.owners(self._entity_type).items():
            writer = self._writers[slice_]
            self._perform(writer, writer.overtaken(owner.epoch, now))

    def flush(self) -> None:
        """Append what was submitted, at most as much at once as the journal takes."""
        under_way = sum(bool(w.owned and w.pending and not w.would_append) for w in self._writers)
        for writer in self._writers:
            if writer.would_append:
                under_way += 1
                if under_way > self._journal.appends_at_once:
                    continue
            self._perform(writer, writer.flush(now_us()))
        commits, self._appends = self._appends, []
        if commits:
            self._append(commits)

    def index(self) -> None:
        """Keep a derived index up; what fails is done with the next ones."""
        for slice_, commits in list(self._recent.items()):
            if commits:
                key, end = commits[-1].key, commits[-1].end_offset
                self._journal.advance_index(key, end, list(commits))
                del self._recent[slice_]

    def _append(self, commits: list[Commit]) -> None:
        try:
            self._journal.append(commits, self._appended)
        except Exception as error:
            log.exception("append_failed")
            reason = f"{type(error).__name__}: {error}"
            for commit in commits:  # of one that was answered already this says nothing
                self._appended(Appended(commit, Outcome.UNKNOWN, reason))

    def _perform(self, writer: SliceWriter, actions: Iterable[Action]) -> None:
        todo = deque(actions)  # bounded: an operation leads to one more
        while todo:
            match todo.popleft():
                case Append(commit):
                    self._appends.append(commit)
                case Owned():
                    self._told.owned()
                case Durable(_, commit, submissions):
                    self._note(commit)
                    self._told.durable(commit, submissions)
                case Lost(key, reason):
                    self._recent.pop(key.slice, None)
                    log.warning("destination_lost", extra={"slice": str(key), "reason": reason})
                    self._told.lost(key, reason)
                case NotWritten(_, submission, reason, behind):
                    self._told.not_written(submission, behind, reason)
                case operation:
                    todo.extend(writer.on_result(self._result(operation), now_us()))

    def _note(self, commit: Commit) -> None:
        if self._journal.derived_index:
            recent = self._recent.setdefault(commit.key.slice, deque(maxlen=RECENT_MAX))
            recent.append(commit)

    def _result(self, operation: Any) -> Any:
        try:
            return perform(self._journal, operation)
        except Exception as error:
            log.exception("journal_action_failed", extra={"action": type(operation).__name__})
            return Failed(operation, f"{type(error).__name__}: {error}")

"""One slice's writer: take the slice over, append what is submitted, find out what became of it.
Pure.

in: acquire, submit, flush, release, overtaken, results, now_us
out: journal operations | Append | Owned | Durable | Lost | NotWritten
Laws:
- An epoch is mine only if the registry's answer, or a read-back, carries my token. It permits
  nothing until it is installed at the head; an install without a clear answer is read back.
- One append in flight. `head` moves only by my own acknowledged appends and by a take-over.
- An outcome that is not known is read: (head, epoch) first, then the row, which is immutable once
  the head is above it. Until the reads decide, the only thing I may send is the identical commit.
- "Refused" is certain only if no earlier send of that commit is unresolved.
- Who meets a higher epoch stands down, and claims again only when asked and after a random
  back-off.

The writer knows nothing of entities: a submission is bytes and a ticket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from thespian_dc.journal.api import Appended, Head, Outcome, Owner
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, make_commit
from thespian_dc.slices.actions import (
    Action,
    Append,
    Claim,
    Claimed,
    CommitAt,
    Durable,
    Failed,
    FindHead,
    FoundCommit,
    FoundHead,
    FoundOwner,
    HeadAt,
    Install,
    Installed,
    LastCommit,
    Lost,
    NotWritten,
    Owned,
    ReadOwner,
    Result,
    Submission,
)
from thespian_dc.slices.phases import DEFAULT_TIMING, OWNING, REFUSALS_MAX, Phase, Timing

_ALL = 1 << 30


class SliceWriter:
    """Writes one slice log. new_id: 16 random bytes a call. Call `flush` after each input (or batch
    of inputs)."""

    def __init__(
        self,
        key: SliceKey,
        member_id: str,
        new_id: Callable[[], bytes],
        commit_bytes_max: int,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.key, self.member_id, self.phase = key, member_id, Phase.OFF
        self.head, self.epoch = 0, 0
        self.proved_us = 0
        """The slice was certainly ours at this time or later: when the last operation that proves
        it was sent. Its answer may have waited for long."""
        self._asked_us = 0
        self._new_id, self._timing, self._commit_bytes_max = new_id, timing, commit_bytes_max
        self._wanted, self._releasing, self._paused = False, False, False
        self._yielding_to = 0
        self._attempt, self._failures, self._refusals = 0, 0, 0
        self._due_us: int | None = None
        self._claim_after_us = 0
        self._tokens: list[bytes] = []
        self._seen_epoch: int | None = None
        self._time_us = 0
        self._queue: deque[Submission] = deque()  # bounded by the host: limits.waiting_max commands
        self._commit: Commit | None = None
        self._in_flight: list[Submission] = []
        self._unresolved = False
        self._submissions_max = _ALL

    # --- what the owner asks ---
    @property
    def owned(self) -> bool:
        """Between Owned and Lost: records may be submitted."""
        return self.phase in OWNING

    @property
    def pending(self) -> int:
        """Entries submitted and neither durable nor given back."""
        return len(self._queue) + len(self._in_flight)

    @property
    def would_append(self) -> bool:
        """The next `flush` sends an append."""
        is_free = self.phase is Phase.IDLE and not (self._paused or self._yielding_to)
        return is_free and bool(self._queue)

    def wakeup_us(self) -> int | None:
        """When `on_tick` is due next; None: nothing waits for the clock."""
        return self._due_us

    def acquire(self, now_us: int, seen_epoch: int | None = None) -> list[Action]:
        """Want the slice: claims now, or after the back-off of the last loss. Answered by Owned or
        Lost.

        seen_epoch: claim only if the registry's epoch still is this; None: whatever it is. No
        effect while the slice is held, being taken or already wanted, but that a `release` under
        way is called off.
        """
        self._releasing = False
        if self.phase is not Phase.OFF or self._wanted:
            return []
        self._wanted, self._seen_epoch = True, seen_epoch
        if now_us < self._claim_after_us:
            self._due_us = self._claim_after_us
            return []
        return self._go(Phase.CLAIMING, now_us)

    def submit(self, submission: Submission) -> None:
        """Queue it for the next commit. Only between Owned and Lost."""
        assert self.phase in OWNING, f"{self.key}: submitted to a slice that is {self.phase.value}"
        self._queue.append(submission)

    def flush(self, now_us: int) -> list[Action]:
        """Append what is queued, if nothing is in flight."""
        if self.phase is not Phase.IDLE:
            return []
        if self._yielding_to:
            return self._stand_down("overtaken", now_us, self._yielding_to)
        if not self._queue:
            return self._stand_down("released", now_us, self.epoch) if self._releasing else []
        return [] if self._paused else self._append_next(now_us)

    def release(self, now_us: int) -> list[Action]:
        """Stand down once all that was submitted is written; the last action is Lost(…, "released",
        [], [])."""
        self._wanted = False
        if self.phase in OWNING:
            self._releasing = True
            return self.flush(now_us)
        if self.phase is Phase.OFF:
            self._due_us = None
            return []
        return self._stand_down("released", now_us, self.epoch)

    def overtaken(self, epoch: int, now_us: int) -> list[Action]:
        """The registry shows this epoch. If it is above ours, stop appending, so that its owner
        finds a head that stands still; what is in flight is resolved first, what is queued comes
        back in Lost."""
        if epoch <= self.epoch or self.phase not in OWNING:
            return []
        self._yielding_to = epoch
        return self.flush(now_us)

    def on_tick(self, now_us: int) -> list[Action]:
        """Time has passed: a back-off is over, or an operation has not been answered in time."""
        if self._due_us is None or now_us < self._due_us:
            return []
        if self.phase is Phase.OFF:
            return self._go(Phase.CLAIMING, now_us)
        if self.phase is Phase.IDLE:
            self._paused, self._due_us = False, None
            return self.flush(now_us)
        if self._paused:
            return self._operate(now_us)
        return self._unanswered(now_us)

    # --- what the journal answered ---
    def on_result(self, result: Result, now_us: int) -> list[Action]:
        """The answer to an operation; one that is not waited for any more is dropped."""
        if self._paused or result.action.attempt != self._attempt or self.phase is Phase.OFF:
            return []
        match result:
            case Failed():
                return self._unanswered(now_us)
            case Claimed(_, owner) | FoundOwner(_, owner):
                return self._on_owner(owner, now_us)
            case FoundHead(_, head):
                return self._on_head(head, now_us)
            case Installed(_, installed):
                following = Phase.READING_LAST if installed else Phase.READING_INSTALL
                return self._go(following, now_us)
            case FoundCommit(_, commit) if self.phase is Phase.READING_LAST:
                return self._on_last(commit)
            case FoundCommit(_, commit):
                return self._on_row(commit, now_us)

    def on_appended(self, answer: Appended, now_us: int) -> list[Action]:
        """The outcome of a send of a commit; of one already decided: no effect."""
        commit = self._commit
        if commit is None or answer.commit.write_id != commit.write_id:
            return []
        if answer.outcome is Outcome.DONE:
            return self._durable(commit)
        if self.phase is not Phase.APPENDING or self._paused:
            return []  # an earlier send's answer: the reads decide
        if answer.outcome is Outcome.REFUSED:
            if not self._unresolved:
                return self._refused(answer.reason, now_us)
            self._refusals += 1
            if self._refusals > REFUSALS_MAX:
                return self._give_up_unresolved(answer.reason, now_us)
        self._unresolved = True
        return self._go(Phase.READING_HEAD, now_us)

    # --- taking over ---
    def _on_owner(self, owner: Owner | None, now_us: int) -> list[Action]:
        if owner is not None and owner.token in self._tokens:
            self.epoch = owner.epoch
            return self._go(Phase.FINDING, now_us)
        if self.phase is Phase.READING_CLAIM:
            # Not given out yet. It may be later: an epoch that nobody installs harms nobody.
            return self._go(Phase.CLAIMING, now_us, self._failures + 1)
        held = owner.member_id if owner else "nobody"
        return self._stand_down(f"claimed by {held}", now_us, owner.epoch if owner else 0)

    def _on_head(self, head: Head | None, now_us: int) -> list[Action]:
        if self.phase is Phase.READING_HEAD:
            return self._on_head_read(head, now_us)
        if head is not None and head.epoch > self.epoch:
            return self._stand_down("overtaken", now_us, head.epoch)
        if self.phase is Phase.READING_INSTALL:
            if head == (self.head, self.epoch):
                return self._go(Phase.READING_LAST, now_us)
            return self._go(Phase.FINDING, now_us)
        self.head = head.head if head else 0
        return self._go(Phase.INSTALLING, now_us)

    def _on_last(self, commit: Commit | None) -> list[Action]:
        # Times of a log never go back, whatever the clocks of its owners say: the next commit
        # starts from the last one's.
        self._time_us = max(self._time_us, commit.time_us) if commit else self._time_us
        self.proved_us = self._asked_us
        self._rest()
        return [Owned(self.key, self.head, self.epoch)]

    # --- an append and what became of it ---
    def _append_next(self, now_us: int) -> list[Action]:
        """Form a commit of whole submissions, up to commit_bytes_max; a larger one goes alone."""
        submissions: list[Submission] = []
        records: list[tuple[str, bytes]] = []
        size = 0
        queue, bytes_max, count_max = self._queue, self._commit_bytes_max, self._submissions_max
        while queue and len(submissions) < count_max:
            entity_id, packed, size_bytes, _ = queue[0]
            size += size_bytes
            if size > bytes_max and submissions:
                break
            submissions.append(queue.popleft())
            for one in packed:
                records.append((entity_id, one))  # noqa: PERF401  cheaper than extend for 1
        self._time_us = max(now_us, self._time_us)
        self._in_flight, self._unresolved, self._asked_us = submissions, False, now_us
        self._refusals = self._refusals if len(submissions) == 1 else 0
        self._commit = make_commit(
            self.key, self.head, self._new_id(), self.epoch, self._time_us, records
        )
        return self._go(Phase.APPENDING, now_us)

    def _durable(self, commit: Commit) -> list[Action]:
        submissions, self._in_flight, self._commit = self._in_flight, [], None
        self.head, self._refusals = commit.end_offset, 0
        self._submissions_max = min(_ALL, 2 * self._submissions_max)
        self.proved_us = self._asked_us
        self._rest()
        return [Durable(self.key, commit, submissions)]

    def _on_head_read(self, head: Head | None, now_us: int) -> list[Action]:
        """(head, epoch) where an unresolved commit would be: decides, or says what to read or send
        next."""
        if head is None or head == (self.head, self.epoch):
            # Not there, and it may still come: only the identical commit may be sent.
            return self._go(Phase.APPENDING, now_us, self._failures + 1)
        if head.head > self.head:
            return self._go(Phase.READING_ROW, now_us)
        # The head is still my base (or below, in a journal that was put back): under another epoch
        # mine can never come.
        return self._stand_down("fenced", now_us, head.epoch)

    def _on_row(self, row: Commit | None, now_us: int) -> list[Action]:
        commit = self._commit
        assert commit is not None
        if row is not None and row.write_id == commit.write_id:
            return self._durable(commit)
        if row is None:
            return self._stand_down_unknown("its commit was trimmed", now_us)
        return self._stand_down("another writer appended", now_us, row.epoch)

    def _give_up_unresolved(self, reason: str, now_us: int) -> list[Action]:
        """The journal takes none of my sends, but an earlier one may still be under way: under this
        epoch that is never settled. The next one settles it, whoever installs it."""
        return self._stand_down_unknown(f"unresolved, and now refused: {reason}", now_us)

    def _refused(self, reason: str, now_us: int) -> list[Action]:
        """Nothing of this commit was or will be written: try smaller ones, down to one submission,
        to find a culprit."""
        submissions, self._in_flight, self._commit = self._in_flight, [], None
        self._refusals = self._refusals + 1 if len(submissions) == 1 else 0
        self._submissions_max = max(1, len(submissions) // 2)
        self._rest(now_us + self._timing.retry_us * 2**self._refusals)
        if self._refusals < REFUSALS_MAX:
            self._queue.extendleft(reversed(submissions))
            return []
        culprit, self._refusals = submissions[0], 0
        behind = [e for e in self._queue if e.entity_id == culprit.entity_id]
        others = (e for e in self._queue if e.entity_id != culprit.entity_id)
        self._queue = deque(others)  # bounded by what it was
        return [NotWritten(self.key, culprit, reason, behind)]

    # --- moving between phases ---
    def _stand_down_unknown(self, reason: str, now_us: int) -> list[Action]:
        unknown, self._in_flight = self._in_flight, []
        return self._stand_down(reason, now_us, 0, unknown)

    def _stand_down(
        self, reason: str, now_us: int, epoch: int, unknown: list[Submission] | None = None
    ) -> list[Action]:
        lost = Lost(self.key, reason, [*self._in_flight, *self._queue], unknown or [], epoch)
        low, high = self._timing.lost_us
        chance = int.from_bytes(self._new_id()[:4], "big") / (1 << 32)
        self._claim_after_us = now_us + low + int((high - low) * chance)
        self.phase, self._commit, self._in_flight, self._due_us = Phase.OFF, None, [], None
        self._queue.clear()
        self._tokens.clear()
        self._wanted, self._releasing, self._paused = False, False, False
        self._yielding_to = 0
        self._failures, self._refusals, self._submissions_max = 0, 0, _ALL
        return [lost]

    def _rest(self, until_us: int | None = None) -> None:
        self.phase, self._failures = Phase.IDLE, 0
        self._attempt += 1  # an answer still under way belongs to nothing any more
        self._paused, self._due_us = until_us is not None, until_us

    def _unanswered(self, now_us: int) -> list[Action]:
        """Nothing is known of the phase's operation: a write is read back, a read is done again."""
        match self.phase:
            case Phase.CLAIMING:
                return self._go(Phase.READING_CLAIM, now_us)
            case Phase.INSTALLING:
                return self._go(Phase.READING_INSTALL, now_us)
            case Phase.APPENDING:
                self._unresolved = True
                return self._go(Phase.READING_HEAD, now_us)
            case phase:
                return self._go(phase, now_us, self._failures + 1)

    def _go(self, phase: Phase, now_us: int, failures: int = 0) -> list[Action]:
        """Enter a phase: its operation goes out now, or after a back-off that grows with failures
        in a row."""
        self.phase = phase
        if not failures:
            return self._operate(now_us)
        self._failures = failures
        pause_us = min(self._timing.retry_us << min(failures, 20), self._timing.retry_us_max)
        self._paused, self._due_us = True, now_us + pause_us
        return []

    def _operate(self, now_us: int) -> list[Action]:
        self._paused = False
        self._attempt += 1
        self._due_us = now_us + self._timing.answer_timeout_us
        key, attempt = self.key, self._attempt
        match self.phase:
            case Phase.APPENDING:
                assert self._commit is not None
                self._due_us = now_us + self._timing.append_timeout_us
                return [Append(self._commit)]
            case Phase.CLAIMING:
                self._tokens = [*self._tokens[-15:], self._new_id()]
                return [Claim(key, self.member_id, self._tokens[-1], self._seen_epoch, attempt)]
            case Phase.READING_CLAIM:
                return [ReadOwner(key, attempt)]
            case Phase.FINDING:
                return [FindHead(key, attempt)]
            case Phase.INSTALLING:
                self._asked_us = now_us
                return [Install(key, self.head, self.epoch, attempt)]
            case Phase.READING_INSTALL | Phase.READING_HEAD:
                return [HeadAt(key, self.head, attempt)]
            case Phase.READING_LAST:
                return [LastCommit(key, self.head, attempt)]
            case Phase.READING_ROW:
                return [CommitAt(key, self.head, attempt)]
            case phase:
                raise AssertionError(f"{key}: nothing to do in phase {phase.value}")

"""The threads of a host that call its journal. Results go to `put`, from any thread, in any order.

One thread appends: everything that waits when it comes round goes into one `journal.append`, so a
journal that commits once per call (SQLite) makes the more per call the busier it is. Where it has
nothing to do and the journal needs to wait for nobody, the caller appends by itself: two changes of
thread are a good part of a lone command's time. Not when the disk was slow just now: a host that
waits for it hears nobody.

One pool reads entities, one takes slices over, one keeps index and states up: a host that recovers
thousands must not let its index fall behind, which would make each recovery read more; and a slice
that nobody serves must not wait behind the index rows of those that are served. No decisions here;
the cores recognise late and doubled results.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from thespian_dc.entity.actions import AdvanceIndex, Confirm, JournalAction, WriteStates
from thespian_dc.entity.perform import perform
from thespian_dc.journal.api import Appended, Journal, Outcome
from thespian_dc.model.record import Commit
from thespian_dc.slices.actions import Failed, Operation

log = logging.getLogger(__name__)

READERS, TAKERS, KEEPERS = 4, 4, 2
QUIET_S, SLOW_S, WARY_S = 0.002, 0.02, 1.0
"""The caller appends when no append ended within QUIET_S; not for WARY_S after one of SLOW_S."""


class JournalThreads:
    """put(result): Appended, or what `perform` returns. on_appended: before put, where that may
    wait."""

    def __init__(
        self,
        journal: Journal,
        put: Callable[[Any], None],
        on_appended: Callable[[Appended], None] = lambda _: None,
    ) -> None:
        self._journal, self._put, self._on_appended = journal, put, on_appended
        self._appends: SimpleQueue[list[Commit] | None] = SimpleQueue()  # bounded: one per slice
        self._queued = self._taken = 0  # lists of commits; the caller's and the thread's
        self._busy_until_s = 0.0
        # bounded by what the core has in flight: recoveries_max; an operation and rows per slice
        self._recoveries: SimpleQueue[Any] = SimpleQueue()  # bounded: see above
        self._take_overs: SimpleQueue[Any] = SimpleQueue()  # bounded: see above
        self._keeping: SimpleQueue[Any] = SimpleQueue()  # bounded: see above
        self._threads = [Thread(target=self._append_all, name="journal-append", daemon=True)]
        self._pools = (
            (self._recoveries, "journal-recover", READERS),
            (self._take_overs, "journal-take", TAKERS),
            (self._keeping, "journal-keep", KEEPERS),
        )
        for queue, name, count in self._pools:
            self._threads += [
                Thread(target=self._perform_all, args=(queue,), name=f"{name}-{n}", daemon=True)
                for n in range(count)
            ]
        for thread in self._threads:
            thread.start()

    def append(self, commits: list[Commit]) -> None:
        """All commits that one input of the core led to, at most one per slice; always from the
        same thread."""
        is_quiet = self._queued == self._taken and monotonic() >= self._busy_until_s
        if not (is_quiet and self._append_at_once(commits)):
            self._queued += 1
            self._appends.put(commits)

    def perform(self, action: JournalAction | Operation) -> None:
        self._queue_of(action).put(action)

    def _queue_of(self, action: JournalAction | Operation) -> SimpleQueue[Any]:
        # An index without commits at hand is what a former owner left undone.
        if isinstance(action, WriteStates) or (isinstance(action, AdvanceIndex) and action.recent):
            return self._keeping
        if isinstance(action, Operation | Confirm | AdvanceIndex):
            return self._take_overs
        return self._recoveries

    def stop(self, within_s: float) -> None:
        """Finish what is queued and end the threads; the journal may be closed afterwards."""
        self._appends.put(None)
        for queue, _, count in self._pools:
            for _ in range(count):
                queue.put(None)
        until = monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, until - monotonic()))

    def _append_all(self) -> None:
        while (commits := self._appends.get()) is not None:
            commits = list(commits)
            taken, stop = 1, False
            try:
                while True:
                    more = self._appends.get_nowait()
                    if more is None:
                        stop = True
                        break
                    commits += more
                    taken += 1
            except Empty:
                pass
            self._append(commits)
            self._busy_until_s = monotonic() + QUIET_S
            self._taken += taken
            if stop:
                return

    def _append_at_once(self, commits: list[Commit]) -> bool:
        began_s = monotonic()
        try:
            answers = self._journal.append_at_once(commits)
        except Exception as failed:
            log.exception("append_failed")
            answers = _unknown(commits, failed)
        if answers is None:
            return False
        for answer in answers:
            self._hand_over(answer)
        ended_s = monotonic()
        self._busy_until_s = ended_s + (WARY_S if ended_s - began_s > SLOW_S else QUIET_S)
        # Who was rung is put on this core, behind what is still to be done here: let it go first.
        os.sched_yield()
        return True

    def _append(self, commits: list[Commit]) -> None:
        answered: set[bytes] = set()

        def on_appended(answer: Appended) -> None:
            answered.add(answer.commit.write_id)
            self._hand_over(answer)

        try:
            self._journal.append(commits, on_appended)
        except Exception as failed:
            log.exception("append_failed")
            for answer in _unknown(commits, failed):
                if answer.commit.write_id not in answered:
                    self._hand_over(answer)

    def _hand_over(self, answer: Appended) -> None:
        self._on_appended(answer)
        self._put(answer)

    def _perform_all(self, queue: SimpleQueue[Any]) -> None:
        while (action := queue.get()) is not None:
            try:
                self._put(perform(self._journal, action))
            except Exception as failed:
                log.exception("journal_action_failed", extra={"action": type(action).__name__})
                self._put(Failed(action, f"{type(failed).__name__}: {failed}"))


def _unknown(commits: list[Commit], failed: Exception) -> list[Appended]:
    """The journal's code broke: nobody knows what became of these."""
    reason = f"{type(failed).__name__}: {failed}"
    return [Appended(commit, Outcome.UNKNOWN, reason) for commit in commits]

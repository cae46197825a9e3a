"""The threads of a host: what a slice without an owner needs does not wait behind routine work, and
a lone append waits for no thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest

from thespian_dc.entity import journal_threads
from thespian_dc.entity.actions import AdvanceIndex, IndexAdvanced
from thespian_dc.entity.journal_threads import QUIET_S, SLOW_S, WARY_S, JournalThreads
from thespian_dc.journal.api import Appended, Outcome
from thespian_dc.journal.memory import MemoryJournal, MemoryStorage
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, make_commit
from thespian_dc.slices.actions import Claim, Claimed
from thespian_dc.testkit.eventually import eventually


class SlowIndex(MemoryJournal):
    """Index rows of commits at hand take until `go`: a server that is busy with them."""

    def __init__(self) -> None:
        super().__init__("memory:slow", MemoryStorage(8))
        self.go = Event()

    def advance_index(self, key: SliceKey, until_offset: int, recent: Sequence[Commit] = ()) -> int:
        if recent:
            assert self.go.wait(10)
        return until_offset


class AtOnce(MemoryJournal):
    """Notes which thread appends; a commit takes `takes_s` of the clock's time, and the thread of
    the journal waits for `go`."""

    def __init__(self) -> None:
        super().__init__("memory:at-once", MemoryStorage(8))
        self.now_s, self.takes_s = 100.0, 0.0
        self.by: list[str] = []
        self.is_busy = self.is_broken = False
        self.go = Event()
        self.go.set()

    def append(self, commits: Sequence[Commit], on_appended: Callable[[Appended], None]) -> None:
        assert self.go.wait(10)
        self.by.append("thread")
        super().append(commits, on_appended)

    def append_at_once(self, commits: Sequence[Commit]) -> list[Appended] | None:
        if self.is_broken:
            raise RuntimeError("the code of the journal")
        if self.is_busy:
            return None
        self.by.append("caller")
        self.now_s += self.takes_s
        return super().append_at_once(commits)


class Appending:
    """One slice's commits, appended one after the other when `wait_s` has passed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal, self.answers = AtOnce(), SimpleQueue[Any]()
        monkeypatch.setattr(journal_threads, "monotonic", lambda: self.journal.now_s)
        self.threads = JournalThreads(self.journal, self.answers.put)
        self.key, self.head = SliceKey("cart", 0), 0
        assert self.journal.install(self.key, 0, 1)

    def append(self, wait_s: float = 10.0) -> None:
        self.journal.now_s += wait_s
        write_id = self.head.to_bytes(16, "big")
        commit = make_commit(self.key, self.head, write_id, 1, 0, [("a", b"x")])
        self.threads.append([commit])
        self.head += 1

    def outcome(self) -> Outcome:
        answer = self.answers.get(timeout=10)
        assert isinstance(answer, Appended)
        return answer.outcome


def test_a_lone_append_is_made_by_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes of thread less; the answer comes by the same way as any other."""
    one = Appending(monkeypatch)
    one.append()
    assert one.outcome() is Outcome.DONE
    one.append(wait_s=QUIET_S / 2)
    assert one.outcome() is Outcome.DONE
    eventually(lambda: one.threads._queued == one.threads._taken)
    one.append()
    assert one.journal.by == ["caller", "thread", "caller"]
    one.threads.stop(5)


def test_what_comes_while_the_thread_appends_waits_there(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Appending(monkeypatch)
    one.journal.go.clear()
    one.journal.is_busy = True
    one.append()
    one.journal.is_busy = False
    one.append()
    assert one.journal.by == []
    one.journal.go.set()
    assert [one.outcome(), one.outcome()] == [Outcome.DONE, Outcome.DONE]
    assert set(one.journal.by) == {"thread"}
    one.threads.stop(5)


def test_after_a_slow_disk_nobody_waits_for_it_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Appending(monkeypatch)
    one.journal.takes_s = SLOW_S * 2
    for wait_s in (10.0, WARY_S / 2, WARY_S):
        one.append(wait_s)
        assert one.outcome() is Outcome.DONE
        eventually(lambda: one.threads._queued == one.threads._taken)
    assert one.journal.by == ["caller", "thread", "caller"]
    one.threads.stop(5)


def test_an_append_at_once_that_breaks_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Appending(monkeypatch)
    one.journal.is_broken = True
    one.append()
    assert one.outcome() is Outcome.UNKNOWN
    one.threads.stop(5)


def test_a_take_over_does_not_wait_behind_the_index_rows_of_other_slices() -> None:
    """After a kill the survivors are busier than before, and each of them has half of the slices
    still to claim: behind a second of index rows, four times over, nobody serves them."""
    journal, answers = SlowIndex(), SimpleQueue[Any]()
    threads = JournalThreads(journal, answers.put)
    dead = SliceKey("cart", 9)
    routine = []
    for number in range(8):
        key = SliceKey("cart", number)
        commit = make_commit(key, 0, bytes(16), 1, 0, [("a", b"")])
        routine.append(AdvanceIndex(key, 1, (commit,)))
        threads.perform(routine[-1])
    threads.perform(Claim(dead, "m", bytes(16), None, 1))
    assert isinstance(answers.get(timeout=5), Claimed)
    left_behind = AdvanceIndex(dead, 5, ())
    threads.perform(left_behind)
    assert answers.get(timeout=5) == IndexAdvanced(left_behind)
    journal.go.set()
    assert {answers.get(timeout=5).action.key.slice for _ in routine} == set(range(8))
    threads.stop(5)

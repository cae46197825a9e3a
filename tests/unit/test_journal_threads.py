"""The threads of a host: what a slice without an owner needs does not wait behind routine work."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Event
from typing import Any

from thespian_dc.entity.actions import AdvanceIndex, IndexAdvanced
from thespian_dc.entity.journal_threads import JournalThreads
from thespian_dc.journal.memory import MemoryJournal, MemoryStorage
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, make_commit
from thespian_dc.slices.actions import Claim, Claimed


class SlowIndex(MemoryJournal):
    """Index rows of commits at hand take until `go`: a server that is busy with them."""

    def __init__(self) -> None:
        super().__init__("memory:slow", MemoryStorage(8))
        self.go = Event()

    def advance_index(self, key: SliceKey, until_offset: int, recent: Sequence[Commit] = ()) -> int:
        if recent:
            assert self.go.wait(10)
        return until_offset


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

"""What is made from one slice's log after its commits are durable: index rows and state rows. Pure.

Laws: nothing is written before its commit is durable. One write of a kind in flight per slice; what
gathers meanwhile is coalesced: of an entity's states only the newest is written. Both may be lost
at any time: recovery reads the log from the mark, and the records after the state row.

A new owner indexes what its predecessor left before it recovers entities: otherwise each recovery
would read that part of the log for itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from thespian_dc.entity.actions import AdvanceIndex, WriteStates
from thespian_dc.entity.rows import Kept
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit

INDEX_EVERY_US = 500_000
"""The more commits at once, the fewer index rows: Cassandra has one per entity and write."""
STATES_EVERY_US = 100_000
INDEX_COMMITS_MAX = 64
RETRY_US = 500_000
ROWS_MAX = 500
"""State rows in one write; the rest follows."""


class Derived:
    """Of one slice. `due_us`: when `on_time` has something to do; None: nothing waits."""

    __slots__ = (
        "_covered", "_done", "_fresh", "_head", "_indexed", "_indexing", "_recent", "_rows",
        "_taken", "_writing", "behind", "due_us", "key",
    )  # fmt: skip

    def __init__(self, key: SliceKey, indexed: bool) -> None:
        self.key, self._indexed = key, indexed
        self.due_us: int | None = None
        self._recent: list[Commit] = []
        self._head = self._done = 0
        self._indexing: AdvanceIndex | None = None
        self._fresh: set[str] = set()
        self._covered: set[str] = set()
        self.behind = False
        """A predecessor's records are not indexed yet, and it was not tried in vain."""
        self._rows: dict[str, tuple[Kept, int]] = {}
        self._taken: dict[str, tuple[Kept, int]] = {}
        self._writing: WriteStates | None = None

    def on_owned(self, head: int, now_us: int) -> list[AdvanceIndex | WriteStates]:
        """Index what a former owner left un-indexed."""
        self._head = head
        self.behind = self._indexed and head > 0
        if self.behind:
            self.due_us = now_us
        return self.on_time(now_us)

    def on_lost(self) -> None:
        """Durable states may still be written; the new owner indexes the rest. Nothing of this
        ownership says anything about the next one: others will have appended in between."""
        self._recent, self._fresh, self._covered = [], set(), set()
        self._head = self._done = 0
        self._indexing, self.behind = None, False
        if not self._rows:
            self.due_us = None

    def on_durable(self, commit: Commit, entity_ids: Iterable[str], now_us: int) -> None:
        """entity_ids: whose records the commit holds."""
        self._head = commit.end_offset
        if self._indexed:
            self._recent.append(commit)
            self._fresh.update(entity_ids)
            full = len(self._recent) >= INDEX_COMMITS_MAX
            self._wake(now_us if full else now_us + INDEX_EVERY_US)

    def read_until(self, entity_id: str) -> int:
        """The offset up to which an entity must be read: all of its records are below it."""
        indexed = self._done and entity_id not in self._fresh and entity_id not in self._covered
        return self._done if indexed else self._head

    def add(self, kept: Kept, offset: int, now_us: int) -> None:
        """A state whose commit is durable; offset: of the record with its seq_nr."""
        self._rows[kept.entity_id] = (kept, offset)
        self._wake(now_us + STATES_EVERY_US)

    def on_time(self, now_us: int) -> list[AdvanceIndex | WriteStates]:
        """What is to be written now."""
        if self.due_us is None or now_us < self.due_us:
            return []
        self.due_us = None
        actions: list[AdvanceIndex | WriteStates] = []
        if self._indexing is None and self._indexed and self._head > self._done:
            self._indexing = AdvanceIndex(self.key, self._head, tuple(self._recent))
            self._recent, self._covered, self._fresh = [], self._fresh, set()
            actions.append(self._indexing)
        if self._writing is None and self._rows:
            self._taken = {id_: self._rows.pop(id_) for id_ in list(self._rows)[:ROWS_MAX]}
            rows = tuple(kept.at(offset) for kept, offset in self._taken.values())
            self._writing = WriteStates(self.key, rows)
            actions.append(self._writing)
        return actions

    def on_indexed(self, action: AdvanceIndex, failed: bool, now_us: int) -> None:
        if action is not self._indexing:
            return
        self._indexing, self.behind = None, False
        self._done = self._done if failed else action.until_offset
        if failed:
            self._fresh |= self._covered
            self._recent = [*action.recent, *self._recent][-4 * INDEX_COMMITS_MAX :]
            self._wake(now_us + RETRY_US)
        elif self._head > self._done:
            self._wake(now_us + INDEX_EVERY_US)
        self._covered = set()

    def on_written(self, action: WriteStates, failed: bool, now_us: int) -> None:
        if action is not self._writing:
            return
        self._writing = None
        if failed:
            self._rows = {**self._taken, **self._rows}
        self._taken = {}
        if self._rows:
            self._wake(now_us + (RETRY_US if failed else STATES_EVERY_US))

    @property
    def idle(self) -> bool:
        """Nothing is being written, and nothing waits to be."""
        return self.due_us is None and self._indexing is None and self._writing is None

    def _wake(self, due_us: int) -> None:
        self.due_us = due_us if self.due_us is None else min(due_us, self.due_us)

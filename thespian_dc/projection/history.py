"""What a consumer that wants no full history gets of one slice: below the head it found, of each
entity that has a stored state there, that state at its own offset and the records after it.

Laws:
- A state stands at the offset it was made at; of its entity nothing below that is brought.
- Nothing is dropped but for a state that is brought later. So a call that breaks off anywhere is
  followed by one from there.
- At most one state per entity. (Where a slice has more than `remembered_max` entities and the state
  of one moves on meanwhile, a later one may follow the first.)
- States move on while they are read. One that moved to or above the head is kept with its bytes
  and brought there; too many of those are HistoryMovedError, and the next call begins above them.
- Below the trim mark only states are left; an entity with records there that no state stands for is
  TrimmedError.
- Memory: a page of commits, remembered_max offsets by entity id, HELD_BYTES_MAX of states, and
  RESTORED_MAX ids below the trim mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import nsmallest
from typing import NamedTuple

from thespian_dc.journal.api import Journal, StateRow
from thespian_dc.model.errors import CorruptRecordError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import (
    SNAPSHOT_META,
    STATE,
    Commit,
    Record,
    checksum_of,
    entities_of,
    pack_record,
    records_of,
    seq_nr_runs,
)
from thespian_dc.model.stream_errors import HistoryMovedError

REMEMBERED_MAX = 50_000
HELD_BYTES_MAX = 1 << 20
RESTORED_MAX = 10_000
PAGE_BYTES = 256 << 10
_LIST_ROWS = 1_000
_READ_ROWS = 100
_UNUSED = -1

Judge = Callable[[StateRow, Sequence[str]], bool]
"""(state, tags of the record at its place, none where that is trimmed) -> does it pass?"""


class Placed(NamedTuple):
    """A state to be shown in the place of the record at its offset; tags: of that record."""

    row: StateRow
    tags: Sequence[str]


class Chosen(NamedTuple):
    """A commit's part: the records of these indexes as they are, and states in places of others."""

    commit: Commit
    wanted: frozenset[int] | None
    states: Sequence[Placed]

    @property
    def end_offset(self) -> int:
        return self.commit.end_offset


class Restored(NamedTuple):
    """Of trimmed records first_offset <= offset < end_offset what is left: states, in order.

    write_id: of the last trimmed commit; time_us: of the first one behind, 0 where there is none.
    """

    first_offset: int
    end_offset: int
    write_id: bytes
    time_us: int
    states: Sequence[Placed]


class SliceHistory:
    """Reads one slice from `offset`, page by page, until `done`. Blocks; one thread at a time."""

    def __init__(
        self, journal: Journal, key: SliceKey, offset: int, head: int,
        remembered_max: int = REMEMBERED_MAX, page_bytes: int = PAGE_BYTES,
    ) -> None:  # fmt: skip
        self.key, self.offset, self.head = key, offset, head
        self._journal, self._page_bytes = journal, page_bytes
        self._remembered_max = remembered_max
        # Of entities met, the offset of their state: dropped below, passed above. The oldest leave.
        self._places: dict[str, int] = {}  # bounded by remembered_max and a page's entities
        self._held: dict[str, StateRow] = {}  # bounded by HELD_BYTES_MAX
        self._held_bytes = 0
        self._restoring: list[tuple[int, str]] = []  # bounded by RESTORED_MAX
        self._restored_until = 0
        self._is_trimmed = False

    @property
    def done(self) -> bool:
        """All behind `offset` is for every consumer alike."""
        return self.offset >= self.head and not self._held

    def forget_places(self) -> None:
        """Another judge will decide."""
        self._places.clear()

    def next(self, judge: Judge | None = None) -> list[Chosen | Restored]:
        """The next page; [] where nothing is there yet. judge: None lets every state pass. Raises
        what the journal raises, TrimmedError, HistoryMovedError."""
        try:
            commits = self._journal.read(self.key, self.offset, self._page_bytes)
        except TrimmedError as error:
            return [self._restore(error.trimmed_to, judge)]
        for index, commit in enumerate(commits):
            if checksum_of(commit) != commit.checksum:
                if not index:
                    records_of(commit)  # raises the damage by name
                commits = commits[:index]
                break
        below = [commit for commit in commits if commit.base_offset < self.head]
        states = self._settle(below, judge)
        found: list[Chosen | Restored] = []
        for commit in commits:
            if self.done:
                break
            found.append(self._choose(commit, states))
            self.offset = commit.end_offset
        while len(self._places) > self._remembered_max:
            del self._places[next(iter(self._places))]
        return found

    # --- where each entity's state stands ---

    def _settle(self, commits: Sequence[Commit], judge: Judge | None) -> dict[str, StateRow]:
        """Give every entity of these commits its place; the states that stand in them."""
        firsts: dict[str, int] = {}
        for commit in commits:
            for index, entity_id in enumerate(entities_of(commit)):
                firsts.setdefault(entity_id, commit.base_offset + index)
        if not commits:
            return {}
        new = [id_ for id_ in firsts if id_ not in self._places and id_ not in self._held]
        end = commits[-1].end_offset
        due = [id_ for id_, first in firsts.items() if first <= self._places.get(id_, -1) < end]
        rows = self._journal.read_states(self.key, [*new, *due])
        for entity_id in due:
            row = rows.get(entity_id)
            if row is None:
                reason = "its stored state is gone, and records before it were left out"
                raise CorruptRecordError(*self.key, self._places[entity_id], entity_id, reason)
            self._place(row, firsts[entity_id], None)
        for entity_id in new:
            row = rows.get(entity_id)
            if row is None:
                self._places[entity_id] = _UNUSED
            else:
                self._place(row, firsts[entity_id], judge)
        if self._is_trimmed:
            self._check_history(commits, [id_ for id_ in new if id_ not in rows])
        return rows

    def _place(self, row: StateRow, first: int, judge: Judge | None) -> None:
        """first: the offset of the entity's first record at hand."""
        place = row.offset
        if place > first:
            if place >= self.head and place >= self._journal.find_head(self.key).head:
                place = _UNUSED  # of a log that was longer: a journal restored from a copy
            elif judge is not None and not self._passes(row, judge):
                place = _UNUSED
            elif place >= self.head:
                self._hold(row)
        self._places[row.entity_id] = place

    def _passes(self, row: StateRow, judge: Judge) -> bool:
        found = self._journal.read_entity(self.key, row.entity_id, row.seq_nr, row.offset + 1)
        return bool(found) and judge(row, found[0].record.tags)

    def _hold(self, row: StateRow) -> None:
        self._held[row.entity_id] = row
        self._held_bytes += len(row.body)
        if self._held_bytes > HELD_BYTES_MAX:
            raise HistoryMovedError(str(self.key), self.head, len(self._held))

    def _check_history(self, commits: Sequence[Commit], entity_ids: Sequence[str]) -> None:
        """Records of entities without a state must not be among the trimmed ones."""
        wanted = set(entity_ids)
        for commit in commits:
            for entity_id, (first, _) in seq_nr_runs(commit).items():
                if entity_id in wanted and first > 1:
                    self._journal.read_entity(self.key, entity_id, 1, commit.base_offset)
                wanted.discard(entity_id)

    # --- what passes of a commit ---

    def _choose(self, commit: Commit, rows: dict[str, StateRow]) -> Chosen:
        wanted, placed = set(), []
        for index, entity_id in enumerate(entities_of(commit)):
            offset = commit.base_offset + index
            held = self._held.get(entity_id)
            place = held.offset if held is not None else self._place_of(entity_id, commit)
            if offset > place:
                wanted.add(index)
            elif offset == place:
                placed.append((index, held or rows[entity_id]))
                if held is not None:
                    del self._held[entity_id]
                    self._held_bytes -= len(held.body)
        if len(wanted) == commit.count:
            return Chosen(commit, None, ())
        records = records_of(commit) if placed else []
        states = [Placed(row, records[index].tags) for index, row in placed]
        return Chosen(commit, frozenset(wanted), states)

    def _place_of(self, entity_id: str, commit: Commit) -> int:
        return self._places[entity_id] if commit.base_offset < self.head else _UNUSED

    # --- below the trim mark ---

    def _restore(self, trimmed_to: int, judge: Judge | None) -> Restored:
        self._is_trimmed = True
        first, states, size = self.offset, list[Placed](), 0
        while self.offset == first or (self._restoring and size < self._page_bytes):
            if not self._restoring:
                self._list(trimmed_to)
            for placed in self._next_restored(trimmed_to):
                if judge is None or judge(placed.row, ()):
                    states.append(placed)
                    size += len(placed.row.body)
        position = self._journal.position_before(self.key, trimmed_to)
        behind = self._journal.read(self.key, trimmed_to, 1)
        time_us = behind[0].time_us if behind else 0
        return Restored(first, self.offset, position.write_id, time_us, states)

    def _next_restored(self, trimmed_to: int) -> list[Placed]:
        """Some of the listed states; moves the offset behind them."""
        some = self._restoring[:_READ_ROWS]
        rows = self._journal.read_states(self.key, [entity_id for _, entity_id in some])
        found: list[Placed] = []
        for offset, entity_id in some:
            row = rows.get(entity_id)
            if row is None:
                raise TrimmedError(f"{self.key.entity_type}|{entity_id}", offset, trimmed_to)
            if offset < row.offset < trimmed_to:  # it moved on meanwhile: list them anew from here
                self._restoring, self.offset = [], offset
                return found
            if row.offset == offset:  # else it stands above the mark now, and comes there
                # TrimmedError where records behind it are gone too.
                self._journal.read_entity(self.key, entity_id, row.seq_nr + 1, trimmed_to)
                found.append(Placed(row, ()))
        self._restoring = self._restoring[_READ_ROWS:]
        self.offset = self._restoring[0][0] if self._restoring else self._restored_until
        return found

    def _list(self, trimmed_to: int) -> None:
        """The next states below the trim mark, in the order of their offsets."""
        below = (
            (row.offset, row.entity_id)
            for row in self._all_states()
            if self.offset <= row.offset < trimmed_to
        )
        self._restoring = nsmallest(RESTORED_MAX, below)
        full = len(self._restoring) == RESTORED_MAX
        self._restored_until = self._restoring[-1][0] + 1 if full else trimmed_to

    def _all_states(self) -> Iterator[StateRow]:
        after = ""
        while page := self._journal.states(self.key, after, _LIST_ROWS):
            yield from page
            after = page[-1].entity_id


def pack_placed(placed: Placed, manifest: str, payload: bytes) -> bytes:
    """The record that shows a state."""
    row = placed.row
    record = Record(
        STATE, row.entity_id, row.seq_nr, manifest, payload, list(placed.tags),
        meta={SNAPSHOT_META: True},
    )  # fmt: skip
    return pack_record(record)


def state_for_lookup(
    journal: Journal, key: SliceKey, entity_id: str, from_seq_nr: int, from_offset: int = 0
) -> StateRow | None:
    """The state that a lookup of one entity may begin with, in place of all its records up to
    row.seq_nr; None where it is older than what is wanted."""
    row = journal.read_state(key, entity_id)
    if row is None or row.seq_nr < from_seq_nr or row.offset < from_offset:
        return None
    return row

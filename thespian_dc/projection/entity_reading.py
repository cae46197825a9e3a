"""Reads what a lookup wants of one entity, a piece at a time, until an answer is full.

Shared by sources over a journal and by the producers of streams. The shell shows each record (all
of it, or what a stream makes of it) and gives it back to `add`.
"""

from __future__ import annotations

from collections.abc import Callable

from thespian_dc.journal.api import Found, Journal
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, make_commit, pack_record
from thespian_dc.projection.views import CommitView, LookedUp, Lookup

READ_SEQ_NRS = (16, 256)
"""Records of an entity that are read at once: at first, and at most."""
READ_BYTES = 1 << 20
"""About as many bytes of them are read at once, once their size is known."""
EXAMINED_MAX = 20_000
"""Records looked at for one answer, shown or not."""


class EntityReading:
    """One answer in the making. bytes_max, events_max: of it; one event may be larger.

    Everything is read below the slice's head at the time of the first `read`.
    """

    def __init__(
        self, journal: Journal, key: SliceKey, lookup: Lookup, bytes_max: int, events_max: int
    ) -> None:
        self._journal, self._key, self._lookup = journal, key, lookup
        self._bytes_max, self._events_max = bytes_max, events_max
        self._commits: list[CommitView] = []  # bounded by events_max
        self._through = lookup.from_seq_nr - 1
        self._below_offset = -1
        self._bytes = self._examined = 0
        self._at_once = READ_SEQ_NRS[0]
        self._more = False

    def read(self) -> list[Found]:
        """The next records; [] for the end. TrimmedError where one that is wanted is gone.
        Blocks."""
        if self._below_offset < 0:
            self._below_offset = self._journal.find_head(self._key).head
        if self._more:
            return []
        try:
            return self._read(self._through + 1)
        except TrimmedError as error:
            left = self._first_wanted()
            if left <= self._through + 1:
                if self._lookup.from_offset < error.trimmed_to:
                    raise
                left = self._first_left(self._through + 1)
            self._through = left - 1
            return self._read(left)

    def _first_wanted(self) -> int:
        """Behind the stored state, where that shows that all up to it is below what is wanted; 0
        where it shows nothing."""
        row = self._journal.read_state(self._key, self._lookup.entity_id)
        return row.seq_nr + 1 if row is not None and row.offset < self._lookup.from_offset else 0

    def _read(self, begin: int) -> list[Found]:
        end = begin + self._at_once
        if self._lookup.until_seq_nr:
            end = min(end, self._lookup.until_seq_nr + 1)
        found = self._range(begin, end) if begin < end else []
        if found:
            size = sum(len(one.record.payload) for one in found) // len(found) + 1
            self._at_once = min(max(READ_BYTES // size, 1), READ_SEQ_NRS[1])
        return found

    def _range(self, begin: int, end: int) -> list[Found]:
        entity_id = self._lookup.entity_id
        return self._journal.read_entity(self._key, entity_id, begin, self._below_offset, end)

    def _first_left(self, trimmed: int) -> int:
        """The entity's first seq_nr that is not trimmed; all before it is below from_offset."""
        step, left = 1, trimmed + 1
        while self._is_trimmed(left):
            trimmed, step = left, 2 * step
            left += step
        while left - trimmed > 1:
            middle = (trimmed + left) // 2
            if self._is_trimmed(middle):
                trimmed = middle
            else:
                left = middle
        return left

    def _is_trimmed(self, seq_nr: int) -> bool:
        try:
            self._range(seq_nr, seq_nr + 1)
        except TrimmedError:
            return True
        return False

    def commit_of(self, found: Found) -> Commit | None:
        """A commit with only this record, to be shown; None where it is below what is wanted."""
        if found.offset < self._lookup.from_offset:
            return None
        packed = [(found.record.entity_id, pack_record(found.record))]
        return make_commit(self._key, found.offset, found.write_id, 0, found.time_us, packed)

    def add(self, found: Found, shown: CommitView | None) -> bool:
        """Count a record in; shown: None or without a body where nothing of it is. False: the
        answer is full, and this record goes into the next one where it has a body."""
        if shown is not None and shown.body:
            size = self._bytes + len(shown.body)
            full = size > self._bytes_max or len(self._commits) >= self._events_max
            if full and self._commits:
                self._more = True
                return False
            self._commits.append(shown)
            self._bytes = size
        self._through = found.record.seq_nr
        self._examined += 1
        self._more = self._examined >= EXAMINED_MAX
        return not self._more

    def add_all(self, view: Callable[[Commit], CommitView]) -> LookedUp:
        """Read to the end, each record shown by `view`. Blocks."""
        while found := self.read():
            for one in found:
                commit = self.commit_of(one)
                if not self.add(one, None if commit is None else view(commit)):
                    break
        return self.answer()

    def answer(self) -> LookedUp:
        """What came of it so far."""
        return LookedUp(
            self._lookup, self._commits, self._through, max(0, self._below_offset), self._more
        )

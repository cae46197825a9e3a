"""Read slice logs: heads, commits, positions, times. Nothing here writes.

A segment is a partition: the commits with base_offset // segment_records = segment. A commit may
run past its segment's end; the next one then starts in the segment of its own base offset, and a
segment may stay empty. Plain reads at LOCAL_QUORUM see every acknowledged commit: it was committed
at LOCAL_QUORUM. Heads that decide something are read at LOCAL_SERIAL, which finishes what an
earlier conditional write left half done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from thespian_dc.journal.api import Head
from thespian_dc.journal.cassandra.commit_cache import CommitCache
from thespian_dc.journal.cassandra.limits import ServerLimits
from thespian_dc.journal.cassandra.link import DECIDING, PLAIN, Link
from thespian_dc.journal.cassandra.schema import Meta
from thespian_dc.journal.cassandra.sealed import unwrap, unwrap_or_raise
from thespian_dc.journal.cassandra.statements import Statements
from thespian_dc.journal.cassandra.url import CassandraUrl
from thespian_dc.journal.reading import check_sound, damage_of, is_sound, position_in
from thespian_dc.journal.seal import seal
from thespian_dc.model.errors import (
    CorruptRecordError,
    GapError,
    JournalDivergedError,
    TrimmedError,
)
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import START, Position
from thespian_dc.model.record import Commit

_PAGE_ROWS = 256


class Place(NamedTuple):
    """Where a commit is and how large, without its bytes."""

    base_offset: int
    records: int
    size_bytes: int

    @property
    def end_offset(self) -> int:
        return self.base_offset + self.records


class Parts:
    """What all parts of the journal share: the link, the statements, the facts of `schema apply`,
    the limits.
    """

    def __init__(self, link: Link, url: CassandraUrl, meta: Meta, limits: ServerLimits) -> None:
        self._link, self._limits = link, limits
        self._statements = Statements(link, url.keyspace)
        self.url, self.journal_id = url.url, meta.journal_id
        self._keyspace, self._segment_records = url.keyspace, meta.segment_records
        self._cache = CommitCache(url.cache_bytes)
        self.commit_bytes_max = min(url.commit_bytes_max, limits.mutation_bytes_max)
        self.command_bytes_max = min(url.command_bytes_max, limits.mutation_bytes_max)

    def _rows(self, name: str, *values: Any) -> list[Any]:
        return self._link.rows(self._statements.bind(name, *values))

    def _partitions(
        self, name: str, after: tuple[Any, ...] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """The keys of all partitions of a table, in the order of their tokens, from behind the key
        `after` on."""
        page = [tuple(row) for row in self._rows(name, _PAGE_ROWS)] if after is None else [after]
        while page:
            yield from page if page != [after] else ()
            last = page[-1]
            # From the last token on, not behind it: two keys may share one.
            following = self._rows(f"{name}_on", *last, _PAGE_ROWS)
            page = [tuple(row) for row in following if tuple(row) != last]


class LogReader(Parts):
    """The reading half of the slice log."""

    # --- heads ---
    def find_head(self, key: SliceKey) -> Head:
        for segment in self._start_segments(key):
            found = self._static(key, segment)
            if found is not None:
                return self._follow(key, segment, found)
        return Head(0, 0)

    def _follow(self, key: SliceKey, segment: int, found: Head) -> Head:
        while (following := found.head // self._segment_records) > segment:
            here = self._static(key, following)
            if here is None:
                break
            segment, found = following, here
        return found

    def head_at(self, key: SliceKey, base_offset: int) -> Head | None:
        return self._static(key, base_offset // self._segment_records)

    def _start_segments(self, key: SliceKey) -> list[int]:
        """Where to look for a head first. Each segment up to the head's is as good as 0, only
        nearer.

        The index mark is at a commit's end at or below the head; the segment it falls in may not
        exist yet.
        """
        mark = int(unwrap("index mark", key, self._cell_of("index_mark", key)) or 0)
        near = {mark // self._segment_records, max(0, mark - 1) // self._segment_records, 0}
        return sorted(near, reverse=True)

    def _static(self, key: SliceKey, segment: int, profile: str = DECIDING) -> Head | None:
        rows = self._link.rows(self._statements.bind("head", *key, segment), profile)
        if not rows or rows[0][3] is rows[0][4] is None:
            return None
        return self._checked_head(key, segment, *rows[0][3:])

    def _checked_head(self, key: SliceKey, segment: int, head: Any, epoch: Any, crc: Any) -> Head:
        if crc != seal(*key, segment, head, epoch):
            raise damage_of(
                key,
                segment * self._segment_records,
                "",
                "its head and epoch do not match their seal",
            )
        return Head(head, epoch)

    def _cell_of(self, name: str, key: SliceKey) -> bytes | None:
        rows = self._rows(name, *key)
        return rows[0][0] if rows else None

    # --- commits ---
    def commit_at(self, key: SliceKey, base_offset: int) -> Commit | None:
        rows = self._rows("row", *key, base_offset // self._segment_records, base_offset)
        return commit_of(key, rows[0]) if rows else None

    def read(self, key: SliceKey, from_offset: int, bytes_max: int = 1 << 20) -> list[Commit]:
        places = self._places(key, from_offset)
        first = next(places, None)
        if first is None:
            return []
        wanted, size = [first], first.size_bytes
        for place in places:
            if size + place.size_bytes > bytes_max:
                break
            wanted.append(place)
            size += place.size_bytes
        return self._fetch(key, wanted)

    def _fetch(self, key: SliceKey, places: list[Place]) -> list[Commit]:
        """The rows of contiguous places; TrimmedError where they were trimmed just now."""
        ranges: dict[int, list[int]] = {}
        for place in places:
            ranges.setdefault(place.base_offset // self._segment_records, []).append(
                place.base_offset
            )
        statements = [
            self._statements.bind("rows", *key, segment, bases[0], bases[-1])
            for segment, bases in ranges.items()
        ]
        commits = [commit_of(key, row) for rows in self._link.all(statements) for row in rows]
        for place, commit in zip_longest(places, commits):
            if commit is None or commit.base_offset != place.base_offset:
                self._check_absence(key, place.base_offset, None, [])
                raise GapError(f"slice log {key}", place.base_offset, places[-1].base_offset)
        return commits

    def _places(self, key: SliceKey, from_offset: int) -> Iterator[Place]:
        """The commits from the one that covers from_offset on, contiguous, as far as they go."""
        page = self._page(key, from_offset)
        if not page and self._is_head(key, from_offset):
            return  # a poll that finds nothing new, the most frequent read of all
        if not page or page[0].base_offset != from_offset:
            before = self._covering(key, from_offset)
            if before is None or before.end_offset <= from_offset:
                self._check_absence(key, from_offset, before, page)
                return
            yield before
            from_offset = before.end_offset
            page = self._page(key, from_offset)
        while page and page[0].base_offset == from_offset:
            for place in page:
                if place.base_offset != from_offset:
                    return  # a hole: what is behind it is not read
                yield place
                from_offset = place.end_offset
            page = self._page(key, from_offset)

    def _is_head(self, key: SliceKey, offset: int) -> bool:
        head = self._static(key, offset // self._segment_records, PLAIN)
        return head is not None and head.head == offset

    def _page(self, key: SliceKey, from_offset: int) -> list[Place]:
        """Commits of the segment that from_offset falls in, from there on."""
        segment = from_offset // self._segment_records
        return [Place(*row) for row in self._rows("places", *key, segment, from_offset, _PAGE_ROWS)]

    def _covering(self, key: SliceKey, offset: int) -> Place | None:
        """The last commit with base_offset <= offset, looked for in ever earlier segments."""
        top = offset // self._segment_records
        rows = self._rows("covering", *key, top, offset)
        if not rows:  # from here on no further than the log goes: the offset may be anything
            lowest = self._trimmed(key).offset // self._segment_records
            highest = min(top - 1, self.find_head(key).head // self._segment_records)
            for segment in range(highest, lowest - 1, -1):
                rows = self._rows("covering", *key, segment, offset)
                if rows:
                    break
        return Place(*rows[0]) if rows else None

    def _check_absence(
        self, key: SliceKey, offset: int, before: Place | None, behind: list[Place]
    ) -> None:
        """No commit covers `offset`. Return where that is the log's end; else TrimmedError or
        GapError.
        """
        if before is None and offset < (trimmed := self._trimmed(key).offset):
            raise TrimmedError(f"slice log {key}", offset, trimmed)
        # The static head is written with the row, so a head above the offset proves that a row is
        # missing.
        head = self._static(key, offset // self._segment_records, PLAIN)
        found = behind[0].base_offset if behind else head.head if head else offset
        if found > offset:
            raise GapError(f"slice log {key}", offset, found)

    def _rows_from(self, key: SliceKey, segment: int, base_offset: int) -> list[Commit]:
        """A page of a segment's commits, contiguous or not."""
        places = [
            Place(*row) for row in self._rows("places", *key, segment, base_offset, _PAGE_ROWS)
        ]
        wanted, size = places[:1], 0
        for place in places[1:]:
            size += place.size_bytes or 0
            if size > self.commit_bytes_max:
                break
            wanted.append(place)
        if not wanted:
            return []
        ends = (wanted[0].base_offset, wanted[-1].base_offset)
        return [commit_of(key, row) for row in self._rows("rows", *key, segment, *ends)]

    def _commits_at(self, key: SliceKey, bases: Sequence[int]) -> list[Commit | None]:
        found = {base: self._cache.get(key, base) for base in bases}
        missing = [base for base, commit in found.items() if commit is None]
        statements = [
            self._statements.bind("row", *key, base // self._segment_records, base)
            for base in missing
        ]
        for base, rows in zip(missing, self._link.all(statements), strict=True):
            commit = found[base] = commit_of(key, rows[0]) if rows else None
            if commit is not None and is_sound(commit):
                self._cache.put(commit)
        return [found[base] for base in bases]

    def _sweep(self, key: SliceKey, from_offset: int, until_offset: int) -> Iterator[Commit]:
        """All rows from a commit's start until `until_offset` or the end; GapError for a hole.

        A damaged row does not know where it ends, but the next one does know where it starts. So
        damage is the reader's to judge, and hurts no entity that has no record in that row.
        """
        if from_offset >= until_offset:
            return
        segment, expected = from_offset // self._segment_records, from_offset
        while (head := self._static(key, segment, PLAIN)) is not None:
            known: int | None = expected
            for commit in self._rows_of_segment(key, segment, expected):
                if commit.base_offset >= until_offset:
                    return
                if known not in (None, commit.base_offset):
                    raise GapError(f"slice log {key}", known or 0, commit.base_offset)
                known = commit.end_offset if is_sound(commit) else None
                yield commit
            if known is not None and known < head.head:  # the head was written with its row
                raise GapError(f"slice log {key}: head", head.head, known)
            expected = max(head.head, known or 0)
            if expected // self._segment_records == segment:
                return
            segment = expected // self._segment_records

    def _rows_of_segment(self, key: SliceKey, segment: int, from_offset: int) -> Iterator[Commit]:
        """A segment's rows from an offset on, contiguous or not."""
        while page := self._rows_from(key, segment, from_offset):
            yield from page
            from_offset = page[-1].base_offset + 1

    # --- marks ---
    def index_mark(self, key: SliceKey) -> int:
        return int(self._own(key, "index mark", "index_mark") or 0)

    def _trimmed(self, key: SliceKey) -> Position:
        return Position(*(self._own(key, "trim mark", "trim_mark") or START))

    def _own(self, key: SliceKey, what: str, statement: str) -> Any | None:
        """The slice's mark, or None. Another slice's, that lost its place, is none of this one."""
        cell = self._cell_of(statement, key)
        try:
            return None if cell is None else unwrap_or_raise(what, key, cell)
        except CorruptRecordError as damage:
            if damage.slice != key.slice:
                return None  # `verify` names it
            raise

    # --- positions and times ---
    def position_before(self, key: SliceKey, offset: int) -> Position:
        if offset == 0:
            return START
        place = self._covering(key, offset - 1)
        if place is not None and place.end_offset >= offset:
            commit = self.commit_at(key, place.base_offset)
            if commit is not None:
                return position_in(commit, offset)
        trimmed = self._trimmed(key)
        if offset <= trimmed.offset:
            if offset == trimmed.offset:
                return trimmed
            raise TrimmedError(f"slice log {key}", offset, trimmed.offset)
        head = self.find_head(key).head
        if offset > head:
            raise JournalDivergedError(f"slice log {key}", offset, f"its head is {head}")
        raise GapError(f"slice log {key}", offset - 1, head)

    def offset_at(self, key: SliceKey, time_us: int) -> int:
        """Binary search: the times of commits never decrease with their offsets."""
        low, high = self._trimmed(key).offset, self.find_head(key).head
        answer = high
        while low < high:
            middle = (low + high) // 2
            place = self._covering(key, middle)
            covered = place is not None and place.end_offset > middle
            commit = self.commit_at(key, place.base_offset) if place and covered else None
            if commit is None:
                raise GapError(f"slice log {key}", middle, high)
            if check_sound(commit, "its time cannot be trusted").time_us >= time_us:
                answer = high = commit.base_offset
            else:
                low = commit.end_offset
        return answer


def commit_of(key: SliceKey, row: Any) -> Commit:
    """A row of slice_log as a commit. The size column is not under the checksum, so it must agree
    by itself.
    """
    base, records, write_id, epoch, time_us, size_bytes, heads, body, checksum = row
    if None in row:  # a damaged or foreign row: what is absent can only fail the checksum
        numbers = (records or 0, epoch or 0, time_us or 0)
        records, epoch, time_us = numbers
        write_id, heads, body, checksum = write_id or b"", heads or b"", body or b"", -1
    if size_bytes != len(heads) + len(body):
        checksum = -1
    return Commit(key, base, records, write_id, epoch, time_us, heads, body, checksum)

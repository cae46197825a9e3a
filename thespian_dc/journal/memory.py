"""The journal in memory: the contract with nothing in the way. Read this backend first.

It behaves as the Cassandra backend does: segments with a head and an epoch of their own, an entity
index that is a derived table with a mark. One storage per process and name; every `open_memory` is
another view of it. Each row is a tuple that ends with the seal of the columns before it, as in a
database (journal/seal.py). Long because the whole contract is read here from top to bottom.
"""

from __future__ import annotations

import os
import threading
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import astuple
from itertools import chain, islice
from typing import Any

from thespian_dc.journal.api import Appended, Found, Head, Outcome, Owner, StateRow
from thespian_dc.journal.cells import Cell, CellRegistry
from thespian_dc.journal.reading import (
    IndexRow,
    check_contiguous,
    check_sound,
    damage_of,
    found_in,
    index_rows_of,
    indexed_until,
    is_sound,
    position_in,
)
from thespian_dc.journal.seal import seal
from thespian_dc.journal.verify import SliceRows, verify_slice
from thespian_dc.model.errors import (
    CorruptRecordError,
    GapError,
    JournalDivergedError,
    JournalUnavailableError,
    JournalUrlError,
    TrimmedError,
)
from thespian_dc.model.ids import SLICES_MAX, SliceKey
from thespian_dc.model.position import START, Position
from thespian_dc.model.record import Commit

SEGMENT_RECORDS = 1 << 15
Row = tuple[Any, ...]


class MemoryStorage:
    """The tables. Whoever uses them holds `lock`, so every method is one linearizable operation."""

    def __init__(self, segment_records: int) -> None:
        self.lock = threading.RLock()
        self.segment_records = segment_records
        self.cells: dict[str, Cell] = {}
        self.claims: dict[SliceKey, Row] = {}  # entity_type, slice, epoch, member_id, token
        self.statics: dict[
            tuple[SliceKey, int], Row
        ] = {}  # entity_type, slice, segment, head, epoch
        self.commits: dict[SliceKey, dict[int, Commit]] = {}  # by base_offset, in order
        self.trims: dict[SliceKey, Row] = {}  # entity_type, slice, offset, write_id
        self.marks: dict[SliceKey, Row] = {}  # entity_type, slice, offset
        self.index: dict[
            tuple[SliceKey, str], dict[int, Row]
        ] = {}  # entity_type, slice, *IndexRow; by base_offset
        self.states: dict[tuple[SliceKey, str], Row] = {}  # entity_type, slice, *StateRow

    def __enter__(self) -> MemoryStorage:
        self.lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()


_storages: dict[tuple[int, str], MemoryStorage] = {}
_storages_lock = threading.Lock()


def open_memory(url: str, segment_records: int = SEGMENT_RECORDS) -> MemoryJournal:
    """Open `memory:` or `memory:name`: one storage per name, as long as this process lives."""
    scheme, _, name = url.partition(":")
    if scheme != "memory" or "/" in name:
        raise JournalUrlError(url, "a journal in memory is memory: or memory:name")
    with (
        _storages_lock
    ):  # a forked child starts with empty ones: it shares no memory with its parent
        storage = _storages.setdefault((os.getpid(), name), MemoryStorage(segment_records))
    return MemoryJournal(url, storage)


class MemoryJournal(CellRegistry):
    """A view of a storage. Closing it closes the view; the storage stays."""

    commit_bytes_max = 1 << 20
    command_bytes_max = 16 << 20
    appends_at_once = SLICES_MAX
    derived_index = True

    def __init__(self, url: str, storage: MemoryStorage) -> None:
        self.url, self._storage = url, storage
        self._closed = False
        with storage.lock:
            fresh = Cell.make("journal/id", 1, uuid.uuid4().hex)
            self.journal_id: str = self._checked(
                storage.cells.setdefault("journal/id", fresh)
            ).content

    # --- registry ---
    def _cell(self, name: str) -> Cell | None:
        with self._open() as tables:
            return tables.cells.get(name)

    def _cells(self, prefix: str) -> list[Cell]:
        with self._open() as tables:
            return [cell for name, cell in sorted(tables.cells.items()) if name.startswith(prefix)]

    def _put_cell(self, cell: Cell, expected_version: int | None) -> bool:
        with self._open() as tables:
            stored = tables.cells.get(cell.name)
            if expected_version is not None and expected_version != (
                stored.version if stored else 0
            ):
                return False
            tables.cells[cell.name] = cell
            return True

    def _remove_cell(self, name: str) -> None:
        with self._open() as tables:
            tables.cells.pop(name, None)

    def _has_logs(self, entity_type: str) -> bool:
        return False  # a cell cannot lose its name here

    def claim(
        self, key: SliceKey, member_id: str, token: bytes, seen_epoch: int | None = None
    ) -> Owner:
        with self._open() as tables:
            last = self.owner(key)
            epoch = last.epoch if last else 0
            if seen_epoch is not None and seen_epoch != epoch:
                return last or Owner(0, "", b"")
            tables.claims[key] = _sealed(*key, epoch + 1, member_id, token)
            return Owner(epoch + 1, member_id, token)

    def owner(self, key: SliceKey) -> Owner | None:
        with self._open() as tables:
            row = tables.claims.get(key)
            return Owner(*_checked(key, row, 0, "", "its claim")[2:]) if row else None

    def owners(self, entity_type: str) -> dict[int, Owner]:
        with self._open() as tables:
            rows = [
                (key, row) for key, row in tables.claims.items() if key.entity_type == entity_type
            ]
            return {key.slice: Owner(*row[2:-1]) for key, row in rows if _sound(row)}

    # --- the log ---
    def find_head(self, key: SliceKey) -> Head:
        with self._open():
            found, segment = Head(0, 0), 0
            while (here := self._static(key, segment)) is not None:
                found = here
                if here.head // self._storage.segment_records <= segment:
                    break
                segment = here.head // self._storage.segment_records
            return found

    def head_at(self, key: SliceKey, base_offset: int) -> Head | None:
        with self._open() as tables:
            return self._static(key, base_offset // tables.segment_records)

    def install(self, key: SliceKey, head: int, epoch: int) -> bool:
        with self._open() as tables:
            segment = head // tables.segment_records
            here = self._static(key, segment)
            if here is not None and (here.head != head or here.epoch >= epoch):
                return False
            tables.statics[key, segment] = _sealed(*key, segment, head, epoch)
            return True

    def append(self, commits: Sequence[Commit], on_appended: Callable[[Appended], None]) -> None:
        for commit in commits:
            on_appended(self._append(commit))

    def append_at_once(self, commits: Sequence[Commit]) -> list[Appended] | None:
        return [self._append(commit) for commit in commits]

    def _append(self, commit: Commit) -> Appended:
        if commit.size_bytes > self.command_bytes_max:
            return Appended(
                commit, Outcome.REFUSED, f"{commit.size_bytes} bytes are more than a row holds"
            )
        with self._open() as tables:
            key, segment = commit.key, commit.base_offset // tables.segment_records
            here = self._static(key, segment)
            if here is not None and here != (commit.base_offset, commit.epoch):
                return Appended(commit, Outcome.CONFLICT)
            tables.commits.setdefault(key, {})[commit.base_offset] = commit
            tables.statics[key, segment] = _sealed(*key, segment, commit.end_offset, commit.epoch)
            return Appended(commit, Outcome.DONE)

    def _static(self, key: SliceKey, segment: int) -> Head | None:
        row = self._storage.statics.get((key, segment))
        if row is None:
            return None
        return Head(
            *_checked(key, row, segment * self._storage.segment_records, "", "its head row")[3:]
        )

    def commit_at(self, key: SliceKey, base_offset: int) -> Commit | None:
        with self._open() as tables:
            return tables.commits.get(key, {}).get(base_offset)

    def read(self, key: SliceKey, from_offset: int, bytes_max: int = 1 << 20) -> list[Commit]:
        with self._open() as tables:
            self._check_not_trimmed(key, from_offset)
            head = self.find_head(key).head
            if from_offset >= head:
                return []
            commit = self._covering(key, from_offset)
            if commit is None:
                raise GapError(f"slice log {key}", from_offset, head)
            commits, size = [commit], commit.size_bytes
            while size < bytes_max and (commit := tables.commits[key].get(commit.end_offset)):
                commits.append(commit)
                size += commit.size_bytes
            return commits

    def _covering(self, key: SliceKey, offset: int) -> Commit | None:
        rows = self._storage.commits.get(key, {})
        if offset in rows:
            return rows[offset]
        bases = list(rows)
        at = bisect_right(bases, offset) - 1
        return rows[bases[at]] if at >= 0 and rows[bases[at]].end_offset > offset else None

    def _all(self, key: SliceKey, from_offset: int, until_offset: int) -> Iterator[Commit]:
        """The commits from..until, which must all be there. Damaged ones are for the caller to
        judge."""
        rows = self._storage.commits.get(key, {})
        bases = list(rows) if from_offset < until_offset else []
        first = max(bisect_right(bases, from_offset) - 1, 0)
        expected: int | None = None
        for base in bases[first : bisect_left(bases, until_offset)]:
            if expected not in (None, base):
                raise GapError(f"slice log {key}", expected or 0, base)
            # A damaged row does not know where it ends; the next one does know where it starts.
            expected = rows[base].end_offset if is_sound(rows[base]) else None
            if expected is None or expected > from_offset:
                yield rows[base]
        if expected is not None and expected < until_offset:
            raise GapError(f"slice log {key}: head", until_offset, expected)

    def read_entity(
        self, key: SliceKey, entity_id: str, from_seq_nr: int = 1, until_offset: int | None = None,
        until_seq_nr: int | None = None,
    ) -> list[Found]:  # fmt: skip
        with self._open():
            head, trimmed = self.find_head(key).head, self._trimmed(key).offset
            until = head if until_offset is None else min(until_offset, head)
            mark = self.index_mark(key)  # first the mark, then the index, then the log
            rows = self._rows_of_entity(key, entity_id, from_seq_nr, min(mark, until))
            bases = [
                row.base_offset
                for row in rows
                if until_seq_nr is None or row.first_seq_nr < until_seq_nr
            ]
            if bases and bases[0] < trimmed:
                raise TrimmedError(f"{key.entity_type}|{entity_id}", bases[0], trimmed)
            indexed = (self._at(key, entity_id, base) for base in bases)
            tail = () if indexed_until(rows, until_seq_nr) else self._all(key, mark, until)
            found = found_in(chain(indexed, tail), entity_id, from_seq_nr, until, until_seq_nr)
            check_contiguous(key, entity_id, found, from_seq_nr, trimmed)
            return found

    def _indexed(
        self, key: SliceKey, entity_id: str, from_seq_nr: int, until_offset: int
    ) -> list[int]:
        """Base offsets, in order, of the commits that hold wanted records."""
        rows = self._rows_of_entity(key, entity_id, from_seq_nr, until_offset)
        return [row.base_offset for row in rows]

    def _rows_of_entity(
        self, key: SliceKey, entity_id: str, from_seq_nr: int, until_offset: int
    ) -> list[IndexRow]:
        rows = self._storage.index.get((key, entity_id), {})
        found = [
            IndexRow(*_checked(key, row, base, entity_id, "its index row")[2:])
            for base, row in sorted(rows.items())
            if base < until_offset
        ]
        return [row for row in found if row.last_seq_nr >= from_seq_nr]

    def _at(self, key: SliceKey, entity_id: str, base_offset: int) -> Commit:
        commit = self._storage.commits.get(key, {}).get(base_offset)
        if commit is None:
            raise damage_of(
                key, base_offset, entity_id, "the index names a commit that is not there"
            )
        return commit

    def entity_ids(self, entity_type: str, after: str = "", limit: int = 1000) -> list[str]:
        with self._open() as tables:
            ids = {entity_id for key, entity_id in tables.index if key.entity_type == entity_type}
            return sorted(entity_id for entity_id in ids if entity_id > after)[:limit]

    def offset_at(self, key: SliceKey, time_us: int) -> int:
        with self._open() as tables:
            for commit in tables.commits.get(key, {}).values():
                if check_sound(commit, "its time cannot be trusted").time_us >= time_us:
                    return commit.base_offset
            return self.find_head(key).head

    def position_before(self, key: SliceKey, offset: int) -> Position:
        with self._open():
            head, trimmed = self.find_head(key).head, self._trimmed(key)
            if offset > head:
                raise JournalDivergedError(f"slice log {key}", offset, f"its head is {head}")
            if offset == trimmed.offset:
                return trimmed
            self._check_not_trimmed(key, offset)
            commit = self._covering(key, offset - 1)
            if commit is None:
                raise GapError(f"slice log {key}", offset - 1, head)
            return position_in(commit, offset)

    def trim(self, key: SliceKey, until_offset: int) -> int:
        with self._open() as tables:
            trimmed, until = self._trimmed(key), min(until_offset, self.index_mark(key))
            commits = (
                check_sound(c, "it cannot be trimmed")
                for c in self._all(key, trimmed.offset, until)
            )
            going = [commit for commit in commits if commit.end_offset <= until]
            if going:
                trimmed = position_in(going[-1], going[-1].end_offset)
                tables.trims[key] = _sealed(*key, *trimmed)
            for commit in going:
                del tables.commits[key][commit.base_offset]
            return trimmed.offset

    def _trimmed(self, key: SliceKey) -> Position:
        row = self._storage.trims.get(key)
        return Position(*_checked(key, row, 0, "", "its trim mark")[2:]) if row else START

    def _check_not_trimmed(self, key: SliceKey, offset: int) -> None:
        if offset < (trimmed := self._trimmed(key).offset):
            raise TrimmedError(f"slice log {key}", offset, trimmed)

    # --- derived from the log ---
    def index_mark(self, key: SliceKey) -> int:
        with self._open() as tables:
            row = tables.marks.get(key)
            return int(_checked(key, row, 0, "", "its index mark")[2]) if row else 0

    def advance_index(self, key: SliceKey, until_offset: int, recent: Sequence[Commit] = ()) -> int:
        at_hand = {commit.base_offset: commit for commit in recent if commit.key == key}
        with self._open() as tables:
            mark = self.index_mark(key)
            while mark < until_offset:
                commit = at_hand.get(mark) or next(self._all(key, mark, until_offset))
                for row in index_rows_of(commit):
                    rows = tables.index.setdefault((key, row.entity_id), {})
                    rows[row.base_offset] = _sealed(*key, *row)
                mark = commit.end_offset
            tables.marks[key] = _sealed(*key, mark)
            return mark

    def write_states(self, key: SliceKey, rows: Sequence[StateRow]) -> None:
        with self._open() as tables:
            for row in rows:
                stored = self.read_state(key, row.entity_id)
                if stored is None or stored.offset < row.offset:
                    tables.states[key, row.entity_id] = _sealed(*key, *astuple(row))

    def read_state(self, key: SliceKey, entity_id: str) -> StateRow | None:
        with self._open() as tables:
            row = tables.states.get((key, entity_id))
            return StateRow(*row[2:-1]) if row and _sound(row) else None

    def read_states(self, key: SliceKey, entity_ids: Collection[str]) -> dict[str, StateRow]:
        found = {entity_id: self.read_state(key, entity_id) for entity_id in entity_ids}
        return {entity_id: row for entity_id, row in found.items() if row is not None}

    def states(self, key: SliceKey, after: str = "", limit: int = 1000) -> list[StateRow]:
        with self._open() as tables:
            stated = sorted(name for at, name in tables.states if at == key and name > after)
            rows = (self.read_state(key, entity_id) for entity_id in stated)
            return list(islice((row for row in rows if row is not None), limit))

    def delete_state(self, key: SliceKey, entity_id: str) -> None:
        with self._open() as tables:
            tables.states.pop((key, entity_id), None)

    # --- care ---
    def verify(self, entity_type: str | None = None) -> list[Exception]:
        with self._open() as tables:
            found = list(self._verify_cells())
            keys = (
                {key for key, _ in tables.statics}
                | set(tables.claims)
                | set(tables.marks)
                | set(tables.trims)
            )
            for key in sorted(keys):
                if entity_type in (None, key.entity_type):
                    found += self._verify_slice(key)
            return found

    def _verify_slice(self, key: SliceKey) -> Iterator[Exception]:
        tables = self._storage
        try:
            self.owner(key)
            for segment in sorted(segment for at, segment in tables.statics if at == key):
                self._static(key, segment)
            mark, trimmed, head = self.index_mark(key), self._trimmed(key), self.find_head(key)
        except CorruptRecordError as damage:  # without these numbers nothing can be compared
            yield damage
            return
        commits = tables.commits.get(key, {}).items()
        yield from verify_slice(key, SliceRows(head, trimmed, mark, commits, self._index_rows(key)))
        for (at, entity_id), row in tables.states.items():
            if at == key and not _sound(row):
                yield damage_of(key, 0, entity_id, "its stored state does not match its checksum")

    def _index_rows(self, key: SliceKey) -> Iterator[IndexRow | Exception]:
        for (at, entity_id), rows in self._storage.index.items():
            for base, row in rows.items() if at == key else ():
                try:
                    yield IndexRow(*_checked(key, row, base, entity_id, "its index row")[2:])
                except CorruptRecordError as damage:
                    yield damage

    def _open(self) -> MemoryStorage:
        if self._closed:
            raise JournalUnavailableError(self.url, "this journal was closed; open it again")
        return self._storage

    def close(self) -> None:
        self._closed = True


def _sealed(*columns: Any) -> Row:
    return (*columns, seal(*columns))


def _sound(row: Row) -> bool:
    return bool(row[-1] == seal(*row[:-1]))


def _checked(key: SliceKey, row: Row, offset: int, entity_id: str, what: str) -> Row:
    """The row's columns without the seal; CorruptRecordError where the seal does not match."""
    if not _sound(row) or row[:2] != key:
        raise damage_of(key, offset, entity_id, f"{what} does not match its checksum")
    return row[:-1]

"""Slice logs in SQLite: one row per commit, one row per slice with (head, epoch); no segments.

All commits of one `append` share a transaction, and so one fsync; each is compared by itself. The
writer's lock is taken before the comparison, so what was compared is still true when it is
committed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from thespian_dc.journal.api import Appended, Found, Head, Outcome
from thespian_dc.journal.reading import (
    check_contiguous,
    check_sound,
    damage_of,
    found_in,
    is_sound,
    position_in,
)
from thespian_dc.journal.sqlite.database import BusyError, Database, UnknownOutcomeError
from thespian_dc.journal.sqlite.entities import (
    EntityIndex,
    Run,
    drop_trimmed,
    indexed,
    list_entity_ids,
)
from thespian_dc.journal.sqlite.slice_row import (
    SliceRow,
    load_slice,
    load_slices,
    need_slice,
    store_slice,
)
from thespian_dc.model.errors import (
    GapError,
    JournalDivergedError,
    JournalError,
    TrimmedError,
)
from thespian_dc.model.ids import SLICES_MAX, SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.record import Commit

_SELECT = (
    "select base_offset, count, write_id, epoch, time_us, checksum, heads, body from commits"
    " where slice = ?"
)
_INSERT = (
    "insert into commits"
    "(slice, base_offset, count, write_id, epoch, time_us, checksum, heads, body)"
    " values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_NO_END = (1 << 63) - 1
_TRIM_COMMITS = 256  # per transaction: other writers wait no longer than that


class SqliteLog:
    """The log part of `Journal`."""

    url: str
    commit_bytes_max = 1 << 20
    command_bytes_max = 64 << 20
    appends_at_once = SLICES_MAX  # they share a transaction
    _db: Database
    _entities: EntityIndex

    def find_head(self, key: SliceKey) -> Head:
        row = self._slice(key)
        return row.at if row else Head(0, 0)

    def head_at(self, key: SliceKey, base_offset: int) -> Head | None:
        row = self._slice(key)
        return None if row is None or row.at == (0, 0) else row.at

    def _slice(self, key: SliceKey) -> SliceRow | None:
        return self._db.read(lambda connection: load_slice(connection, key))

    def install(self, key: SliceKey, head: int, epoch: int) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            row = need_slice(connection, key)
            if row.head != head or row.epoch >= epoch:
                return False
            store_slice(connection, row._replace(epoch=epoch))
            return True

        return self._db.write(work)

    # --- append ---
    def append(self, commits: Sequence[Commit], on_appended: Callable[[Appended], None]) -> None:
        for answer in self._append(commits):
            on_appended(answer)

    def append_at_once(self, commits: Sequence[Commit]) -> list[Appended] | None:
        try:
            return self._append(commits, at_once=True)
        except BusyError:
            return None

    def _append(self, commits: Sequence[Commit], at_once: bool = False) -> list[Appended]:
        try:
            try:
                return self._db.write(
                    lambda connection: self._append_all(connection, commits), at_once
                )
            except sqlite3.IntegrityError:  # the second fence: find out whose commit it is
                return self._db.write(
                    lambda connection: self._append_each(connection, commits), at_once
                )
        except UnknownOutcomeError as error:
            return [Appended(commit, Outcome.UNKNOWN, str(error)) for commit in commits]
        except JournalError as error:
            return [Appended(commit, Outcome.REFUSED, str(error)) for commit in commits]

    def _append_all(
        self, connection: sqlite3.Connection, commits: Sequence[Commit]
    ) -> list[Appended]:
        answers, placed = [], []
        for commit in commits:
            answer, slice_id = self._place(connection, commit)
            answers.append(answer)
            if answer.outcome is Outcome.DONE:
                placed.append((slice_id, commit))
        self._entities.add(connection, placed)
        return answers

    def _append_each(
        self, connection: sqlite3.Connection, commits: Sequence[Commit]
    ) -> list[Appended]:
        answers: list[Appended] = []
        for commit in commits:
            connection.execute("savepoint one")
            try:
                answers += self._append_all(connection, [commit])
            except sqlite3.IntegrityError:
                connection.execute("rollback to one")
                reason = "the entity has a record with this seq_nr already"
                answers.append(Appended(commit, Outcome.CONFLICT, reason))
            connection.execute("release one")
        return answers

    def _place(self, connection: sqlite3.Connection, commit: Commit) -> tuple[Appended, int]:
        """Compare, store the row, move the head."""
        if commit.size_bytes > self.command_bytes_max:
            reason = f"{commit.size_bytes} bytes are more than a row holds"
            return Appended(commit, Outcome.REFUSED, reason), 0
        try:
            row = need_slice(connection, commit.key)
        except JournalError as damage:
            return Appended(commit, Outcome.REFUSED, str(damage)), 0
        if (
            row.at not in {(commit.base_offset, commit.epoch), (0, 0)}
            or row.head != commit.base_offset
        ):
            return Appended(commit, Outcome.CONFLICT), 0
        columns = (
            commit.base_offset,
            commit.count,
            commit.write_id,
            commit.epoch,
            commit.time_us,
            commit.checksum,
            commit.heads,
            commit.body,
        )
        connection.execute(_INSERT, (row.id, *columns))
        store_slice(connection, row._replace(head=commit.end_offset, epoch=commit.epoch))
        return Appended(commit, Outcome.DONE), row.id

    # --- read ---
    def commit_at(self, key: SliceKey, base_offset: int) -> Commit | None:
        def work(connection: sqlite3.Connection) -> Commit | None:
            row = load_slice(connection, key)
            return _at(connection, row, base_offset) if row else None

        return self._db.read(work)

    def read(self, key: SliceKey, from_offset: int, bytes_max: int = 1 << 20) -> list[Commit]:
        def work(connection: sqlite3.Connection) -> list[Commit]:
            row = load_slice(connection, key)
            if row is None:
                return []
            _check_not_trimmed(row, from_offset)
            if from_offset >= row.head:
                return []
            first = _covering(connection, row, from_offset)
            commits, size = [first], first.size_bytes
            for commit in commits_from(connection, row, first.end_offset, row.head):
                if size >= bytes_max or commit.base_offset != commits[-1].end_offset:
                    break
                commits.append(commit)
                size += commit.size_bytes
            return commits

        return self._db.read(work)

    def read_entity(
        self, key: SliceKey, entity_id: str, from_seq_nr: int = 1, until_offset: int | None = None,
        until_seq_nr: int | None = None,
    ) -> list[Found]:  # fmt: skip
        def work(connection: sqlite3.Connection) -> list[Found]:
            row = load_slice(connection, key)
            if row is None:
                return []
            until = row.head if until_offset is None else min(until_offset, row.head)
            found: list[Found] = []
            wanted = (from_seq_nr, until_seq_nr)
            for run in indexed(connection, row, entity_id, *wanted):
                found += _records_of(connection, row, entity_id, run, *wanted)
                if run.base_offset >= until:  # one too many: what says it lies beyond must do so
                    break
            check_contiguous(key, entity_id, found, from_seq_nr, row.trimmed_to)
            return [one for one in found if one.offset < until]

        return self._db.read(work)

    def entity_ids(self, entity_type: str, after: str = "", limit: int = 1000) -> list[str]:
        def work(connection: sqlite3.Connection) -> list[str]:
            ids = [row.id for row, _ in load_slices(connection, entity_type)]
            return list_entity_ids(connection, ids, after, limit)

        return self._db.read(work)

    def offset_at(self, key: SliceKey, time_us: int) -> int:
        def work(connection: sqlite3.Connection) -> int:
            row = load_slice(connection, key)
            if row is None:
                return 0
            found = connection.execute(
                "select base_offset from commits where slice = ? and time_us >= ?"
                " and base_offset < ? order by time_us, base_offset limit 1",
                (row.id, time_us, row.head),
            ).fetchone()
            # The answer stands or falls with the times of two commits, so both must be sound.
            offset: int = found[0] if found else row.head
            why = "its time cannot be trusted"
            if found:
                check_sound(_at(connection, row, offset) or _covering(connection, row, offset), why)
            if offset > row.trimmed_to:
                check_sound(_covering(connection, row, offset - 1), why)
            return offset

        return self._db.read(work)

    def position_before(self, key: SliceKey, offset: int) -> Position:
        def work(connection: sqlite3.Connection) -> Position:
            row = load_slice(connection, key) or SliceRow(0, *key)
            if offset > row.head:
                raise JournalDivergedError(f"slice log {key}", offset, f"its head is {row.head}")
            if offset == row.trimmed_to:
                return row.trimmed
            _check_not_trimmed(row, offset)
            return position_in(_covering(connection, row, offset - 1), offset)

        return self._db.read(work)

    def trim(self, key: SliceKey, until_offset: int) -> int:
        while True:
            trimmed, more = self._db.write(
                lambda connection: _trim_some(connection, key, until_offset)
            )
            if not more:
                return trimmed


def _commit(row: SliceRow, columns: tuple[Any, ...]) -> Commit:
    base, count, write_id, epoch, time_us, checksum, heads, body = columns
    return Commit(row.key, base, count, write_id, epoch, time_us, heads, body, checksum)


def _at(connection: sqlite3.Connection, row: SliceRow, base_offset: int) -> Commit | None:
    found = connection.execute(_SELECT + " and base_offset = ?", (row.id, base_offset)).fetchone()
    return _commit(row, found) if found else None


def commits_from(
    connection: sqlite3.Connection, row: SliceRow, from_offset: int, until_offset: int | None
) -> Iterator[Commit]:
    """Rows with from_offset <= base_offset < until_offset (None: all) as they come, unchecked."""
    cursor = connection.execute(
        _SELECT + " and base_offset >= ? and base_offset < ? order by base_offset",
        (row.id, from_offset, _NO_END if until_offset is None else until_offset),
    )
    try:
        for columns in cursor:
            yield _commit(row, columns)
    finally:
        cursor.close()


def _covering(connection: sqlite3.Connection, row: SliceRow, offset: int) -> Commit:
    """The commit that covers the offset, a sound one rather than a damaged row astray there."""
    found = connection.execute(
        _SELECT + " and base_offset <= ? and base_offset < ? order by base_offset desc limit 2",
        (row.id, offset, row.head),
    ).fetchall()
    commits = [_commit(row, columns) for columns in found]
    covering = [commit for commit in commits if commit.base_offset <= offset < commit.end_offset]
    if not covering:
        raise GapError(
            f"slice log {row.key}", offset, commits[0].end_offset if commits else row.head
        )
    return next(filter(is_sound, covering), covering[0])


def _records_of(
    connection: sqlite3.Connection, row: SliceRow, entity_id: str, run: Run, from_seq_nr: int,
    until_seq_nr: int | None,
) -> list[Found]:  # fmt: skip
    """Those of the run with from_seq_nr <= seq_nr < until_seq_nr."""
    commit = _at(connection, row, run.base_offset)
    if commit is None:
        reason = "the index names a commit that is not there"
        raise damage_of(row.key, run.base_offset, entity_id, reason)
    found = found_in([commit], entity_id, from_seq_nr, commit.end_offset, until_seq_nr)
    first = max(run.first, from_seq_nr)
    last = run.last if until_seq_nr is None else min(run.last, until_seq_nr - 1)
    seq_nrs = [one.record.seq_nr for one in found]
    if not seq_nrs or (seq_nrs[0], seq_nrs[-1], len(seq_nrs)) != (first, last, last - first + 1):
        reason = f"the index says seq_nr {run.first} to {run.last}, the log does not"
        raise damage_of(row.key, run.base_offset, entity_id, reason)
    return found


def _check_not_trimmed(row: SliceRow, offset: int) -> None:
    if offset < row.trimmed_to:
        raise TrimmedError(f"slice log {row.key}", offset, row.trimmed_to)


def _trim_some(
    connection: sqlite3.Connection, key: SliceKey, until_offset: int
) -> tuple[int, bool]:
    row = load_slice(connection, key)
    if row is None:
        return 0, False
    going: list[Commit] = []
    for commit in commits_from(connection, row, row.trimmed_to, row.head):
        if commit.end_offset > until_offset or len(going) == _TRIM_COMMITS:
            break
        if commit.base_offset != (going[-1].end_offset if going else row.trimmed_to):
            raise GapError(f"slice log {key}", row.trimmed_to, commit.base_offset)
        going.append(check_sound(commit, "it cannot be trimmed"))
    if not going:
        return row.trimmed_to, False
    offset, write_id = position_in(going[-1], going[-1].end_offset)
    store_slice(connection, row._replace(trimmed_to=offset, trimmed_write_id=write_id))
    drop_trimmed(connection, row, going)
    connection.execute("delete from commits where slice = ? and base_offset < ?", (row.id, offset))
    return offset, len(going) == _TRIM_COMMITS

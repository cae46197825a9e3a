"""What is derived from the log: the entity index with its mark, and states. Plain writes, ordered
by offset.

An index row tells of a run of an entity's commits: (entity, first seq_nr of the run) → (last
seq_nr, base offset) of each. Its write time is the base offset of its last commit. So rows may be
written twice, by two owners whose runs end at different commits, in any order: of two that start
alike the longer one wins and holds all of the other, and those that overlap agree. A run of several
commits spans fewer than _RUN_MAX seq_nrs: a reader knows how far back a run that reaches its first
seq_nr can start. The mark is raised when the rows are durable, and its write time is its value: a
late lower mark never wins. A state's write time is its offset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from cassandra.query import BatchStatement, BatchType

from thespian_dc.journal.api import Found, StateRow
from thespian_dc.journal.cassandra.limits import ServerLimits
from thespian_dc.journal.cassandra.link import Link
from thespian_dc.journal.cassandra.reader import LogReader
from thespian_dc.journal.cassandra.schema import Meta
from thespian_dc.journal.cassandra.sealed import (
    offset_at_time,
    unwrap,
    unwrap_or_raise,
    wrap,
    write_time,
)
from thespian_dc.journal.cassandra.url import CassandraUrl
from thespian_dc.journal.reading import (
    IndexRow,
    check_contiguous,
    damage_of,
    found_in,
    index_rows_of,
    indexed_until,
)
from thespian_dc.model.errors import GapError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit

_ROW_BYTES = 64  # of an index row in a batch, without the names in its key
_INDEX_PAGE = 1000
_RUN_MAX = 256
_COMMITS_AT_ONCE = 8
_NO_LIMIT = 1 << 62


class _Batch:
    """Index rows that go out together."""

    def __init__(self) -> None:
        self.batch = BatchStatement(BatchType.UNLOGGED)
        self.partitions = self.size_bytes = 0

    def has_room(self, size_bytes: int, limits: ServerLimits) -> bool:
        fits = self.size_bytes + size_bytes <= limits.batch_bytes_max
        return fits and self.partitions < limits.batch_partitions_max

    def add(self, statements: Iterable[Any], size_bytes: int) -> None:
        for statement in statements:
            self.batch.add(statement)
        self.partitions, self.size_bytes = self.partitions + 1, self.size_bytes + size_bytes


class Derived(LogReader):
    """The derived part of the contract, and reading by entity."""

    derived_index = True

    def __init__(self, link: Link, url: CassandraUrl, meta: Meta, limits: ServerLimits) -> None:
        super().__init__(link, url, meta, limits)
        self._forgotten: dict[tuple[SliceKey, str], int] = {}  # write times of deleted states

    # --- the index ---
    def advance_index(self, key: SliceKey, until_offset: int, recent: Sequence[Commit] = ()) -> int:
        at_hand = {commit.base_offset: commit for commit in recent if commit.key == key}
        mark = self.index_mark(key)
        while mark < until_offset:
            commits = self._next_commits(key, mark, until_offset, at_hand)
            rows: dict[str, list[IndexRow]] = defaultdict(list)
            for row in chain.from_iterable(index_rows_of(commit) for commit in commits):
                rows[row.entity_id].append(row)
            self._link.all(self._index_batches(key, rows))
            mark = commits[-1].end_offset
            self._rows("raise_index_mark", *key, wrap("index mark", key, mark), write_time(mark))
        return mark

    def _next_commits(
        self, key: SliceKey, offset: int, until_offset: int, at_hand: dict[int, Commit]
    ) -> list[Commit]:
        """At least one commit from `offset` on: all that are at hand, else a page of the log."""
        commits = []
        at = offset
        while at < until_offset and (commit := at_hand.get(at)) is not None:
            commits.append(commit)
            at = commit.end_offset
        if not commits:
            page = self.read(key, offset)
            commits = [commit for commit in page if commit.base_offset < until_offset]
        if not commits:
            raise GapError(f"slice log {key}", offset, until_offset)
        return commits

    def _index_batches(self, key: SliceKey, rows: dict[str, list[IndexRow]]) -> Iterator[Any]:
        """Unlogged batches below the server's thresholds, each for one replica.

        An entity's rows are one partition: they stay together and are one mutation.
        """
        open_batches: dict[Any, _Batch] = {}
        for entity_id, found in rows.items():
            statements = [self._index_statement(key, run) for run in _runs(found)]
            replica = self._replica_of(statements[0])
            size = len(found) * (_ROW_BYTES + len(entity_id) + len(key.entity_type))
            batch = open_batches.get(replica)
            if batch is not None and not batch.has_room(size, self._limits):
                yield batch.batch
                batch = None
            if batch is None:
                batch = open_batches[replica] = _Batch()
            batch.add(statements, size)
        for batch in open_batches.values():
            yield batch.batch

    def _replica_of(self, statement: Any) -> Any:
        """The first replica of the statement's partition; None where there is but one node."""
        metadata = self._link.cluster.metadata
        if len(metadata.all_hosts()) == 1:
            return None
        replicas = metadata.get_replicas(self._keyspace, statement.routing_key)
        return replicas[0] if replicas else None

    def _index_statement(self, key: SliceKey, run: Sequence[IndexRow]) -> Any:
        rest = (run[0].entity_id, run[0].first_seq_nr)
        places = [(row.last_seq_nr, row.base_offset) for row in run]
        cell, time = wrap("index row", key, places, *rest), write_time(run[-1].base_offset)
        return self._statements.bind("index_row", *key, *rest, cell, time)

    def read_entity(
        self, key: SliceKey, entity_id: str, from_seq_nr: int = 1, until_offset: int | None = None,
        until_seq_nr: int | None = None,
    ) -> list[Found]:  # fmt: skip
        mark = self.index_mark(key)  # first the mark, then the index, then the log from that mark
        until = _NO_LIMIT if until_offset is None else until_offset
        rows = [
            row
            for row in self._indexed(key, entity_id, from_seq_nr, until_seq_nr)
            if row.base_offset < min(mark, until)
        ]
        bases = [
            row.base_offset
            for row in rows
            if until_seq_nr is None or row.first_seq_nr < until_seq_nr
        ]
        trimmed = self._trimmed(key).offset
        if bases and bases[0] < trimmed:
            raise TrimmedError(f"{key.entity_type}|{entity_id}", bases[0], trimmed)
        tail = () if indexed_until(rows, until_seq_nr) else self._sweep(key, mark, until)
        commits = chain(self._at(key, entity_id, bases), tail)
        found = found_in(commits, entity_id, from_seq_nr, until, until_seq_nr)
        check_contiguous(key, entity_id, found, from_seq_nr, trimmed)
        return found

    def _indexed(
        self, key: SliceKey, entity_id: str, from_seq_nr: int, until_seq_nr: int | None = None
    ) -> list[IndexRow]:
        """The index rows of commits with seq_nr >= from_seq_nr, in order, each once; some of those
        from until_seq_nr on may be missing.

        Runs that reach from_seq_nr start less than _RUN_MAX below it, but for one that is a single
        commit: no other row starts within that.
        """
        after = from_seq_nr - _RUN_MAX
        place = (*key, entity_id, after)
        last_before, page = self._link.all(
            [
                self._statements.bind("index_at", *place),
                self._statements.bind("index_from", *place, _INDEX_PAGE),
            ]
        )
        found = set(self._index_runs(key, entity_id, last_before))
        for stored in self._index_pages(key, entity_id, after, page):
            found.update(self._index_runs(key, entity_id, stored))
            if until_seq_nr is not None and stored[-1][0] >= until_seq_nr:
                break
        return sorted(
            (row for row in found if row.last_seq_nr >= from_seq_nr),
            key=lambda row: row.first_seq_nr,
        )

    def _index_pages(
        self, key: SliceKey, entity_id: str, after: int, page: list[Any] | None = None
    ) -> Iterator[list[Any]]:
        """The stored rows that start above `after`, a page at a time; `page`: the first, where it
        is at hand."""
        if page is None:
            page = self._rows("index_from", *key, entity_id, after, _INDEX_PAGE)
        while page:
            yield page
            if len(page) < _INDEX_PAGE:
                return
            page = self._rows("index_from", *key, entity_id, page[-1][0], _INDEX_PAGE)

    def _index_runs(self, key: SliceKey, entity_id: str, page: Iterable[Any]) -> Iterator[IndexRow]:
        for stored in page:
            yield from self._index_run(key, entity_id, *stored)

    def _index_run(
        self, key: SliceKey, entity_id: str, first_seq_nr: int, cell: bytes | None, time: int | None
    ) -> list[IndexRow]:
        """What a stored row tells, a row for each commit."""
        # The write time is a commit's offset: it tells where, though the cell no longer does.
        offset = offset_at_time(time or 0)
        rest = (entity_id, first_seq_nr)
        places = unwrap_or_raise("index row", key, cell, *rest, entity_id=entity_id, offset=offset)
        rows = []
        for last, base in places:
            rows.append(IndexRow(entity_id, base, first_seq_nr, last))
            first_seq_nr = last + 1
        return rows

    def _at(self, key: SliceKey, entity_id: str, bases: Sequence[int]) -> Iterator[Commit]:
        """The commits at these offsets, a few at once: each may be a MiB."""
        for start in range(0, len(bases), _COMMITS_AT_ONCE):
            some = bases[start : start + _COMMITS_AT_ONCE]
            for base, commit in zip(some, self._commits_at(key, some), strict=True):
                if commit is None:
                    raise damage_of(
                        key, base, entity_id, "the index names a commit that is not there"
                    )
                yield commit

    def entity_ids(self, entity_type: str, after: str = "", limit: int = 1000) -> list[str]:
        """In alphabetical order. Reads the ids of all entities: Cassandra has them in the order of
        their hashes.
        """
        ids = {
            entity_id for kind, _, entity_id in self._partitions("entities") if kind == entity_type
        }
        return sorted(entity_id for entity_id in ids if entity_id > after)[:limit]

    # --- states ---
    def write_states(self, key: SliceKey, rows: Sequence[StateRow]) -> None:
        self._link.all(self._state_statements(key, rows))

    def _state_statements(self, key: SliceKey, rows: Iterable[StateRow]) -> Iterator[Any]:
        for row in rows:
            cell = wrap("state", key, (row.seq_nr, row.offset, row.body), row.entity_id)
            time = max(write_time(row.offset), self._forgotten.pop((key, row.entity_id), -1) + 1)
            yield self._statements.bind("write_state", *key, row.entity_id, cell, time)

    def read_state(self, key: SliceKey, entity_id: str) -> StateRow | None:
        rows = self._rows("state", *key, entity_id)
        stored = unwrap("state", key, rows[0][0], entity_id) if rows else None
        return StateRow(entity_id, *stored) if stored else None

    def read_states(self, key: SliceKey, entity_ids: Collection[str]) -> dict[str, StateRow]:
        wanted = list(entity_ids)
        stored = self._link.all(self._statements.bind("state", *key, name) for name in wanted)
        found = {}
        for entity_id, rows in zip(wanted, stored, strict=True):
            cell = rows[0][0] if rows else None
            if (value := unwrap("state", key, cell, entity_id)) is not None:
                found[entity_id] = StateRow(entity_id, *value)
        return found

    def states(self, key: SliceKey, after: str = "", limit: int = 1000) -> list[StateRow]:
        """In the order of the partitions' tokens: passes over the keys of all other slices."""
        found: list[StateRow] = []
        start = (*key, after) if after else None
        names = (name for *at, name in self._partitions("stated", start) if (*at,) == key)
        while len(found) < limit and (page := list(islice(names, limit - len(found)))):
            rows = self.read_states(key, page)
            found += [rows[entity_id] for entity_id in page if entity_id in rows]
        return found

    def delete_state(self, key: SliceKey, entity_id: str) -> None:
        """Delete at the stored state's own write time, so that every later state is stored again.

        The same state is stored again by this process alone: it remembers that time.
        """
        for _, time in self._rows("state", *key, entity_id):
            if time is not None:
                self._rows("delete_state", time, *key, entity_id)
                self._forgotten[key, entity_id] = time


def _runs(rows: Sequence[IndexRow]) -> Iterator[list[IndexRow]]:
    """Cut an entity's rows, in order, into runs of fewer than _RUN_MAX seq_nrs, or one commit."""
    run: list[IndexRow] = []
    for row in rows:
        if run and row.last_seq_nr - run[0].first_seq_nr >= _RUN_MAX:
            yield run
            run = []
        run.append(row)
    if run:
        yield run

"""Read a whole journal and say what is wrong with it; for `thespian-dc verify`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from thespian_dc.journal.api import Head
from thespian_dc.journal.cassandra.derived import Derived
from thespian_dc.journal.cassandra.log import SliceLog
from thespian_dc.journal.cassandra.registry import Registry
from thespian_dc.journal.cassandra.sealed import offset_at_time, unwrap_or_raise
from thespian_dc.journal.reading import IndexRow, damage_of
from thespian_dc.journal.verify import SliceRows, verify_slice
from thespian_dc.model.errors import CorruptRecordError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import START, Position
from thespian_dc.model.record import Commit

Ids = dict[SliceKey, list[str]]


class _Look(NamedTuple):
    """What a slice's numbers said at one time. claimed: the epoch of its claim."""

    mark: int
    trimmed: Position
    head: Head
    claimed: int


class _There(NamedTuple):
    """The partitions there are."""

    segments: dict[SliceKey, list[int]]
    indexed: Ids
    stated: Ids


_NO_LOG = _Look(0, START, Head(0, 0), 0)


class CassandraJournal(SliceLog, Registry, Derived):
    """The journal of one keyspace; see journal/api.py for what each method promises.

    Open it in the process that uses it: connections and threads do not survive a fork.
    """

    def verify(self, entity_type: str | None = None) -> list[Exception]:
        """Others may write meanwhile: a slice is judged as it stood when it was looked at, so marks
        and heads are read first and what they speak of behind them."""
        found = list(self._verify_cells())
        keys = {SliceKey(kind, slice_) for kind, slice_, _ in self._partitions("segments")}
        looks = {
            key: self._look(key)
            for key in sorted({*keys, *self._marked()})
            if entity_type in (None, key.entity_type)
        }
        there = self._there()
        for key in sorted({*looks, *there.indexed, *there.stated}):
            if entity_type in (None, key.entity_type):
                found += self._verify_slice(key, looks.get(key, _NO_LOG), there)
                found += self._verify_states(key, there.stated[key])
        return found

    def _marked(self) -> Iterator[SliceKey]:
        """The slices of all marks and claims, whether they have a log or not."""
        for name in ("marked", "trimmed"):
            for kind, slice_ in self._partitions(name):
                yield SliceKey(kind, slice_)
        for (kind,) in self._partitions("owned"):
            for slice_, *_ in self._rows("owners", kind):
                yield SliceKey(kind, slice_)

    def _there(self) -> _There:
        segments: dict[SliceKey, list[int]] = defaultdict(list)
        for kind, slice_, segment in self._partitions("segments"):
            segments[SliceKey(kind, slice_)].append(segment)
        return _There(segments, self._ids("entities"), self._ids("stated"))

    def _ids(self, name: str) -> Ids:
        ids: Ids = defaultdict(list)
        for kind, slice_, entity_id in self._partitions(name):
            ids[SliceKey(kind, slice_)].append(entity_id)
        return ids

    def _look(self, key: SliceKey) -> _Look | CorruptRecordError:
        """Without these numbers nothing can be compared."""
        try:
            for what, statement in (("index mark", "index_mark"), ("trim mark", "trim_mark")):
                if (cell := self._cell_of(statement, key)) is not None:
                    unwrap_or_raise(what, key, cell)
            mark, trimmed, head = self.index_mark(key), self._trimmed(key), self.find_head(key)
            owner = self.owner(key)
        except CorruptRecordError as damage:
            return damage
        return _Look(mark, trimmed, head, owner.epoch if owner else 0)

    def _verify_slice(
        self, key: SliceKey, look: _Look | CorruptRecordError, there: _There
    ) -> list[Exception]:
        while not isinstance(look, CorruptRecordError):
            found = list(self._differences(key, look, there))
            if not found or (trimmed := self._trimmed(key)) == look.trimmed:
                return found
            # It was trimmed meanwhile: again, what is left of what was looked at.
            look = look._replace(trimmed=trimmed)
            if trimmed.offset >= look.head.head:
                return []
        return [look]

    def _differences(self, key: SliceKey, look: _Look, there: _There) -> Iterator[Exception]:
        mark, trimmed, head, claimed = look
        if head.epoch > claimed:
            reason = f"epoch {head.epoch} stands in its log, its claim says {claimed}"
            yield damage_of(key, head.head, "", reason)
        segments = sorted(there.segments[key])
        try:
            for segment in segments:
                self._static(key, segment)
        except CorruptRecordError as damage:
            yield damage
            return
        is_newer = self._growth(key, head.head)
        commits = takewhile(
            lambda row: not is_newer(row[0]), self._stored(key, segments, trimmed.offset)
        )
        index = (
            row
            for row in self._stored_index(key, there.indexed[key])
            if isinstance(row, Exception) or not is_newer(row.base_offset)
        )
        yield from verify_slice(key, SliceRows(head, trimmed, mark, commits, index))

    def _growth(self, key: SliceKey, head: int) -> Callable[[int], bool]:
        """Says of an offset whether the log reaches it now, but did not at that head."""
        now = head

        def is_newer(offset: int) -> bool:
            nonlocal now
            if offset >= now:
                now = max(now, self.find_head(key).head)
            return head <= offset < now

        return is_newer

    def _stored(
        self, key: SliceKey, segments: list[int], from_offset: int
    ) -> Iterator[tuple[int, Commit]]:
        """All rows from the trim mark on, whether they fit together or not."""
        for segment in segments:
            for commit in self._rows_of_segment(key, segment, from_offset):
                yield commit.base_offset, commit

    def _stored_index(
        self, key: SliceKey, entity_ids: Iterable[str]
    ) -> Iterator[IndexRow | Exception]:
        for entity_id in entity_ids:
            for page in self._index_pages(key, entity_id, -1 << 62):
                for stored in page:
                    try:
                        yield from self._index_run(key, entity_id, *stored)
                    except CorruptRecordError as damage:
                        yield damage

    def _verify_states(self, key: SliceKey, entity_ids: Iterable[str]) -> Iterator[Exception]:
        for entity_id in entity_ids:
            for cell, time in self._rows("state", *key, entity_id):
                offset = offset_at_time(time or 0)
                try:
                    unwrap_or_raise(
                        "state", key, cell, entity_id, entity_id=entity_id, offset=offset
                    )
                except CorruptRecordError as damage:
                    yield damage

    def close(self) -> None:
        self._close()

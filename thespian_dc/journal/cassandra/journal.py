"""Read a whole journal and say what is wrong with it; for `thespian-dc verify`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from thespian_dc.journal.cassandra.derived import Derived
from thespian_dc.journal.cassandra.log import SliceLog
from thespian_dc.journal.cassandra.registry import Registry
from thespian_dc.journal.cassandra.sealed import offset_at_time, unwrap_or_raise
from thespian_dc.journal.reading import IndexRow, damage_of
from thespian_dc.journal.verify import SliceRows, verify_slice
from thespian_dc.model.errors import CorruptRecordError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit

Ids = dict[SliceKey, list[str]]


class CassandraJournal(SliceLog, Registry, Derived):
    """The journal of one keyspace; see journal/api.py for what each method promises.

    Open it in the process that uses it: connections and threads do not survive a fork.
    """

    def verify(self, entity_type: str | None = None) -> list[Exception]:
        found = list(self._verify_cells())
        segments: dict[SliceKey, list[int]] = defaultdict(list)
        for kind, slice_, segment in self._partitions("segments"):
            segments[SliceKey(kind, slice_)].append(segment)
        indexed, stated = self._ids("entities"), self._ids("stated")
        for key in sorted({*segments, *indexed, *stated, *self._marked()}):
            if entity_type in (None, key.entity_type):
                found += self._verify_slice(key, sorted(segments[key]), indexed[key])
                found += self._verify_states(key, stated[key])
        return found

    def _marked(self) -> Iterator[SliceKey]:
        """The slices of all marks and claims, whether they have a log or not."""
        for name in ("marked", "trimmed"):
            for kind, slice_ in self._partitions(name):
                yield SliceKey(kind, slice_)
        for (kind,) in self._partitions("owned"):
            for slice_, *_ in self._rows("owners", kind):
                yield SliceKey(kind, slice_)

    def _ids(self, name: str) -> Ids:
        ids: Ids = defaultdict(list)
        for kind, slice_, entity_id in self._partitions(name):
            ids[SliceKey(kind, slice_)].append(entity_id)
        return ids

    def _verify_slice(
        self, key: SliceKey, segments: list[int], entity_ids: list[str]
    ) -> Iterator[Exception]:
        try:
            for what, statement in (("index mark", "index_mark"), ("trim mark", "trim_mark")):
                if (cell := self._cell_of(statement, key)) is not None:
                    unwrap_or_raise(what, key, cell)
            owner = self.owner(key)
            for segment in segments:
                self._static(key, segment)
            mark, trimmed, head = self.index_mark(key), self._trimmed(key), self.find_head(key)
        except CorruptRecordError as damage:  # without these numbers nothing can be compared
            yield damage
            return
        claimed = owner.epoch if owner else 0
        if head.epoch > claimed:
            reason = f"epoch {head.epoch} stands in its log, its claim says {claimed}"
            yield damage_of(key, head.head, "", reason)
        commits = self._stored(key, segments, trimmed.offset)
        index = self._stored_index(key, entity_ids)
        yield from verify_slice(key, SliceRows(head, trimmed, mark, commits, index))

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

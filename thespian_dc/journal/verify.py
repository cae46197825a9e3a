"""Check one slice: the chain of commits, every record, and the index against them. Pure.

A backend reads its rows as they are stored and hands them over; what is wrong with a row by itself
(a seal that does not match) it may hand over as the exception. Nothing here stops at the first
finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from thespian_dc.journal.api import Head
from thespian_dc.journal.reading import IndexRow, damage_of, index_rows_of
from thespian_dc.model.errors import CorruptRecordError, GapError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.record import Commit, Record, checksum_of, records_of, salvage


@dataclass(slots=True)
class SliceRows:
    """What is stored of one slice. `commits`: (key base_offset, row) in order, from the trim mark.

    `index`: all index rows, in any order. `mark`: the index must be complete below it.
    """

    head: Head
    trimmed: Position
    mark: int
    commits: Iterable[tuple[int, Commit]]
    index: Iterable[IndexRow | Exception]


@dataclass(slots=True)
class _Seen:
    """What the commits so far say."""

    offset: int
    time_us: int = 0
    epoch: int = 0
    unreadable: set[int] = field(default_factory=set)  # base offsets of damaged commits
    index: set[IndexRow] = field(default_factory=set)  # rows the index must have
    last: dict[str, int] = field(default_factory=dict)  # seq_nr by entity
    forgive: bool = (
        False  # a damaged record may have been anybody's: a jump proves nothing from here on
    )


def verify_slice(key: SliceKey, rows: SliceRows) -> Iterator[Exception]:
    """Everything that is wrong with this slice, in offset order, then the index."""
    seen = _Seen(rows.trimmed.offset, forgive=rows.trimmed.offset > 0)
    for base_offset, commit in rows.commits:
        yield from _verify_place(key, seen, base_offset, commit)
        yield from _verify_records(key, seen, base_offset, commit)
    if seen.offset != rows.head.head:
        yield GapError(f"slice log {key}: head", rows.head.head, seen.offset)
    if seen.epoch > rows.head.epoch:
        yield GapError(f"slice log {key}: epoch", rows.head.epoch, seen.epoch)
    if rows.mark > rows.head.head:
        yield GapError(f"slice log {key}: index mark", rows.head.head, rows.mark)
    yield from _verify_index(key, seen, rows)


def _verify_place(
    key: SliceKey, seen: _Seen, base_offset: int, commit: Commit
) -> Iterator[Exception]:
    if checksum_of(commit) != commit.checksum or commit.base_offset != base_offset:
        seen.unreadable.add(base_offset)
        if base_offset != seen.offset:
            yield GapError(f"slice log {key}", seen.offset, base_offset)
            return
        seen.offset = base_offset + _true_count(commit)
        return
    if base_offset != seen.offset:
        yield GapError(f"slice log {key}", seen.offset, base_offset)
    if commit.time_us < seen.time_us:
        yield GapError(
            f"slice log {key} offset {base_offset}: time_us", seen.time_us, commit.time_us
        )
    if commit.epoch < seen.epoch:
        yield GapError(f"slice log {key} offset {base_offset}: epoch", seen.epoch, commit.epoch)
    seen.offset, seen.time_us, seen.epoch = commit.end_offset, commit.time_us, commit.epoch


def _verify_records(
    key: SliceKey, seen: _Seen, base_offset: int, commit: Commit
) -> Iterator[Exception]:
    if base_offset not in seen.unreadable:
        try:
            pairs = list(enumerate(records_of(commit), base_offset))
            seen.index.update(index_rows_of(commit))
        except Exception as broken:  # noqa: BLE001  # sound bytes, no records: not written by us
            seen.unreadable.add(base_offset)
            yield damage_of(key, base_offset, "", f"its body holds no records: {broken!r}")
            return
        yield from _verify_seq_nrs(key, seen, pairs)
        return
    for item in salvage(replace(commit, base_offset=base_offset)):  # its key says where it stands
        if isinstance(item, CorruptRecordError):
            yield damage_of(key, item.offset, item.entity_id, item.reason)
            seen.last.pop(item.entity_id, None)
            seen.forgive = True
        else:
            seen.last[item[1].entity_id] = item[1].seq_nr


def _verify_seq_nrs(
    key: SliceKey, seen: _Seen, pairs: list[tuple[int, Record]]
) -> Iterator[Exception]:
    for offset, record in pairs:
        last = seen.last.get(record.entity_id, 0)
        if record.seq_nr != last + 1 and not seen.forgive:
            where = (
                f"{key.entity_type}|{record.entity_id}: seq_nr at slice {key.slice} offset {offset}"
            )
            yield GapError(where, last + 1, record.seq_nr)
        seen.last[record.entity_id] = record.seq_nr


def _verify_index(key: SliceKey, seen: _Seen, rows: SliceRows) -> Iterator[Exception]:
    stored: set[IndexRow] = set()
    for row in rows.index:
        if isinstance(row, Exception):
            yield row
        elif row.base_offset >= rows.trimmed.offset and row.base_offset not in seen.unreadable:
            stored.add(row)
    for row in sorted(stored - seen.index):
        yield damage_of(
            key, row.base_offset, row.entity_id, f"the index says {row[2:]}, the log does not"
        )
    for row in sorted(seen.index - stored):
        if row.base_offset < rows.mark:
            yield damage_of(
                key, row.base_offset, row.entity_id, "it is not in the index, though below its mark"
            )


def _true_count(commit: Commit) -> int:
    """How many records a damaged row has: as many as its list of records says, else `count`."""
    import msgpack

    try:
        return len(msgpack.unpackb(commit.heads, unicode_errors="surrogateescape"))
    except Exception:  # noqa: BLE001  # any damage may raise anything here
        return commit.count

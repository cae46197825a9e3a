"""What a slice log holds: records, and the commits (rows) that carry them. Pure; this is the stored
format.

A commit's `body` is one msgpack array of records: an array-32 header and then each record packed as
an array of the fields of `Record`, in that order. The stored bytes are the wire bytes: a stream
forwards them undecoded. `heads` is a second, small msgpack array: [entity_id, length_bytes, crc32]
of each record, in order. It finds an entity's records without decoding the body, and keeps the
others readable when one record is damaged. `checksum` covers every other column, so that no flipped
bit is taken for data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from thespian_dc.model.errors import CorruptRecordError
from thespian_dc.model.ids import SliceKey

EVENT, STATE, CONTROL = 0, 1, 2
_HEADER_BYTES = 5
_pack_record = msgpack.Packer(autoreset=True).pack


class Record(NamedTuple):
    """One record. `seq_nr` counts from 1 per entity, without gaps. `tags` is a list or tuple of
    str.

    kind: EVENT, STATE (the payload is the whole state; for durable state seq_nr is its revision) or
    CONTROL. command_id: of the command that wrote it, "" where none; stands on the first record of
    its command. reply: the encoded outcome answered again to a command with the same id, or None.
    meta: extra facts (replication: origin, vector, …), or None.
    """

    kind: int
    entity_id: str
    seq_nr: int
    manifest: str
    payload: bytes
    tags: Sequence[str] = ()
    command_id: str = ""
    reply: bytes | None = None
    meta: dict[str, Any] | None = None


@dataclass(slots=True)
class Commit:
    """One appended row: `count` records at offsets base_offset <= o < end_offset.

    write_id: 16 random bytes, unique per commit and kept by every re-send of it. time_us:
    max(clock, previous commit's), microseconds since 1970 UTC.
    """

    key: SliceKey
    base_offset: int
    count: int
    write_id: bytes
    epoch: int
    time_us: int
    heads: bytes
    body: bytes
    checksum: int = 0

    @property
    def end_offset(self) -> int:
        return self.base_offset + self.count

    @property
    def size_bytes(self) -> int:
        return len(self.body) + len(self.heads)


def pack_record(record: Record) -> bytes:
    """The record's bytes inside a commit's body."""
    packed: bytes = _pack_record(record)
    return packed


def make_commit(
    key: SliceKey,
    base_offset: int,
    write_id: bytes,
    epoch: int,
    time_us: int,
    records: Sequence[tuple[str, bytes]],
) -> Commit:
    """Build a commit from (entity_id, pack_record(...)) pairs in offset order."""
    heads = msgpack.packb(
        [(entity_id, len(packed), crc32(packed)) for entity_id, packed in records]
    )
    body = b"".join((b"\xdd", len(records).to_bytes(4, "big"), *(packed for _, packed in records)))
    commit = Commit(key, base_offset, len(records), write_id, epoch, time_us, heads, body)
    commit.checksum = checksum_of(commit)
    return commit


def checksum_of(commit: Commit) -> int:
    """CRC-32 over all columns but the checksum itself."""
    key, fixed = commit.key, (commit.base_offset, commit.count, commit.epoch, commit.time_us)
    head = f"{key.entity_type}|{key.slice}|{fixed}|".encode() + commit.write_id
    return crc32(commit.body, crc32(commit.heads, crc32(head)))


def records_of(commit: Commit) -> list[Record]:
    """All records in offset order; CorruptRecordError names the first damaged one."""
    if checksum_of(commit) == commit.checksum:
        return [Record(*fields) for fields in msgpack.unpackb(commit.body, use_list=True)]
    records = []
    for found in salvage(commit):
        if isinstance(found, CorruptRecordError):
            raise found
        records.append(found[1])
    return records


def records_of_entity(commit: Commit, entity_id: str) -> list[tuple[int, Record]]:
    """The entity's (offset, record) pairs, in order; damage to other entities' records is not
    raised."""
    if checksum_of(commit) != commit.checksum:
        return _salvage_entity(commit, entity_id)
    found, start = [], _HEADER_BYTES
    for index, (owner, length, _) in enumerate(msgpack.unpackb(commit.heads)):
        if owner == entity_id:
            fields = msgpack.unpackb(commit.body[start : start + length])
            found.append((commit.base_offset + index, Record(*fields)))
        start += length
    return found


def entities_of(commit: Commit) -> list[str]:
    """The entity id of each record, in offset order, read from `heads` alone."""
    return [owner for owner, _, _ in msgpack.unpackb(commit.heads)]


def _salvage_entity(commit: Commit, entity_id: str) -> list[tuple[int, Record]]:
    found = []
    for item in salvage(commit):
        if isinstance(item, CorruptRecordError):
            if item.entity_id in ("", entity_id):
                raise item
        elif item[1].entity_id == entity_id:
            found.append(item)
    return found


def salvage(commit: Commit) -> Iterator[tuple[int, Record] | CorruptRecordError]:
    """Read a damaged commit as far as it can be trusted: (offset, record) or the named damage, in
    offset order.

    Damage that no single record explains (a number column, `heads`) is reported once, first, at
    base_offset. A record is trusted when its own CRC in `heads` matches, or, with `heads`
    unreadable, never.
    """
    heads = _heads_or_none(commit)
    if heads is None:
        yield _damage(commit, commit.base_offset, "", "its list of records is unreadable")
        return
    start, damaged = _HEADER_BYTES, False
    for index, (owner, length, crc) in enumerate(heads):
        packed, offset = commit.body[start : start + length], commit.base_offset + index
        start += length
        if crc32(packed) == crc:
            record = Record(*msgpack.unpackb(packed))
            if record.entity_id == owner:
                yield offset, record
                continue
        damaged = True
        yield _damage(
            commit, offset, _entity_named_by(packed, owner), "its bytes do not match their CRC"
        )
    if not damaged:
        yield _damage(
            commit, commit.base_offset, "", "a column of the row does not match the row's checksum"
        )


def _heads_or_none(commit: Commit) -> list[Any] | None:
    try:
        heads = msgpack.unpackb(commit.heads)
        sound = all(
            isinstance(o, str) and isinstance(n, int) and isinstance(c, int) for o, n, c in heads
        )
    except Exception:  # noqa: BLE001  damage may raise anything
        return None
    return (
        heads if sound and len(commit.body) == _HEADER_BYTES + sum(n for _, n, _ in heads) else None
    )


def _entity_named_by(packed: bytes, owner: str) -> str:
    """`owner` comes from `heads`; where the record itself is intact but names another, the flip is
    in `heads`."""
    try:
        fields = msgpack.unpackb(packed)
        if isinstance(fields, list) and isinstance(fields[1], str) and fields[1] != owner:
            return ""
    except Exception:  # noqa: BLE001  the record is the damaged one
        return owner
    return owner


def _damage(commit: Commit, offset: int, entity_id: str, reason: str) -> CorruptRecordError:
    key = commit.key
    return CorruptRecordError(key.entity_type, key.slice, offset, entity_id, reason)

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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from thespian_dc.model.errors import CorruptRecordError
from thespian_dc.model.ids import SliceKey

EVENT, STATE, CONTROL = 0, 1, 2
CHANGE_META = "event"
"""In the meta of a STATE record: [manifest, payload] of its change event."""
SNAPSHOT_META = "snapshot"
"""True in the meta of a record that a stream made of an entity's stored state: it stands for all
records of the entity up to its seq_nr."""
VALUE_MANIFEST = "$value"
"""Of a durable state that is a plain value: its payload is `Registry.encode_value`'s."""
DELETED_MANIFEST = "$deleted"
"""Of the record that deletes a durable state; its payload is empty."""
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


def shown_as(kind: int, manifest: str, payload: bytes, meta: Any) -> tuple[str, bytes]:
    """(manifest, payload) that consumers see: of a state's change event where it has one."""
    if kind == STATE and meta and CHANGE_META in meta:
        manifest, payload = meta[CHANGE_META]
    return manifest, payload


def pack_record(record: Record) -> bytes:
    """The record's bytes inside a commit's body."""
    packed: bytes = _pack_record(record)
    return packed


pack_fields: Callable[[tuple[Any, ...]], bytes] = _pack_record
"""The same, from the fields of a Record in their order: for the places that make one record per
command, where building the tuple with names is a third of the work."""


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
    body = b"".join((b"\xdd", len(records).to_bytes(4, "big"), *[packed for _, packed in records]))
    commit = Commit(key, base_offset, len(records), write_id, epoch, time_us, heads, body)
    commit.checksum = checksum_of(commit)
    return commit


def checksum_of(commit: Commit) -> int:
    """CRC-32 over all columns but the checksum itself."""
    key, fixed = commit.key, (commit.base_offset, commit.count, commit.epoch, commit.time_us)
    place = f"{key.entity_type}|{key.slice}|{fixed}|".encode(errors="surrogateescape")
    return crc32(commit.body, crc32(commit.heads, crc32(place + commit.write_id)))


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
    if entity_id.encode() not in commit.heads:  # most commits of a log's tail hold nothing of it
        return []
    found, start = [], _HEADER_BYTES
    for index, (owner, length, _) in enumerate(msgpack.unpackb(commit.heads)):
        if owner == entity_id:
            fields = msgpack.unpackb(commit.body[start : start + length])
            found.append((commit.base_offset + index, Record(*fields)))
        start += length
    return found


def seq_nr_runs(commit: Commit) -> dict[str, tuple[int, int]]:
    """The first and the last seq_nr of each entity's records in a sound commit, in offset order."""
    firsts: dict[str, int] = {}
    lasts: dict[str, int] = {}
    # Decoding whole records takes 0.3 us each; finding seq_nr alone in their bytes took three times
    # as long in Python.
    for _, owner, seq_nr, *_ in msgpack.unpackb(commit.body):
        firsts.setdefault(owner, seq_nr)
        lasts[owner] = seq_nr
    return {owner: (first, lasts[owner]) for owner, first in firsts.items()}


def entities_of(commit: Commit) -> list[str]:
    """The entity id of each record, in offset order, read from `heads` alone."""
    return [owner for owner, _, _ in msgpack.unpackb(commit.heads)]


def _salvage_entity(commit: Commit, entity_id: str) -> list[tuple[int, Record]]:
    found, seen = [], set()
    nameless: CorruptRecordError | None = None
    for item in salvage(commit):
        if not isinstance(item, CorruptRecordError):
            seen.add(item[1].entity_id)
            if item[1].entity_id == entity_id:
                found.append(item)
        elif item.entity_id == entity_id:
            raise item
        elif not item.entity_id:
            nameless = item
    if nameless is not None:  # it concerns whoever has records here, and nobody else
        names = seen or _names_in_body(commit)
        if not names or entity_id in names:
            raise nameless
    return found


def _names_in_body(commit: Commit) -> set[str]:
    """Whose records the body holds, by itself; empty where it cannot be read or counted."""
    pieces = _pieces_or_none(commit, [])
    if pieces is None or len(pieces) != commit.count:
        return set()
    return {str(msgpack.unpackb(packed, unicode_errors="surrogateescape")[1]) for packed in pieces}


def salvage(commit: Commit) -> Iterator[tuple[int, Record] | CorruptRecordError]:
    """Read a damaged commit as far as it can be trusted: (offset, record) or the named damage.

    In offset order. A record is trusted when its own CRC in `heads` matches. Damage that no single
    record explains (a number column, the checksum, a list of records that cannot be read) is
    reported once, first, at base_offset and with entity_id "": then it may concern every record of
    the commit.
    """
    heads = _heads_or_none(commit)
    pieces = None if heads is None else _pieces_or_none(commit, [length for _, length, _ in heads])
    if heads is None or pieces is None or len(heads) != len(pieces):
        yield _damage(commit, commit.base_offset, "", "its list of records is unreadable")
        return
    found = [
        _judge(commit, commit.base_offset + index, head, packed)
        for index, (head, packed) in enumerate(zip(heads, pieces, strict=True))
    ]
    if not any(isinstance(item, CorruptRecordError) for item in found):
        yield _damage(commit, commit.base_offset, "", _which_column(commit, len(heads)))
    yield from found


def _judge(
    commit: Commit, offset: int, head: tuple[str, int, int], packed: bytes
) -> tuple[int, Record] | CorruptRecordError:
    """One record against its entry in `heads`: the CRC says which of the two is the damaged one."""
    owner, length, crc = head
    if crc32(packed) != crc:
        return _damage(commit, offset, _whose(packed, owner), "its bytes do not match their CRC")
    record = Record(*msgpack.unpackb(packed))
    if owner != record.entity_id:
        return _damage(commit, offset, record.entity_id, "the list of records names another")
    if length != len(packed):
        return _damage(commit, offset, owner, "its length in the list of records is wrong")
    return offset, record


def _whose(packed: bytes, owner: str) -> str:
    """Whom a record with a wrong CRC belongs to: `owner`, unless it was that entry that fell apart.

    A flip in the record changes one bit of its id at most. An id that reads well and differs by
    more says that the entry in `heads` fell apart (a changed length there swallows what follows).
    """
    try:
        _, entity_id, _, _, _, _, _, _, _ = msgpack.unpackb(packed)
        mine, theirs = entity_id.encode(), owner.encode(errors="surrogateescape")
    except Exception:  # noqa: BLE001  # the record is the damaged one
        return owner
    if len(mine) == len(theirs):
        bits = sum((a ^ b).bit_count() for a, b in zip(mine, theirs, strict=True))
        return owner if bits <= 1 else entity_id
    return str(entity_id)


def _heads_or_none(commit: Commit) -> list[tuple[str, int, int]] | None:
    try:
        heads = msgpack.unpackb(commit.heads, use_list=False, unicode_errors="surrogateescape")
        sound = [
            (owner, length, crc)
            for owner, length, crc in heads
            if isinstance(owner, str) and isinstance(length, int) and isinstance(crc, int)
        ]
        return sound if len(sound) == len(heads) else None
    except Exception:  # noqa: BLE001  # any damage may raise anything here
        return None


def _pieces_or_none(commit: Commit, lengths: list[int]) -> list[bytes] | None:
    """The body cut into records: by their lengths, or, where those are wrong, by reading it."""
    if len(commit.body) != _HEADER_BYTES + sum(lengths):
        lengths = _lengths_in(commit.body)
    pieces, start = [], _HEADER_BYTES
    for length in lengths:
        pieces.append(commit.body[start : start + length])
        start += length
    return pieces if pieces and start == len(commit.body) else None


def _lengths_in(body: bytes) -> list[int]:
    walker = msgpack.Unpacker(max_buffer_size=0)
    walker.feed(body[_HEADER_BYTES:])
    ends = [0]
    try:
        while ends[-1] < len(body) - _HEADER_BYTES:
            walker.skip()
            ends.append(walker.tell())
    except Exception:  # noqa: BLE001  # any damage may raise anything here
        return []
    return [end - start for start, end in pairwise(ends)]


def _which_column(commit: Commit, records: int) -> str:
    if commit.count != records:
        return f"its count says {commit.count}, its list of records {records}"
    if commit.body[:_HEADER_BYTES] != b"\xdd" + records.to_bytes(4, "big"):
        return "the header of its body is wrong"
    return "a number, the write_id or the checksum of the row was changed"


def _damage(commit: Commit, offset: int, entity_id: str, reason: str) -> CorruptRecordError:
    key = commit.key
    return CorruptRecordError(key.entity_type, key.slice, offset, entity_id, reason)

"""Batches on the wire: what they cost in credit, their bytes, and the checks on arrival. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from zlib import crc32

from thespian_dc.model.stream_errors import DamagedBatchError, MalformedMessageError
from thespian_dc.projection.api import CommitView, SourceBatch
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import OFFSET_MAX, Credit


def events_of(commit: CommitView, from_offset: int) -> int:
    """How many records of a commit a consumer at from_offset gets."""
    if not commit.body:
        return 0
    if commit.kept:
        return sum(commit.first_offset + kept >= from_offset for kept in commit.kept)
    return commit.end_offset - max(commit.first_offset, from_offset)


def cost_of(batch: SourceBatch) -> Credit:
    """What a batch takes from the credit; both ends count by this function."""
    return Credit(
        sum(len(commit.body) for commit in batch.commits),
        sum(events_of(commit, batch.base_offset) for commit in batch.commits),
    )


def write_batch(batch: SourceBatch) -> bytes:
    """The bytes of a FromProducer message with this batch."""
    message = pb.FromProducer()
    out = message.batch
    out.slice, out.base_offset, out.next_offset, out.head = batch[:4]
    out.filter_version = batch.filter_version
    for commit in batch.commits:
        write_part(out.commits, commit)
    return message.SerializeToString()


def read_batch(where: str, batch: pb.Batch) -> SourceBatch:
    """A batch as it arrived, checked: MalformedMessageError, or DamagedBatchError by CRC."""
    commits: list[CommitView] = []
    end = batch.base_offset
    for part in batch.commits:
        first, until = part.first_offset, part.end_offset
        if not (first <= end < until) or (commits and first != end):
            raise MalformedMessageError(where, f"a commit {first}..{until} does not follow {end}")
        commits.append(read_part(where, part))
        end = until
    if end != batch.next_offset or not commits or end > OFFSET_MAX:
        raise MalformedMessageError(where, f"it ends at {end}, says {batch.next_offset}")
    return SourceBatch(
        batch.slice, batch.base_offset, end, batch.head, commits, batch.filter_version
    )


def write_part(out: Any, commit: CommitView) -> None:
    """Add a commit to the `commits` of a message."""
    first_offset, end_offset, write_id, time_us, body, kept = commit
    out.add(
        first_offset=first_offset, end_offset=end_offset, write_id=write_id, time_us=time_us,
        body=body, kept=kept, body_crc=crc32(body),
    )  # fmt: skip


def read_part(where: str, part: pb.CommitPart) -> CommitView:
    """A commit as it arrived, checked by itself: MalformedMessageError, DamagedBatchError."""
    first, until, body = part.first_offset, part.end_offset, part.body
    if crc32(body) != part.body_crc:
        raise DamagedBatchError(where, first)
    kept = tuple(part.kept)
    if kept and (kept[-1] >= until - first or any(a >= b for a, b in pairwise(kept))):
        raise MalformedMessageError(where, f"what was kept of {first}..{until} is out of order")
    return CommitView(first, until, part.write_id, part.time_us, body, kept)

"""What a source yields: commits, batches of them, and the answers to lookups. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class CommitView(NamedTuple):
    """The part of one commit that a source yields. body: records, one msgpack array
    (model/record.py).

    kept: offsets of the records of `body` relative to first_offset, empty for all of them
    (first_offset, +1, …).
    """

    first_offset: int
    end_offset: int
    write_id: bytes
    time_us: int
    body: bytes
    kept: Sequence[int] = ()


class SourceBatch(NamedTuple):
    """Everything that passes of base_offset <= offset < next_offset of one slice, contiguous with
    the batch before.

    head: the slice's head as the source last knew it (lag = head - next_offset). filter_version: of
    the consumer's filter that chose what passes.
    """

    slice: int
    base_offset: int
    next_offset: int
    head: int
    commits: Sequence[CommitView]
    filter_version: int = 0


class Lookup(NamedTuple):
    """Events of one entity that are wanted whatever the filter says, from_seq_nr <= seq_nr.

    until_seq_nr: the last one wanted, 0 for all there are. from_offset: nothing below is wanted.
    """

    entity_id: str
    slice: int
    from_seq_nr: int
    until_seq_nr: int = 0
    from_offset: int = 0


class LookedUp(NamedTuple):
    """The answer. commits: each holds only records of the entity, in order.

    complete_through: a seq_nr; all that was wanted up to it is in this answer, or was withheld by
    the producer. below_offset: the slice was looked through below it. more: there is more behind
    complete_through.
    """

    lookup: Lookup
    commits: Sequence[CommitView]
    complete_through: int
    below_offset: int
    more: bool

"""What every backend does alike with commits it has read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from thespian_dc.journal.api import Found
from thespian_dc.model.errors import CorruptRecordError, GapError, TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import Position
from thespian_dc.model.record import (
    Commit,
    checksum_of,
    records_of,
    records_of_entity,
    seq_nr_runs,
)


class IndexRow(NamedTuple):
    """Where an entity's records are: those of one commit, seq_nr first..last inclusive."""

    entity_id: str
    base_offset: int
    first_seq_nr: int
    last_seq_nr: int


def index_rows_of(commit: Commit) -> list[IndexRow]:
    """One row per entity of the commit; CorruptRecordError where it is damaged: no row then."""
    runs, base = seq_nr_runs(check_sound(commit, "it cannot be indexed")), commit.base_offset
    return [IndexRow(entity_id, base, first, last) for entity_id, (first, last) in runs.items()]


def found_in(
    commits: Iterable[Commit], entity_id: str, from_seq_nr: int, until_offset: int,
    until_seq_nr: int | None = None,
) -> list[Found]:  # fmt: skip
    """The entity's records with from_seq_nr <= seq_nr < until_seq_nr below until_offset, as they
    come."""
    return [
        Found(offset, commit.time_us, record, commit.write_id)
        for commit in commits
        for offset, record in records_of_entity(commit, entity_id)
        if record.seq_nr >= from_seq_nr
        and (until_seq_nr is None or record.seq_nr < until_seq_nr)
        and offset < until_offset
    ]


def indexed_until(rows: Sequence[IndexRow], until_seq_nr: int | None) -> bool:
    """Do these rows, in order, lead to all that is wanted, whatever the log says behind them?"""
    return until_seq_nr is not None and bool(rows) and rows[-1].last_seq_nr >= until_seq_nr - 1


def check_contiguous(
    key: SliceKey, entity_id: str, found: Sequence[Found], from_seq_nr: int, trimmed_to: int
) -> None:
    """GapError unless seq_nr counts up from from_seq_nr; TrimmedError where that explains it."""
    where = f"{key.entity_type}|{entity_id}"
    for expected, one in enumerate(found, from_seq_nr):
        if one.record.seq_nr != expected:
            if expected == from_seq_nr and trimmed_to > 0:
                raise TrimmedError(where, 0, trimmed_to)
            raise GapError(
                f"{where}: seq_nr at {key} offset {one.offset}", expected, one.record.seq_nr
            )


def is_sound(commit: Commit) -> bool:
    """True where the row's checksum matches."""
    return checksum_of(commit) == commit.checksum


def check_sound(commit: Commit, why: str) -> Commit:
    """Return the commit, or raise CorruptRecordError; for who relies on one of its columns."""
    if not is_sound(commit):
        records_of(commit)  # names the damaged record where it can
        raise damage_of(commit.key, commit.base_offset, "", why)
    return commit


def position_in(commit: Commit, offset: int) -> Position:
    """The Position with this offset, base_offset < offset <= end_offset."""
    return Position(offset, check_sound(commit, "its write_id cannot be trusted").write_id)


def damage_of(key: SliceKey, offset: int, entity_id: str, reason: str) -> CorruptRecordError:
    """The named damage of a row of this slice."""
    return CorruptRecordError(key.entity_type, key.slice, offset, entity_id, reason)

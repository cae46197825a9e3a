"""What a destination knows of an entity whose events may be deleted: how far each source is, as a
stored row that stands for the entity's first records. Blocks.

Laws:
- A row is what the log says up to its seq_nr, whoever writes it and however often.
- Where neither the log nor a row says what an entity's first records were, nothing is known of the
  entity, and that is an error: an event too many could never be told.
"""

from __future__ import annotations

from collections.abc import Sequence

from thespian_dc.journal.api import Journal, StateRow
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.push_errors import DestinationTrimmedError, NotADestinationError
from thespian_dc.model.record import Commit, Record, records_of
from thespian_dc.model.state_body import pack_sources, unpack_sources
from thespian_dc.stream.push_core import NO_BASELINE, Baseline, after, recovered, source_of

READ_BYTES = 1 << 20
ROWS_AT_ONCE = 100

Remembered = tuple[Baseline, list[Record]]
"""(what a row says, the records behind it)."""


def remembered(journal: Journal, key: SliceKey, entity_id: str, head: int) -> Remembered:
    """All that is known of an entity below the head. DestinationTrimmedError."""
    below = NO_BASELINE
    if not head:
        return below, []

    def read(first: int, until: int) -> list[Record]:
        found = journal.read_entity(key, entity_id, first, head, until)
        return [one.record for one in found]

    while True:
        try:
            return below, list(recovered(read, below.seq_nr + 1))
        except TrimmedError as error:  # perhaps this moment
            row = _in_row(journal.read_state(key, entity_id))
            if row.seq_nr <= below.seq_nr:
                first = below.seq_nr + 1
                raise DestinationTrimmedError(key.entity_type, entity_id, first) from error
            below = row


def keep_baselines(journal: Journal, key: SliceKey, from_offset: int, until_offset: int) -> None:
    """Store a row of each entity with a record there, so that those may be deleted.

    from_offset: the first that is there. NotADestinationError, DestinationTrimmedError,
    CorruptRecordError: the log must stay.
    """
    at = from_offset
    while at < until_offset:
        try:
            commits = journal.read(key, at, READ_BYTES)
        except TrimmedError as trimmed:  # by another at this moment, who stored its rows before
            at = trimmed.trimmed_to
            continue
        placed = _by_entity(key, commits, until_offset)
        entity_ids = list(placed)
        for start in range(0, len(entity_ids), ROWS_AT_ONCE):
            some = entity_ids[start : start + ROWS_AT_ONCE]
            stored = journal.read_states(key, some)
            rows = [_row(key, one, _in_row(stored.get(one)), placed[one]) for one in some]
            journal.write_states(key, [row for row in rows if row is not None])
        at = commits[-1].end_offset


def _by_entity(
    key: SliceKey, commits: Sequence[Commit], until_offset: int
) -> dict[str, list[tuple[int, Record]]]:
    """(offset, record) of what is below; NotADestinationError."""
    found: dict[str, list[tuple[int, Record]]] = {}
    for commit in commits:
        for offset, record in enumerate(records_of(commit), commit.base_offset):
            if offset >= until_offset:
                break
            if source_of(record.meta) is None:
                reason = f"the record of {record.entity_id} at {key} offset {offset} was not pushed"
                raise NotADestinationError(key.entity_type, reason)
            found.setdefault(record.entity_id, []).append((offset, record))
    return found


def _row(
    key: SliceKey, entity_id: str, below: Baseline, placed: Sequence[tuple[int, Record]]
) -> StateRow | None:
    """With these records, in order; None where all of them are in the row that is there."""
    fresh = [record for _, record in placed if record.seq_nr > below.seq_nr]
    if not fresh:
        return None
    if fresh[0].seq_nr != below.seq_nr + 1:
        raise DestinationTrimmedError(key.entity_type, entity_id, below.seq_nr + 1)
    known = after(below, fresh)
    return StateRow(entity_id, known.seq_nr, placed[-1][0], pack_sources(known.sources))


def _in_row(row: StateRow | None) -> Baseline:
    if row is None:
        return NO_BASELINE
    return Baseline(row.seq_nr, unpack_sources(row.entity_id, row.body))

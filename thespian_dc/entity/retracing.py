"""Finds in a log the records that hold given events of given replicas."""

from __future__ import annotations

from thespian_dc.entity.actions import Retrace
from thespian_dc.journal.api import Found, Journal
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.record import CONTROL, EVENT, Record
from thespian_dc.model.replication import FORKED_MANIFEST, ORIGIN_META, ReplicaMeta, meta_of

RECORDS = 500


def retrace(journal: Journal, action: Retrace) -> list[tuple[ReplicaMeta, Record]]:
    """From the entity's last record backwards, in pieces that double, until all are found or the
    rest is trimmed; in the order of the log. Blocks."""
    wanted = {origin: (first, last) for origin, first, last in action.wanted}
    left = sum(last - first + 1 for first, last in wanted.values())
    found: list[tuple[ReplicaMeta, Record]] = []
    until_seq_nr, size = action.seq_nr + 1, RECORDS
    while until_seq_nr > 1 and left:
        first_seq_nr = max(1, until_seq_nr - size)
        try:
            records = journal.read_entity(
                action.key, action.entity_id, first_seq_nr, action.until_offset, until_seq_nr
            )
        except TrimmedError:
            if until_seq_nr - first_seq_nr == 1:
                break
            size = (until_seq_nr - first_seq_nr) // 2
            continue
        for one in reversed(records):
            meta = _meta(action.replica, one)
            if meta is not None and meta.origin in wanted:
                first, last = wanted[meta.origin]
                if first <= meta.n <= last:
                    found.append((meta, one.record))
                    left -= 1
        until_seq_nr, size = first_seq_nr, size * 2
    return found[::-1]


def _meta(replica: str, found: Found) -> ReplicaMeta | None:
    """Where it comes from; None for what is no event."""
    record = found.record
    if record.kind == CONTROL:
        if record.manifest == FORKED_MANIFEST or ORIGIN_META not in (record.meta or {}):
            return None
    elif record.kind != EVENT:
        return None
    return meta_of(record.meta, replica, record.seq_nr, found.offset, found.write_id)

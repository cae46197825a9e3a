"""Delete from a destination's log what every projection has passed. What the destination knows of
each source is stored first, so that nothing that is pushed again is taken for new. From any
process; the destination's node may run, and write. Blocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from thespian_dc.journal.api import Journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.push_errors import NotADestinationError
from thespian_dc.projection.api import (
    CONSUMER_DAYS,
    DAY_US,
    Trimmed,
    held_by,
    lowest,
    positions_in,
    waited_for,
)
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.destination_baselines import keep_baselines
from thespian_dc.stream.lookups import first_offset


def trim_destination(
    journal: Journal, entity_type: str, without: Collection[str] = (),
    projections: Mapping[str, str] | None = None, consumer_days: float = CONSUMER_DAYS,
    dry_run: bool = False,
) -> list[Trimmed]:  # fmt: skip
    """Delete what all have passed; a row per slice says up to where, and who held it.

    without: consumers, by the names that rows show, that are not waited for. projections:
    "service/name" -> the URL of its positions, which then count instead of where it last began.
    consumer_days: consumers that did not begin since count no more. dry_run: delete nothing.

    NotADestinationError for a type that is not written by pushes alone, DestinationTrimmedError
    where records were deleted otherwise, CorruptRecordError: of the slice that they name nothing is
    deleted, nor of those behind it.
    """
    slices = journal.slice_counts().get(entity_type)
    if slices is None:
        raise NotADestinationError(entity_type, "this journal has no such type")
    now = now_us()
    positions = positions_in(projections or {})
    consumers = waited_for(journal, entity_type, positions, without, now)
    since_us = now - int(consumer_days * DAY_US)
    rows = []
    for slice_ in range(slices):
        key = SliceKey(entity_type, slice_)
        before, head = first_offset(journal, key), journal.find_head(key).head
        until, held = lowest(head, held_by(slice_, consumers, since_us))
        after = max(before, until)
        if until > before and not dry_run:
            keep_baselines(journal, key, before, until)
            after = journal.trim(key, until)
        rows.append(Trimmed(slice_, before, after, head, tuple(held)))
    return rows

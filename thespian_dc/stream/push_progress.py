"""How far a destination is with one origin's stream, and under which filter. Pure.

Laws:
- A position only moves behind what is in the log. One that is stored late costs a resend: what
  comes twice is recognised by the log.
- A filter that can only leave out more counts from the next batch on. Any other one goes back
  first, to where something was left out for the first time: entities that it lets in come whole and
  in order, before anything newer of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from thespian_dc.model.criteria import Filter, filter_from, plain_of
from thespian_dc.model.position import START, Position


class PushProgress(NamedTuple):
    """positions: of every slice of the source. filter: the one they were reached under. since: by
    slice, where a filter first left something out; empty where none ever was in force."""

    journal_id: str
    filter: Filter
    positions: Mapping[int, Position]
    since: Mapping[int, Position]


def first_progress(journal_id: str, slices: int) -> PushProgress:
    """Of an origin that never pushed before."""
    return PushProgress(journal_id, Filter(), dict.fromkeys(range(slices), START), {})


def under(progress: PushProgress, wanted: Filter) -> PushProgress:
    """The progress to go on from under this filter: the positions as they are, or further back."""
    wanted = sent_as(wanted)
    if wanted == progress.filter:
        return progress
    if narrows(progress.filter, wanted):
        since = progress.since or dict(progress.positions)
        return progress._replace(filter=wanted, since=since)
    back = {
        slice_: min(at, progress.since.get(slice_, at), key=lambda one: one.offset)
        for slice_, at in progress.positions.items()
    }
    return progress._replace(filter=wanted, positions=back, since=back if wanted else {})


def narrows(before: Filter, after: Filter) -> bool:
    """Is it plain that `after` lets through nothing that `before` did not?"""
    if not before.exclude:
        return True  # everything passed
    return not (before.exclude - after.exclude) and not (after.include - before.include)


def sent_as(wanted: Filter) -> Filter:
    """As it is evaluated for a stream that is pushed: whole, and event by event."""
    whole = wanted.spelled_out()
    return Filter(whole.exclude, whole.include, events_only=bool(whole))


def moved(progress: PushProgress, slice_: int, at: Position) -> PushProgress:
    """Behind one more batch."""
    return progress._replace(positions={**progress.positions, slice_: at})


def plain_of_progress(progress: PushProgress) -> dict[str, Any]:
    """As a registry holds it."""
    journal_id, filter_, positions, since = progress
    return {
        "journal_id": journal_id,
        "filter": plain_of(filter_),
        "positions": [[slice_, *at] for slice_, at in positions.items()],
        "since": [[slice_, *at] for slice_, at in since.items()],
    }


def progress_from(plain: Mapping[str, Any]) -> PushProgress:
    """What `plain_of_progress` wrote."""
    return PushProgress(
        plain["journal_id"],
        filter_from(plain["filter"]),
        {slice_: Position(offset, write_id) for slice_, offset, write_id in plain["positions"]},
        {slice_: Position(offset, write_id) for slice_, offset, write_id in plain["since"]},
    )

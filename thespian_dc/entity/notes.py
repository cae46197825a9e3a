"""What an entity keeps of events that people should know of, so that it can be listed again where
they come again: the process that was to list it may have died. Pure.

A note is of events of one origin that follow each other and had one fate; the last NOTES_MAX notes
are kept, in memory and in state rows. Replay makes the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from thespian_dc.model.replication import Listed

NOTES_MAX = 16


class Note(NamedTuple):
    """by: who wrote the events first to last that led to it. what, epoch: as in Listed. of:
    (origin, n) of the event that it is about, where that is another one; else ()."""

    by: str
    first: int
    last: int
    what: str
    epoch: int
    of: tuple[str, int] | tuple[()] = ()


Notes = tuple[Note, ...]


def noted(notes: Notes, one: Note) -> Notes:
    """With one more, of an event that none is of so far."""
    for index in range(len(notes) - 1, -1, -1):
        before = notes[index]
        if not one.of and before == one._replace(first=before.first, last=one.first - 1):
            return (*notes[:index], *notes[index + 1 :], before._replace(last=one.last))
    return (*notes, one)[-NOTES_MAX:]


def listed_of(notes: Notes, entity_id: str, by: str, n: int) -> list[Listed]:
    """What was listed when event n of `by` was taken, without the cause."""
    return [
        Listed(one.what, entity_id, *(one.of or (by, n)), one.epoch)
        for one in notes
        if one.by == by and one.first <= n <= one.last
    ]


def plain_of_notes(notes: Notes) -> list[Any]:
    """For the stored form."""
    return [list(one) for one in notes]


def notes_from(plain: Iterable[Any] = ()) -> Notes:
    """What `plain_of_notes` made. TypeError, ValueError."""
    return tuple(
        Note(by, first, last, what, epoch, (of[0], of[1]) if of else ())
        for by, first, last, what, epoch, of in plain
    )

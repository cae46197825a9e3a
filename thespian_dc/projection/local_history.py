"""What a local source shows to a projection that wants no full history: stored states, as they are
stored, in the places of the records they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thespian_dc.journal.api import Journal, StateRow
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.state_body import unpack_state
from thespian_dc.projection.history import (
    REMEMBERED_MAX,
    Chosen,
    Placed,
    Restored,
    SliceHistory,
    pack_placed,
    state_for_lookup,
)
from thespian_dc.projection.selecting import Selector, body_of, spans_of
from thespian_dc.projection.views import CommitView, LookedUp, Lookup


class LocalHistories:
    """Of all slices of one run."""

    def __init__(
        self, journal: Journal, offsets: Mapping[SliceKey, int], heads: Mapping[SliceKey, int]
    ) -> None:
        share = max(1, REMEMBERED_MAX // max(1, len(offsets)))
        self._slices = {
            key: SliceHistory(journal, key, offset, heads[key], share)
            for key, offset in offsets.items()
        }
        self._selector: Selector | None = None

    def next(self, key: SliceKey, selector: Selector) -> list[CommitView] | None:
        """The next page of a slice; None where its history is over. Raises what
        SliceHistory.next does."""
        history = self._slices.get(key)
        if history is None or history.done:
            self._slices.pop(key, None)
            return None
        if selector is not self._selector:  # another filter may let other states pass
            self._selector = selector
            for one in self._slices.values():
                one.forget_places()

        def passes(row: StateRow, tags: Sequence[str]) -> bool:
            return selector.passes(row.entity_id, tags)

        parts = history.next(None if selector.lets_all_pass else passes)
        return [_view_of(part) for part in parts]


def state_first(journal: Journal, key: SliceKey, lookup: Lookup) -> tuple[list[CommitView], Lookup]:
    """What a lookup may begin with: the entity's state, where it is not older than what is wanted,
    and the lookup of what is behind it."""
    row = state_for_lookup(journal, key, lookup.entity_id, lookup.from_seq_nr, lookup.from_offset)
    if row is None:
        return [], lookup
    body = body_of([_packed(Placed(row, ()))])
    rest = lookup._replace(from_seq_nr=row.seq_nr + 1, from_offset=row.offset + 1)
    return [CommitView(row.offset, row.offset + 1, b"", 0, body)], rest


def with_state(answer: LookedUp, lookup: Lookup, state: Sequence[CommitView]) -> LookedUp:
    """The answer to what was asked, from the one to the rest."""
    return answer._replace(lookup=lookup, commits=[*state, *answer.commits])


def _packed(placed: Placed) -> bytes:
    body = unpack_state(placed.row.entity_id, placed.row.body)
    return pack_placed(placed, body.manifest, body.payload)


def _view_of(part: Chosen | Restored) -> CommitView:
    if isinstance(part, Restored):
        first, end, write_id, time_us = part[:4]
        shown = {}
    else:
        commit = part.commit
        first, end, write_id, time_us = (
            commit.base_offset, commit.end_offset, commit.write_id, commit.time_us,
        )  # fmt: skip
        if part.wanted is None:
            return CommitView(first, end, write_id, time_us, commit.body)
        spans = spans_of(commit.body, commit.count)
        shown = {index: commit.body[spans[index]] for index in part.wanted}
    shown |= {placed.row.offset - first: _packed(placed) for placed in part.states}
    kept = sorted(shown)
    body = body_of([shown[index] for index in kept])
    return CommitView(first, end, write_id, time_us, body, tuple(kept))

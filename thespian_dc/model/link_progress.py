"""How far a replica has taken over a peer's log, and under which filter. Pure; this is the stored
form: one entry of the receiver's registry per peer.

Laws:
- A position only moves behind what is here durably, known, or out of scope. One that is stored late
  costs a resend: what comes twice is known.
- A filter that can only leave out more counts at once. One that lets single entities in has them
  read as a whole (coming_in, until that is done), those that the other end leaves out once that
  lets them in. Any other one begins at the first record again: entities that it lets in may not
  have a later event that would tell of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from thespian_dc.model.criteria import Filter, filter_from, plain_of
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.passing import Evaluator
from thespian_dc.model.position import START, Position

_FORMAT = 1


class LinkProgress(NamedTuple):
    """journal_id: of the peer's journal; "" where the link never ran. generation: of the peer's
    log. positions: by slice of the peer. filter: the one they were reached under. coming_in: ids
    that it let in and that are not read as a whole yet. shown: the filter under which the peer
    showed its log then. joining: slices that begin where the peer's log is trimmed, while what lies
    below is fetched entity by entity; of each the last id that was asked for, "" for none. life:
    the generation of this replica's own journal in which the reading began."""

    journal_id: str = ""
    generation: int = 0
    positions: Mapping[int, Position] = {}
    filter: Filter = Filter()
    coming_in: frozenset[str] = frozenset()
    shown: Filter = Filter()
    joining: Mapping[int, str] = {}
    life: int = 0

    @property
    def offsets(self) -> dict[int, int]:
        """By slice, below which all is here: nothing is while the trimmed part is fetched."""
        return {n: 0 if n in self.joining else at.offset for n, at in self.positions.items()}

    def joined(self, marks: Mapping[int, int]) -> LinkProgress:
        """From the first records that are there; marks: which those are, of all slices."""
        positions, joining = dict(self.positions), dict(self.joining)
        for slice_, mark in marks.items():
            if positions.get(slice_, START).offset < mark:
                positions[slice_], joining[slice_] = Position(mark), ""
        return self._replace(positions=positions, joining=joining)

    def fetched(self, slice_: int, ids: Sequence[str]) -> LinkProgress:
        """The next page of ids of a slice that joins; none: it is complete."""
        joining = {n: after for n, after in self.joining.items() if n != slice_}
        if ids:
            joining[slice_] = ids[-1]
        return self._replace(joining=joining)

    def under(self, wanted: Filter) -> LinkProgress:
        """The progress to go on from under this filter."""
        return self._replace(filter=wanted)._opened(let_in(self.filter, wanted))

    def through(self, shown: Filter) -> LinkProgress:
        """The progress to go on from where the peer shows its log under this filter."""
        return self._replace(shown=shown)._opened(let_in(self.shown, shown))

    def again(self, journal_id: str, generation: int) -> LinkProgress:
        """From the first record of another log."""
        return self._replace(
            journal_id=journal_id, generation=generation, positions={}, coming_in=frozenset(),
            joining={},
        )  # fmt: skip

    def in_life(self, generation: int) -> LinkProgress:
        """The progress to go on from in this generation of the own journal: in a new one at the
        first record, for events that this replica lost were left out as its own until then."""
        if self.life == generation:
            return self
        return self.again(self.journal_id, self.generation)._replace(life=generation)

    def _opened(self, ids: Set[str] | None) -> LinkProgress:
        """ids: that one of its filters lets in now."""
        if ids is None or not self.positions:
            return self._replace(coming_in=frozenset(), positions={}, joining={})
        coming_in = _passing(self.filter, _passing(self.shown, self.coming_in | ids))
        return self._replace(coming_in=coming_in)


def let_in(before: Filter, after: Filter) -> set[str] | None:
    """The ids that `after` lets in beyond `before`, so far as can be told; None where it cannot."""
    if not before.exclude:
        return set()  # everything passed
    ids: set[str] = set()
    for more in (before.exclude - after.exclude, after.include - before.include):
        if more.regexes or more.tags or more.topics:
            return None
        ids.update(more.entity_ids)
    return set(_passing(after, ids))


def _passing(filter_: Filter, ids: Set[str]) -> frozenset[str]:
    """Those of which an event may pass."""
    return frozenset(filter(Evaluator(filter_).may_pass, ids) if ids else ())


def progress_entry(entity_type: str, peer: str) -> str:
    """The name of the registry's entry."""
    return f"replica_link:{entity_type}:{peer}"


def plain_of_progress(progress: LinkProgress) -> dict[str, Any]:
    """As the registry keeps it."""
    return {
        "format": _FORMAT,
        "journal_id": progress.journal_id,
        "generation": progress.generation,
        "positions": [[slice_, *at] for slice_, at in progress.positions.items()],
        "filter": plain_of(progress.filter),
        "coming_in": sorted(progress.coming_in),
        "shown": plain_of(progress.shown),
        "joining": [[slice_, after] for slice_, after in sorted(progress.joining.items())],
        "life": progress.life,
    }


def progress_of(value: Any) -> LinkProgress:
    """What `plain_of_progress` made; of None the first one. SettingsError where it is neither."""
    if value is None:
        return LinkProgress()
    try:
        if value["format"] != _FORMAT:
            raise ValueError(f"format {value['format']!r} is not known")
        return LinkProgress(
            str(value["journal_id"]),
            int(value["generation"]),
            {slice_: Position(*at) for slice_, *at in value["positions"]},
            filter_from(value["filter"]),
            frozenset(value["coming_in"]),
            filter_from(value["shown"]),
            dict(value["joining"]),
            int(value["life"]),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SettingsError(f"the stored progress of a link cannot be read: {error}") from error

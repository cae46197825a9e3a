"""What somebody wishes of a replica, and what came of it: an entry of its journal's registry, so
that any process may wish, and the replica's keeper does it. Blocks.

A wish ends once: done, refused with the reason, or withdrawn by who wished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from thespian_dc.journal.api import Entry, Journal, change_entry
from thespian_dc.model.role_errors import TooManyWishesError

PROMOTE, DEMOTE, RETIRE, RESUME = "promote", "demote", "retire", "resume"
OPEN, DONE, REFUSED, WITHDRAWN = "open", "done", "refused", "withdrawn"
OPEN_MAX, ENDED_MAX = 10, 20
BEAT_US_MAX = 5_000_000
"""A keeper that has not beaten for so long does not run."""


_T = TypeVar("_T")


class Wish(NamedTuple):
    """One thing to do once. nr: from 1. told: what it takes, by kind. answer: what came of it."""

    nr: int
    kind: str
    told: Mapping[str, Any]
    state: str = OPEN
    answer: Mapping[str, Any] = {}


class Wishes(NamedTuple):
    """All that are kept. beat_us: when a keeper last looked."""

    next_nr: int = 1
    kept: tuple[Wish, ...] = ()

    def of(self, nr: int) -> Wish | None:
        """The wish of this number, None where it is forgotten."""
        return next((wish for wish in self.kept if wish.nr == nr), None)

    @property
    def open(self) -> list[Wish]:
        """Oldest first."""
        return [wish for wish in self.kept if wish.state == OPEN]


def wishes(journal: Journal, entity_type: str) -> Wishes:
    """What stands in the registry."""
    return _read(journal.entry(_name(entity_type)).value)


def wish(journal: Journal, entity_type: str, kind: str, **told: Any) -> Wish:
    """Wish for something; TooManyWishesError where nobody does them."""

    def add(before: Wishes) -> tuple[Wishes, Wish]:
        if len(before.open) >= OPEN_MAX:
            raise TooManyWishesError(entity_type, OPEN_MAX)
        made = Wish(before.next_nr, kind, told)
        ended = [one for one in before.kept if one.state != OPEN][-ENDED_MAX:]
        kept = sorted([*ended, *before.open], key=lambda one: one.nr)
        return Wishes(before.next_nr + 1, (*kept, made)), made

    return _changed(journal, entity_type, add)


def end(
    journal: Journal, entity_type: str, nr: int, state: str, answer: Mapping[str, Any]
) -> Wish | None:
    """End an open wish; one that is ended stays as it is. Returns it as it stands then."""

    def change(before: Wishes) -> tuple[Wishes, Wish | None]:
        kept = tuple(
            one._replace(state=state, answer=answer) if one.nr == nr and one.state == OPEN else one
            for one in before.kept
        )
        after = before._replace(kept=kept)
        return after, after.of(nr)

    return _changed(journal, entity_type, change)


class Beat(NamedTuple):
    """What a keeper says of itself, each second. time_us: when; 0: none ever ran. group: all ids of
    its settings. lacks: what a recovery waits for, by peer. step: of the promotion that is under
    way, "" where none is."""

    time_us: int = 0
    group: tuple[str, ...] = ()
    lacks: Mapping[str, str] = {}
    step: str = ""

    def lives(self, now_us: int) -> bool:
        """A keeper runs."""
        return now_us - self.time_us < BEAT_US_MAX


def beat(journal: Journal, entity_type: str, said: Beat) -> None:
    """A keeper lives. Of several one is enough: a lost race is as good."""
    name = f"replication_beat:{entity_type}"
    value = [said.time_us, list(said.group), said.lacks, said.step]
    journal.put_entry(name, journal.entry(name).version, value, lightly=True)


def last_beat(journal: Journal, entity_type: str) -> Beat:
    """What one said last."""
    value = journal.entry(f"replication_beat:{entity_type}").value
    return Beat() if value is None else Beat(value[0], tuple(value[1]), value[2], value[3])


def _name(entity_type: str) -> str:
    return f"replication_wishes:{entity_type}"


def _read(value: Any) -> Wishes:
    if value is None:
        return Wishes()
    return Wishes(value[0], tuple(Wish(*one) for one in value[1]))


def _changed(
    journal: Journal, entity_type: str, change: Callable[[Wishes], tuple[Wishes, _T]]
) -> _T:
    def apply(entry: Entry) -> tuple[Any, _T]:
        before = _read(entry.value)
        after, result = change(before)
        if after == before:
            return entry.value, result
        return [after.next_nr, [list(one) for one in after.kept]], result

    return change_entry(journal, _name(entity_type), apply)

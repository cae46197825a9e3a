"""What is known of logs that were lost, kept in the registry while they are recovered: peers that
are gone when a node starts do not say it again. Blocks."""

from __future__ import annotations

from typing import Any

from thespian_dc.journal.api import Entry, Journal, change_entry
from thespian_dc.model.position import Position
from thespian_dc.model.roles import Roles
from thespian_dc.replication.restoring import Lost, Restoring, SeenOfUs, with_more


def stored_lost(journal: Journal, entity_type: str) -> Lost | None:
    """None: no log is lost, or all that could be had is back."""
    return _lost_of(journal.entry(_name(entity_type)).value)


class KeptLost:
    """Of one keeper."""

    def __init__(self, journal: Journal, entity_type: str) -> None:
        self._journal, self._type = journal, entity_type
        self._kept: Lost | None = None

    def remind(self, restoring: Restoring, roles: Roles) -> None:
        """What was kept of the log that is recovered, or that was found lost by one who died before
        the next generation began."""
        lost = stored_lost(self._journal, self._type)
        is_to_begin = lost is not None and lost.here[-1].generation == roles.generation
        if lost is None or not (roles.recovering or is_to_begin):
            return
        restoring.remember(lost)
        if is_to_begin:
            restoring.on_said("", is_older=True)

    def keep(self, lost: Lost | None) -> None:
        """Beside what is kept, unless that is of a recovery that ended."""
        if lost is None or lost == self._kept:
            return

        def store(before: Entry) -> tuple[Any, None]:
            there = _lost_of(before.value)
            logs = {one[:2] for one in lost.here}
            if there is None or logs.isdisjoint(one[:2] for one in there.here):
                return _plain(lost), None
            return _plain(with_more(there, lost)), None

        change_entry(self._journal, _name(self._type), store)
        self._kept = lost

    def forget(self) -> None:
        """The recovery is over."""
        change_entry(self._journal, _name(self._type), lambda _: (None, None))


def _plain(lost: Lost) -> list[Any]:
    had = {peer: [_plain_of(one) for one in seen] for peer, seen in sorted(lost.had.items())}
    return [[_plain_of(one) for one in lost.here], had]


def _lost_of(value: Any) -> Lost | None:
    if value is None:
        return None
    had = {peer: tuple(_seen(one) for one in seen) for peer, seen in value[1].items()}
    return Lost(tuple(_seen(one) for one in value[0]), had)


def _plain_of(seen: SeenOfUs) -> list[Any]:
    offsets = [[slice_, at.offset] for slice_, at in sorted(seen.positions.items())]
    return [seen.journal_id, seen.generation, offsets]


def _seen(value: Any) -> SeenOfUs:
    journal_id, generation, offsets = value
    return SeenOfUs(journal_id, generation, {slice_: Position(at, b"") for slice_, at in offsets})


def _name(entity_type: str) -> str:
    return f"replication_lost:{entity_type}"

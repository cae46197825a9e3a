"""What is known of a log that was lost, kept in the registry while it is recovered: peers that
are gone when a node starts do not say it again. Blocks."""

from __future__ import annotations

from typing import Any

from thespian_dc.journal.api import Entry, Journal, change_entry
from thespian_dc.model.position import Position
from thespian_dc.model.roles import Roles
from thespian_dc.replication.restoring import Lost, Restoring, SeenOfUs


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
        is_to_begin = lost is not None and lost.here.generation == roles.generation
        if lost is None or not (roles.recovering or is_to_begin):
            return
        restoring.remember(lost)
        if is_to_begin:
            restoring.on_said("", is_older=True)

    def keep(self, lost: Lost | None) -> None:
        """Of one log what was kept first counts: by then least was written since."""
        if lost is None or lost == self._kept:
            return

        def store(before: Entry) -> tuple[Any, None]:
            there = _lost_of(before.value)
            if there is None or there.here[:2] != lost.here[:2]:
                return _plain(lost), None
            return _plain(Lost(there.here, {**lost.had, **there.had})), None

        change_entry(self._journal, _name(self._type), store)
        self._kept = lost

    def forget(self) -> None:
        """The recovery is over."""
        change_entry(self._journal, _name(self._type), lambda _: (None, None))


def _plain(lost: Lost) -> list[Any]:
    return [_plain_of(lost.here), {peer: _plain_of(one) for peer, one in sorted(lost.had.items())}]


def _lost_of(value: Any) -> Lost | None:
    if value is None:
        return None
    return Lost(_seen(value[0]), {peer: _seen(one) for peer, one in value[1].items()})


def _plain_of(seen: SeenOfUs) -> list[Any]:
    offsets = [[slice_, at.offset] for slice_, at in sorted(seen.positions.items())]
    return [seen.journal_id, seen.generation, offsets]


def _seen(value: Any) -> SeenOfUs:
    journal_id, generation, offsets = value
    return SeenOfUs(journal_id, generation, {slice_: Position(at, b"") for slice_, at in offsets})


def _name(entity_type: str) -> str:
    return f"replication_lost:{entity_type}"

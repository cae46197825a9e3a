"""Progress of links in this replica's journal, by compare-and-set. Blocks.

Two nodes over one journal may run the same links for a while: what either of them has reached is
durable in that journal, so of two positions in one log under one filter the further one counts.
"""

from __future__ import annotations

from thespian_dc.journal.api import Journal
from thespian_dc.model.link_progress import (
    LinkProgress,
    plain_of_progress,
    progress_entry,
    progress_of,
)


class KeptProgress:
    """Of one peer."""

    def __init__(self, journal: Journal, entity_type: str, peer: str) -> None:
        self._journal, self._name = journal, progress_entry(entity_type, peer)
        self._version, self._stored = -1, LinkProgress()

    def load(self) -> LinkProgress:
        """What is stored. SettingsError where it cannot be read."""
        entry = self._journal.entry(self._name)
        self._version, self._stored = entry.version, progress_of(entry.value)
        return self._stored

    def store(self, progress: LinkProgress) -> None:
        """Put it there; where somebody else was quicker, together with theirs."""
        while True:
            if progress == self._stored:
                return
            plain = plain_of_progress(progress)
            # Lightly: what it is behind, after a loss of power, comes again and is known.
            if self._journal.put_entry(self._name, self._version, plain, lightly=True):
                self._version, self._stored = self._version + 1, progress
                return
            progress = joined(progress, self.load())


def joined(mine: LinkProgress, theirs: LinkProgress) -> LinkProgress:
    """Of two progresses in one log under the same filters the further positions; else `mine`."""
    same = mine._replace(positions={}, coming_in=frozenset())
    if same != theirs._replace(positions={}, coming_in=frozenset()) or not mine.positions:
        return mine
    positions = {
        slice_: max(at, theirs.positions.get(slice_, at), key=lambda one: one.offset)
        for slice_, at in mine.positions.items()
    }
    return mine._replace(positions=positions)

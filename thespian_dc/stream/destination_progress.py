"""One origin's progress at a destination, kept in the journal's registry by compare-and-set.
Blocks."""

from __future__ import annotations

from thespian_dc.journal.api import Journal
from thespian_dc.model.criteria import UNFILTERED, VersionedFilter
from thespian_dc.model.errors import JournalDivergedError
from thespian_dc.model.position import Position
from thespian_dc.model.push_errors import PushBeginsAgainError
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.stream.destination_filters import destination_filter
from thespian_dc.stream.push_progress import (
    first_progress,
    moved,
    narrows,
    plain_of_progress,
    progress_from,
    sent_as,
    under,
)
from thespian_dc.wire.conversion import Offer


class KeptProgress:
    """Of one call: read, and brought under the filter that is wanted now. JournalDivergedError
    where the origin's journal is another one than before."""

    def __init__(self, journal: Journal, offer: Offer) -> None:
        self._journal, self._offer = journal, offer
        self._name = f"pushed:{offer.stream_id}:{offer.origin}"
        entry = journal.entry(self._name)
        self._version = entry.version
        before = first_progress(offer.journal_id, offer.slices)
        if entry.value is not None:
            before = progress_from(entry.value)
        where = f"stream {offer.stream_id} of {offer.origin}"
        if before.journal_id != offer.journal_id:
            reason = f"its id is {offer.journal_id}, what was pushed came from {before.journal_id}"
            raise JournalDivergedError(where, 0, reason)
        if len(before.positions) != offer.slices:
            reason = f"it has {offer.slices} slices, there were {len(before.positions)}"
            raise JournalDivergedError(where, 0, reason)
        self.wanted = destination_filter(journal, offer.stream_id)
        self.progress = under(before, self.wanted.filter)
        self._stored = before
        self.store()

    def move(self, slice_: int, at: Position) -> None:
        """All below is in the log; stored with the next `store`."""
        self.progress = moved(self.progress, slice_, at)

    def store(self) -> None:
        """PeerUnavailableError where another node served this origin meanwhile."""
        if self.progress == self._stored:
            return
        plain = plain_of_progress(self.progress)
        if not self._journal.put_entry(self._name, self._version, plain):
            reason = "another node served this origin meanwhile"
            raise PeerUnavailableError(f"destination {self._offer.stream_id}", reason)
        self._version, self._stored = self._version + 1, self.progress

    def changed_filter(self) -> VersionedFilter | None:
        """The filter to be sent, where another one is wanted now. PushBeginsAgainError where it
        may let in more: then the next call begins further back. Also where this one has written
        nothing yet: what is on its way was evaluated under the former filter."""
        wanted = destination_filter(self._journal, self._offer.stream_id)
        if wanted.version == self.wanted.version:
            return None
        before, after = self.progress.filter, sent_as(wanted.filter)
        if before != after and not narrows(before, after):
            raise PushBeginsAgainError(self._offer.stream_id, "its filter lets in more than before")
        self.wanted, self.progress = wanted, under(self.progress, wanted.filter)
        self.store()
        return as_sent(wanted)


def as_sent(wanted: VersionedFilter) -> VersionedFilter:
    """As the producer is told."""
    if wanted == UNFILTERED:
        return wanted
    return VersionedFilter(wanted.version, sent_as(wanted.filter))

"""A stream as its server serves it: what all its calls share. Lives on the stream loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thespian_dc.journal.api import Journal
from thespian_dc.stream.selecting import FactsCache
from thespian_dc.stream.tail import Tail

if TYPE_CHECKING:
    from thespian_dc.stream.pull import PullCall


class OpenStream:
    """tail: replaced where the stream shows something else from now on. topic_prefix: of the tags
    that are topics."""

    def __init__(self, stream_id: str, journal: Journal, tail: Tail, topic_prefix: str) -> None:
        self.stream_id, self.journal, self.topic_prefix = stream_id, journal, topic_prefix
        self.tail = tail
        self.facts = FactsCache()
        self.calls: set[PullCall] = set()  # bounded by the server's CALLS_MAX
        self.error: Exception | None = None
        """Why nothing may be shown at present: every call and question ends with it."""

    def check(self) -> None:
        """Raise what keeps the stream from being shown."""
        if self.error is not None:
            raise self.error

    def show_through(self, tail: Tail) -> None:
        """From now on nothing is shown but what this tail has."""
        before, self.tail, self.error = self.tail, tail, None
        for slice_ in range(tail.slices):
            tail.know_head(slice_, before.head(slice_))
        for call in self.calls:
            before.forget(call)
            call.look_again()

    def close(self, error: Exception) -> None:
        """Show nothing until `show_through`."""
        self.error = error
        for call in list(self.calls):
            call.end(error)

"""The contract of what tells, after a process died, what it was handling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Attempt(NamedTuple):
    """A slice as a new run finds it. unclean: its last run did not end, it vanished.

    tries: how often something was handed over at offsets [offset, until); 0: nothing is noted.
    owed: the same three of what was handed over because it was looked up.
    """

    unclean: bool
    offset: int
    until: int
    tries: int
    owed: tuple[int, int, int] = (0, 0, 0)


class AttemptStore(Protocol):
    """Marks of runs and tries, per (projection, slice). Each write is a transaction of its own."""

    def began(self, projection: str, epochs: Mapping[int, int]) -> Mapping[int, Attempt]:
        """Note that a run has these slices under these epochs, and return how the last one left
        them. A slice that never had a run is not in the answer."""

    def trying(
        self, projection: str, slice_: int, offset: int, until: int, tries: int, *, owed: bool
    ) -> None:
        """Durable before anything at offsets [offset, until) is handed over, the tries-th time.
        owed: it was looked up."""

    def ended(self, projection: str, epochs: Mapping[int, int], *, forget: bool) -> None:
        """The run ended by itself; slices that another run has meanwhile are left alone. forget:
        the tries too, since somebody stopped it on purpose."""

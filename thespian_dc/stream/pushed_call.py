"""A pushed call as the thread that writes it sees it, and how far it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.settings import Destination
from thespian_dc.stream.destination_progress import KeptProgress
from thespian_dc.stream.push_core import Taken
from thespian_dc.stream.push_progress import PushProgress
from thespian_dc.wire.conversion import Credit, Offer


class PushedCall(Protocol):
    """What a writer says to a call, from its own thread."""

    offer: Offer
    setting: Destination

    def begin(self, progress: PushProgress, wanted: VersionedFilter) -> None: ...
    def handled(self, cost: Credit) -> None: ...
    def change_filter(self, wanted: VersionedFilter) -> None: ...
    def end(self, error: Exception) -> None: ...


class WrittenOf(NamedTuple):
    """How far a call is: below these positions, by source slice, all is in the log. times_us: when
    the last commit that came in this call was made. filter_version: that counts now."""

    positions: Mapping[int, int] = {}
    times_us: Mapping[int, int] = {}
    filter_version: int = 0


class Serving:
    """A call that was begun. lanes: its batches under way, by source slice."""

    def __init__(self, call: PushedCall, kept: KeptProgress) -> None:
        self.call, self.kept = call, kept
        self.lanes: dict[int, deque[Taken]] = {}  # each bounded by the call's window
        self.times_us: dict[int, int] = {}  # of the last commit that is in the log

    def written(self) -> WrittenOf:
        """From any thread."""
        kept = self.kept  # whose progress is replaced, never changed
        positions = {slice_: at.offset for slice_, at in kept.progress.positions.items()}
        return WrittenOf(positions, self.times_us.copy(), kept.wanted.version)

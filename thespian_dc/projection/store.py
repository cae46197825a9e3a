"""What a projection keeps in its consumer's database, each concern a contract of its own.

Every write that two processes may make compares what it expects to find. Methods block; a store is
opened in the thread that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from thespian_dc.model.criteria import Filter, VersionedFilter
from thespian_dc.projection.control import Control, Wish
from thespian_dc.projection.memory import Changes, Mark, StoredMemory
from thespian_dc.projection.workers import WorkerRow

FILE_REMOVED = "its file was removed or replaced while it was open"
"""PositionStoreError.reason of a database that has to be opened again."""


class ControlStore(Protocol):
    """What is wished of projections, who works on them, and who holds which slice."""

    look_s: float
    """How often those who wait look whether something is stirred: what the database bears."""

    def projections(self) -> list[str]:
        """Names of all that ever ran or were wished something, sorted."""

    def stirred(self, projection: str) -> int:
        """Raised by each wish and whenever a worker comes or goes, holds or releases; cheap enough
        for every `look_s`."""

    def stir(self, projection: str) -> None:
        """Have the workers look: something that is not kept here is wished."""

    def control(self, projection: str) -> Control:
        """All that is wished, with the open wishes oldest first."""

    def pause(self, projection: str, paused: bool, expected: int | None = None) -> int:
        """The new version; ControlChangedError where it was not `expected` before."""

    def rescale(self, projection: str, workers: int | None, expected: int | None = None) -> int:
        """Wish so many workers per node, None for as many as the settings say."""

    def know(self, projection: str, slices: int) -> None:
        """Note how many slices the source has; once and for all."""

    def wish(
        self, projection: str, kind: str, slice_: int, offset: int, expected: int | None
    ) -> Wish:
        """Add one; WishesFullError beyond WISHES_MAX that are open."""

    def wish_of(self, projection: str, nr: int) -> Wish:
        """As it is now. The last WISHES_MAX that ended are kept; LookupError for others."""

    def withdraw(self, projection: str, nr: int) -> Wish:
        """End it if it is open; as it is now."""

    def perform(self, projection: str, nr: int, also: Callable[[], None] | None = None) -> Wish:
        """Do what an open wish says, by control.decide, and end it.

        All is one transaction, or, where the database has none over several slices, is gone on with
        by the next who performs it; it is done once either way. also: the handler's part, inside
        the transaction or before all else; what it raises leaves everything as it was.
        """

    def refuse(self, projection: str, nr: int, reason: str) -> Wish:
        """End an open wish with the reason."""

    def offsets(self, projection: str) -> dict[int, int]:
        """The stored position of each slice."""

    def rebuild_to(self, projection: str) -> dict[int, int]:
        """By slice, where it stood when the last rebuild began."""

    def beat(self, projection: str, row: WorkerRow) -> None:
        """Store the worker's row with the next beat (row.beat is not looked at)."""

    def workers(self, projection: str) -> tuple[list[WorkerRow], dict[int, str]]:
        """All rows, and the worker of each slice that is held; a holder without a row has left."""

    def hold(self, projection: str, worker: str, slices: Mapping[int, str]) -> None:
        """Hold each slice that its present holder, or nobody (""), still holds."""

    def release(self, projection: str, worker: str, slices: Sequence[int]) -> None:
        """Give back those it holds."""

    def leave(self, projection: str, worker: str, *, forget: bool) -> None:
        """It works no more: give back all slices, mark its row as leaving, or remove it."""

    def close(self) -> None: ...


class MarkStore(Protocol):
    """What a projection remembers of entities (projection/memory.py). All writes happen inside the
    open transaction."""

    def load(self, projection: str, slices: Iterable[int]) -> StoredMemory:
        """Of these slices."""

    def marks(self, projection: str, slice_: int, entity_ids: Sequence[str]) -> Mapping[str, Mark]:
        """Of those that have one; all ids are of this slice."""

    def write(self, projection: str, changes: Changes) -> None:
        """Store them; filters that no slice was evaluated under any more go."""

    def begin_at(self, projection: str, baselines: Mapping[int, int]) -> None:
        """The projection begins at these offsets of slices that were never handled."""

    def forget(self, projection: str, slice_: int, baseline: int) -> None:
        """Everything of the slice; from now on it is as if the projection had begun there."""

    def skip(self, projection: str, slice_: int, offset: int) -> None:
        """The event there counts as handled, wherever it comes from."""


class FilterStore(Protocol):
    """The filter that is wanted of each projection. Versions grow for ever, so that one number
    never means two filters."""

    def read(self, projection: str) -> VersionedFilter:
        """UNFILTERED where none was ever wanted."""

    def begin(self, projection: str, initial: Filter) -> VersionedFilter:
        """The filter a projection starts with: what is stored; but `initial`, of its settings, as
        the next version where nothing is stored or the settings said something else before."""

    def change(self, projection: str, expected: int, wanted: Filter) -> VersionedFilter:
        """Store the next version; FilterChangedError unless `expected` is the present one."""

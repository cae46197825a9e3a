"""What a projection keeps in its consumer's database, each concern a contract of its own.

Every write that two processes may make compares what it expects to find. Methods block; a store is
opened in the thread that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from thespian_dc.projection.control import Control, Wish
from thespian_dc.projection.workers import WorkerRow


class ControlStore(Protocol):
    """What is wished of projections, who works on them, and who holds which slice."""

    def projections(self) -> list[str]:
        """Names of all that ever ran or were wished something, sorted."""

    def stirred(self, projection: str) -> int:
        """Raised by each wish and whenever a worker comes or goes, holds or releases; cheap enough
        for twenty times a second."""

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
        """As it is now. The last WISHES_MAX that ended are kept."""

    def withdraw(self, projection: str, nr: int) -> Wish:
        """End it if it is open; as it is now."""

    def perform(self, projection: str, nr: int, also: Callable[[], None] | None = None) -> Wish:
        """Do what an open wish says, by control.decide, in one transaction with its outcome.

        also: the handler's part, inside that transaction; what it raises takes everything back.
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

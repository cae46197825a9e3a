"""The law of streams, counted by what goes over the wire and what a projection says it handled.

- A call's credit that is not used up never exceeds the window.
- What is handed over and not handled never exceeds the window by more than one commit.
- When nothing is left to handle, the whole window is back at the producer.
- No position that a projection stored is refused by a producer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from thespian_dc.projection.api import CommitView, SourceBatch
from thespian_dc.testkit.simulation.history import History
from thespian_dc.wire.conversion import Credit


class _Cost(NamedTuple):
    bytes: int
    events: int

    def plus(self, other: tuple[int, int], times: int = 1) -> _Cost:
        return _Cost(self.bytes + times * other[0], self.events + times * other[1])

    def exceeds(self, other: tuple[int, int]) -> bool:
        return self.bytes > other[0] or self.events > other[1]


_NONE = _Cost(0, 0)


class StreamLaw:
    """Of all calls of a run. window: what each consumer grants."""

    def __init__(self, history: History, window: Credit) -> None:
        self._history, self._window = history, window
        self._left: dict[Any, _Cost] = {}  # by producer's end of a call
        self._unhandled: dict[Any, _Cost] = {}  # by source
        self._greatest: dict[Any, _Cost] = {}  # commit since nothing was unhandled, by source
        self._doubled: list[Any] = []

    # --- at producers ---

    def granted(self, call: Any, credit: Credit) -> None:
        left = self._left[call] = self._left.get(call, _NONE).plus(credit)
        if left.exceeds(self._window):
            self._history.breaks("credit", f"{left} may be sent, the window is {self._window}")

    def sent(self, call: Any, batch: SourceBatch) -> None:
        self._left[call] = self._left.get(call, _NONE).plus(_cost(batch), -1)

    def doubled(self, call: Any) -> None:
        """The network made a second batch of one, whose credit comes back too: of this call nobody
        can say what its producer may send."""
        self._doubled.append(call)

    def ended(self, call: Any) -> None:
        self._left.pop(call, None)

    def refused(self, position: str) -> None:
        self._history.breaks("stream", f"a position was refused: {position}")

    # --- at consumers ---

    def handed_over(self, source: Any, batch: SourceBatch) -> None:
        before = self._unhandled.get(source, _NONE)
        now = self._unhandled[source] = before.plus(_cost(batch))
        # Not of this batch alone: of two that the network turned round the greater was sent last.
        greatest = self._greatest.get(source, _NONE) if before != _NONE else _NONE
        one = _Cost(*map(max, zip(greatest, *_costs(batch), strict=True)))
        self._greatest[source] = one
        forged = source.call in self._doubled
        if not forged and one != _NONE and now.plus(one, -1).exceeds(self._window):
            self._history.breaks(
                "credit", f"{now} are handed over and not handled, the window is {self._window}, "
                f"and the greatest commit {one}"
            )  # fmt: skip

    def handled(self, source: Any, batch: SourceBatch) -> None:
        self._unhandled[source] = self._unhandled.get(source, _NONE).plus(_cost(batch), -1)

    def stopped(self, source: Any) -> None:
        self._unhandled.pop(source, None)
        self._greatest.pop(source, None)

    # --- at rest ---

    def check(self, open_calls: Sequence[Any]) -> None:
        """Nothing is left to handle."""
        for call in open_calls:
            left = self._left.get(call, _NONE)
            if (left.bytes, left.events) != tuple(self._window):
                self._history.breaks(
                    "credit", f"at rest {left} may be sent, the window is {self._window}"
                )


def _costs(batch: SourceBatch) -> list[_Cost]:
    return [_Cost(len(one.body), _events(one, batch.base_offset)) for one in batch.commits]


def _cost(batch: SourceBatch) -> _Cost:
    costs = _costs(batch)
    return _Cost(sum(cost.bytes for cost in costs), sum(cost.events for cost in costs))


def _events(commit: CommitView, from_offset: int) -> int:
    """Records at or above from_offset that the commit's body holds."""
    if not commit.body:
        return 0
    records = len(msgpack.unpackb(commit.body))
    places = commit.kept or range(records)
    return sum(commit.first_offset + place >= from_offset for place in places)

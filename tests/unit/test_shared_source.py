"""Several calls over one peer's stream, as one source."""

from __future__ import annotations

from threading import Thread
from typing import Any

from thespian_dc.model.criteria import UNFILTERED
from thespian_dc.model.position import START
from thespian_dc.projection.api import SourceDescription, SourceEvents
from thespian_dc.replication.sources import SharedSource


class OneCall:
    """Keeps what it is started with."""

    def start(self, _: str, at: Any, wanted: Any, slices: Any, on: SourceEvents) -> None:
        self.at, self.slices, self.on = dict(at), slices, on


def test_nothing_comes_before_the_peer_is_described() -> None:
    """What another call brings meanwhile, by its own thread, waits: who hears of a batch first has
    nothing yet to count it by, and would lose it."""
    calls: list[OneCall] = []
    heard: list[Any] = []
    description = SourceDescription("journal", "cart", 2)

    def make() -> Any:
        calls.append(OneCall())
        return calls[-1]

    def second() -> None:
        calls[1].on.started(description)
        calls[1].on.batch("a batch")  # type: ignore[arg-type]

    other = Thread(target=second)

    def started(of: SourceDescription) -> None:
        other.start()
        other.join(0.2)  # it has had its time
        heard.append(of)

    hear = heard.append
    shared = SharedSource(2, make)
    events = SourceEvents(started, hear, hear, hear, hear)
    shared.start("journal", {0: START, 1: START}, UNFILTERED, None, events)
    calls[0].on.started(description)
    other.join(10)

    assert [one.slices for one in calls] == [[0], [1]]
    assert heard == [description, "a batch"]

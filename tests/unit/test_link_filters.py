"""A link whose filter changes: what of its peer's log it reads again."""

from __future__ import annotations

from typing import Any

from thespian_dc.model.criteria import Exclude, Filter, VersionedFilter
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.replication_handshake import ReplicaStart
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.replication.link import Link


class Source:
    """Notes what it is told."""

    def __init__(self, _: Any) -> None:
        self.told: list[Any] = []

    def start(self, journal_id: str, positions: Any, wanted: VersionedFilter, *_: Any) -> None:
        self.told.append(("start", dict(positions), wanted.version))

    def change_filter(self, wanted: VersionedFilter) -> None:
        self.told.append(("change_filter", wanted.version))

    def stop(self) -> None:
        self.told.append("stop")


def test_a_call_that_was_begun_under_a_narrower_filter_is_not_gone_on_with() -> None:
    """Its peer may have passed the first records under that filter before it hears of the other."""
    sources: list[Source] = []
    setting = Replication("cart", "eu", [Peer("us", "localhost:1")])
    start = ReplicaStart("eu", "cart", ("eu", "us"))
    link = Link(setting.peers[0], setting, "eu", lambda _: None, lambda: start, lambda _: None)

    def new_source(on_started: Any) -> Source:
        sources.append(Source(on_started))
        return sources[-1]

    link._new_source = new_source  # type: ignore[assignment,method-assign]
    link.place(LinkProgress(), VersionedFilter(1, Exclude.all()))
    link.restart()

    if link.change_filter(VersionedFilter(2, Filter())):
        link.restart()

    assert sources[0].told == [("start", {}, 1), "stop"]
    assert sources[1].told == [("start", {}, 2)]

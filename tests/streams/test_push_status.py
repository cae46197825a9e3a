"""What both ends of a push say of how far it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer
from tests.streams.pushing import FAR_SLICES, destination, total
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Exclude
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.ids import slice_of
from thespian_dc.model.settings import Push, Stream
from thespian_dc.stream.destination_filters import set_destination_filter
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually


@pytest.fixture
def started() -> Iterator[list[StreamServer]]:
    servers: list[StreamServer] = []
    yield servers
    for one in reversed(servers):
        one.stop()


def pair(
    started: list[StreamServer], far_url: str, shop_url: str, **changes: Any
) -> tuple[StreamServer, StreamServer]:
    """(who takes, who brings)."""
    far = StreamServer(StartProducer("far", far_url, (), "127.0.0.1:0", FAR_SLICES,
                                     destinations=(destination(**changes),)))  # fmt: skip
    started.append(far)
    push = Push(Stream("carts", ENTITY_TYPE), f"127.0.0.1:{far.start()}")
    shop = StreamServer(StartProducer("shop", shop_url, (), "", FAR_SLICES, pushes=(push,)))
    started.append(shop)
    shop.start()
    return far, shop


def received(far: StreamServer) -> dict[str, Any]:
    found = far.facts()["received"]
    assert len(found) == 1, "none before the call began"
    return dict(found[0])


def brought(shop: StreamServer) -> dict[str, Any]:
    (facts,) = shop.facts()["pushes"]
    return dict(facts)


def test_both_ends_say_where_they_are_and_that_nothing_waits(
    writer: Writer, journal_url: str, far_url: str, started: list[StreamServer]
) -> None:
    """Also of slices of which the filter lets nothing through: positions move on."""
    writer.add([(f"c-{n % 9}", Added("apple", 1)) for n in range(90)])
    far, shop = pair(started, far_url, journal_url, filter=Exclude.entity_ids("c-1"))
    heads = {one.slice: at for one, at in writer.heads.items()}
    whole = {slice_: heads.get(slice_, 0) for slice_ in range(SLICES)}
    eventually(lambda: received(far)["positions"] == whole)
    assert total(far_url) == 80
    facts = received(far)
    assert (facts["stream_id"], facts["origin"], facts["filter_version"]) == ("carts", "shop", 1)
    assert (facts["heads"], facts["lag"]) == (whole, 0)
    assert set(facts["lag_s"].values()) == {0.0}
    eventually(lambda: brought(shop).get("unhandled") == 0)
    sent = brought(shop)
    assert (sent["positions"], sent["heads"], sent["lag"]) == (whole, whole, 0)
    journal = open_journal(far_url)
    set_destination_filter(journal, "carts", Exclude.entity_ids("c-1", "c-2"))
    journal.close()
    eventually(lambda: received(far)["filter_version"] == 2)


GOES_ON = threading.Event()


def figs_wait(event: Envelope[Added]) -> Envelope[Added]:
    if event.payload.sku == "fig":
        assert GOES_ON.wait(60)
    return event


def test_what_waits_is_said_at_both_ends(
    writer: Writer, journal_url: str, far_url: str, started: list[StreamServer]
) -> None:
    """While the destination stands still: what it has not written, and since when; at the producer,
    what was sent and is not in the log there. Nothing once it goes on."""
    GOES_ON.clear()
    try:
        writer.add([("c-1", Added("apple", 1))])
        far, shop = pair(started, far_url, journal_url, events=[Added], transform=figs_wait)
        eventually(lambda: total(far_url) == 1, deadline_s=60)
        slice_ = slice_of("c-1", SLICES)
        for n in range(6):
            writer.add([("c-1", Added("fig", n))])
        eventually(lambda: received(far)["lag"] == 6, deadline_s=60)
        eventually(lambda: brought(shop).get("unhandled") == 6, deadline_s=60)
        facts = received(far)
        assert (facts["positions"][slice_], facts["heads"][slice_]) == (1, 7)
        assert facts["lag_s"][slice_] > 0
        eventually(lambda: brought(shop)["positions"][slice_] == 7, deadline_s=60)
    finally:
        GOES_ON.set()
    eventually(lambda: received(far)["lag"] == 0, deadline_s=60)
    eventually(lambda: brought(shop).get("unhandled") == 0, deadline_s=60)
    assert total(far_url) == 7

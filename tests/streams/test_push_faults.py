"""What the network may do to a push: nothing is lost, doubled or silently stuck."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.streams.material import ENTITY_TYPE, Added, Writer
from tests.streams.pushing import (
    FAR_SLICES,
    all_that_came,
    came_from,
    destination,
    error_of,
    total,
)
from thespian_dc.model.settings import Push, Stream
from thespian_dc.stream import destination as destinations
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually
from thespian_dc.testkit.proxy import FROM, TO, FaultProxy


@pytest.fixture
def proxy(far_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """In front of a destination whose heartbeats are short."""
    monkeypatch.setattr(destinations, "HEARTBEAT_MS", 150)
    far = StreamServer(
        StartProducer("far", far_url, (), "127.0.0.1:0", FAR_SLICES, destinations=(destination(),))
    )
    with FaultProxy("127.0.0.1", far.start()) as between:
        yield between
    far.stop()


@pytest.fixture
def shop(proxy: FaultProxy, journal_url: str) -> Iterator[StreamServer]:
    """Pushes through the proxy; not started yet."""
    push = Push(Stream("carts", ENTITY_TYPE), f"127.0.0.1:{proxy.port}")
    found = StreamServer(StartProducer("shop", journal_url, (), "", FAR_SLICES, pushes=(push,)))
    yield found
    found.stop()


def has(url: str, events: int) -> bool:
    return total(url) == events


@pytest.mark.parametrize("ways", [(TO, FROM), (TO,), (FROM,)], ids="-".join)
def test_a_half_open_connection_is_noticed_and_replaced(
    writer: Writer, proxy: FaultProxy, shop: StreamServer, far_url: str, ways: tuple[str, ...]
) -> None:
    """No FIN, no RST, no bytes: whichever end hears nothing gives up after three silent intervals,
    the producer dials, and the destination lets the newer call in. Where only its acknowledgement
    is lost it does not write the event again."""
    shop.start()
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: has(far_url, 1))
    proxy.blackhole(*ways)
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: "PeerSilentError" in error_of(shop), deadline_s=30)
    assert has(far_url, 1) or TO not in ways
    proxy.heal()
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: has(far_url, 3), deadline_s=30)
    assert came_from(far_url, "c-1") == [1, 2, 3]


def test_reset_connections_write_each_event_once(
    writer: Writer, proxy: FaultProxy, shop: StreamServer, far_url: str
) -> None:
    """RST while events flow, ten times."""
    shop.start()
    errors = set[str]()
    for nr in range(1, 11):
        writer.add([(f"c-{i}", Added("apple", 1)) for i in range(20)])
        eventually(lambda nr=nr: total(far_url) >= 20 * nr - 10, deadline_s=30)
        proxy.reset()
        eventually(partial(broke, shop, nr), deadline_s=30)
        errors.add(error_of(shop).partition(":")[0])
    eventually(lambda: has(far_url, 200), deadline_s=30)
    assert all_that_came(far_url) == {f"c-{i}": list(range(1, 11)) for i in range(20)}
    # gRPC calls a reset UNAVAILABLE, or now and then INTERNAL.
    assert errors & {"PeerUnavailableError", "StreamRefusedError"}


def test_a_slow_network_is_not_a_dead_one(
    writer: Writer,
    proxy: FaultProxy,
    shop: StreamServer,
    far_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A delay below the silence limit costs time, not the connection."""
    monkeypatch.setattr(destinations, "HEARTBEAT_MS", 2_000)
    proxy.delay_s = 0.1
    shop.start()
    for _ in range(5):
        writer.add([(f"c-{i}", Added("apple", 1)) for i in range(20)])
    eventually(lambda: has(far_url, 100), deadline_s=30)
    assert all_that_came(far_url) == {f"c-{i}": list(range(1, 6)) for i in range(20)}
    assert shop.facts()["pushes"][0]["reconnects"] == 0


def test_what_comes_later_than_the_silence_limit_is_written_once(
    writer: Writer, proxy: FaultProxy, shop: StreamServer, far_url: str
) -> None:
    """A delay above it costs the connection; what was under way in it comes again by the next."""
    shop.start()
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: has(far_url, 1))
    proxy.delay_s = 1.0
    for _ in range(5):
        writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: "PeerSilentError" in error_of(shop), deadline_s=30)
    proxy.heal()
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: has(far_url, 7), deadline_s=30)
    assert came_from(far_url, "c-1") == list(range(1, 8))


def test_connections_cut_anywhere_write_each_event_once(
    writer: Writer, proxy: FaultProxy, shop: StreamServer, far_url: str
) -> None:
    """Within batches and within acknowledgements, at 12 different places."""
    for _ in range(30):
        writer.add([(f"c-{i}", Added("apple" * 20, 1)) for i in range(20)])
    proxy.drop_after(700)
    shop.start()
    for cut in range(1, 12):
        eventually(partial(broke, shop, cut), deadline_s=20)
        proxy.drop_after(700 + 3777 * cut)
    proxy.heal()
    eventually(lambda: has(far_url, 600), deadline_s=30)
    assert all_that_came(far_url) == {f"c-{i}": list(range(1, 31)) for i in range(20)}


def broke(pusher: StreamServer, calls: int) -> bool:
    return int(pusher.facts()["pushes"][0]["reconnects"]) >= calls

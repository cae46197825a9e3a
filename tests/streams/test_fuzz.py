"""Damaged requests of every kind against a producer in a process of its own: none hurts it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import grpc
import pytest

from tests.streams.fuzz import PUSHED, Fuzzer
from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer
from tests.streams.processes import Child, start_producer
from thespian_dc.model.access import Access, StreamLimits
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Destination, Stream
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.testkit.eventually import eventually

pytestmark = pytest.mark.processes
SEED = int(os.environ.get("THESPIAN_DC_FUZZ_SEED", "20"))
GROWTH_KIB_MAX = 6 << 10


@pytest.fixture
def producer(writer: Writer, journal_url: str) -> Iterator[Child]:
    """Over 400 events, some with tags; without limits on rates."""
    for nr in range(10):
        writer.add([(f"c-{i}", Added("apple", nr)) for i in range(40)], tags=("large", "t:a/b"))
    access = Access(StreamLimits(requests_per_s=10**7, requests_burst=10**7), reflection=True)
    streams = (Stream("carts", ENTITY_TYPE),)
    child = start_producer(
        StartProducer(
            "shop",
            journal_url,
            streams,
            "127.0.0.1:0",
            SLICES,
            access=access,
            destinations=(Destination(PUSHED, "pushed", {"other": ""}, without_identity=True),),
            replication=(
                Replication(ENTITY_TYPE, "eu", peers=(Peer("us"), Peer("ap", edge=True))),
            ),
        )
    )
    yield child
    child.kill()


@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)], ids=["ci", "full"]
)
def test_damaged_requests_leave_the_producer_as_it_was(producer: Child, count: int) -> None:
    """Each is answered, or refused by a status that names its own fault; nothing hangs, no call is
    left over, memory stays."""
    fuzzer = Fuzzer(producer.answer, SEED)
    asyncio.run(fuzzer.run(2_000))  # caches fill, allocators settle
    before = producer.ask("memory")
    asyncio.run(fuzzer.run(count))
    eventually(lambda: producer.ask("calls") == 0)
    grown = producer.ask("memory") - before
    print(f"fuzz: {dict(fuzzer.ended)}, private memory {before} KiB {grown:+} KiB")
    assert grown < GROWTH_KIB_MAX
    assert fuzzer.ended["OK"] > count / 20, "damaged ones that are still sound were answered"
    assert fuzzer.ended["INVALID_ARGUMENT"] > count / 20
    with grpc.insecure_channel(f"127.0.0.1:{producer.answer}") as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5) == b"\x08\x01"

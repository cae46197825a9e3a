"""Streams that are opened and cancelled, and streams that are idle: what they cost the producer, in
a process of its own."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc.aio
import pytest

from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer
from tests.streams.processes import Child, start_producer
from thespian_dc.model.access import Access, StreamLimits
from thespian_dc.model.criteria import Exclude, VersionedFilter
from thespian_dc.model.settings import Stream
from thespian_dc.stream.channels import METHOD
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.conversion import Batch, Beat, Credit, Start, write_from_consumer
from thespian_dc.wire.conversion import read_from_producer as read

pytestmark = [pytest.mark.processes, pytest.mark.timeout(0)]
AT_ONCE = 50
GROWTH_KIB_MAX = 6 << 10
CONNECTIONS = 4
HEARTBEAT_MS = 2_000


@pytest.fixture
def producer(writer: Writer, journal_url: str) -> Iterator[Child]:
    for nr in range(10):
        writer.add([(f"c-{i}", Added("apple", nr)) for i in range(40)])
    access = Access(StreamLimits(10_000, requests_per_s=10**6, requests_burst=10**6))
    streams = (Stream("carts", ENTITY_TYPE),)
    child = start_producer(
        StartProducer("shop", journal_url, streams, "127.0.0.1:0", SLICES, access=access)
    )
    yield child
    child.kill()


def start(heartbeat_ms: int, credit: int = 1 << 30) -> bytes:
    wanted = VersionedFilter(1, Exclude.tags("large"))
    return write_from_consumer(
        Start(1, "carts", "test", "", {}, Credit(credit, credit), heartbeat_ms, "", wanted)
    )


async def open_and_cancel(port: int, count: int) -> None:
    """Some before the first answer, some after it, some in the middle of batches."""
    rng, left = random.Random(11), iter(range(count))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        async def work() -> None:
            for _ in left:
                call: Any = channel.stream_stream(METHOD)()
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(start(1000, rng.choice((0, 1, 1 << 30))))
                    for _ in range(rng.randrange(4)):
                        await call.read()
                call.cancel()

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))


@pytest.mark.parametrize(
    "count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)], ids=["ci", "full"]
)
def test_streams_opened_and_cancelled_leave_nothing(producer: Child, count: int) -> None:
    """No call and no memory, whenever they were cancelled."""
    asyncio.run(open_and_cancel(producer.answer, 500))
    eventually(lambda: producer.ask("calls") == 0)
    before = producer.ask("memory")
    asyncio.run(open_and_cancel(producer.answer, count))
    eventually(lambda: producer.ask("calls") == 0)
    grown = producer.ask("memory") - before
    print(f"{count} streams opened and cancelled: private memory {before} KiB {grown:+} KiB")
    assert grown < GROWTH_KIB_MAX


async def until(fact: Any) -> None:
    await asyncio.to_thread(eventually, fact, 60)


class Idle:
    """Streams that are at the end of their logs, with a consumer's heartbeats."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.woken = 0

    async def open(self, port: int, count: int) -> None:
        self._channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
            for _ in range(CONNECTIONS)
        ]
        for nr in range(count):
            call: Any = self._channels[nr % CONNECTIONS].stream_stream(METHOD)()
            self.calls.append(call)
            self.tasks.append(asyncio.create_task(self._follow(call)))
            if nr % AT_ONCE == 0:  # gRPC's server turns away calls where 1,000 wait to be accepted
                await until(lambda nr=nr: self.woken >= SLICES * nr)
        await until(lambda: self.woken >= SLICES * count)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        for call in self.calls:
            call.cancel()
        for channel in self._channels:
            await channel.close()

    async def _follow(self, call: Any) -> None:
        """Answer each beat with one; count what comes of events."""
        await call.write(start(HEARTBEAT_MS))
        beat = write_from_consumer(Beat(1))
        while (received := await call.read()) is not grpc.aio.EOF:
            message = read(received)
            if isinstance(message, Beat):
                await call.write(beat)
            elif isinstance(message, Batch):
                self.woken += 1


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as fields:
        user, system = fields.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "count", [200, pytest.param(2_000, marks=pytest.mark.soak)], ids=["ci", "full"]
)
def test_idle_streams_cost_little(producer: Child, writer: Writer, count: int) -> None:
    """Memory per stream, CPU per stream and second with heartbeats every 2 s, and an event reaches
    all of them."""
    pid, idle = producer.process.pid, Idle()

    async def watch() -> tuple[float, float]:
        before = producer.ask("memory")
        await idle.open(producer.answer, count)
        kib = (producer.ask("memory") - before) / count
        began, used_s = asyncio.get_running_loop().time(), cpu_s(pid)
        over, _ = await asyncio.wait(
            idle.tasks, timeout=2 * HEARTBEAT_MS / 1000, return_when=asyncio.FIRST_COMPLETED
        )
        assert not over, "no stream ends while nothing happens"
        seconds = asyncio.get_running_loop().time() - began
        used_s = cpu_s(pid) - used_s
        woken = idle.woken
        await asyncio.to_thread(writer.add, [("c-1", Added("apple", 1))])
        await until(lambda: idle.woken >= woken + count)
        await idle.close()
        return kib, 1e6 * used_s / seconds / count

    kib, cpu_us = asyncio.run(watch())
    print(f"{count} idle streams: {kib:.0f} KiB and {cpu_us:.0f} us of CPU per second each")
    assert kib < 150
    assert cpu_us < 2_000
    eventually(lambda: producer.ask("calls") == 0)

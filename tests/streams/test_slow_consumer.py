"""Consumers at 10 events/s of a journal that grows by 10,000: the journal is their buffer, not the
producer's memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.streams.material import (
    ENTITY_TYPE,
    SLICES,
    Added,
    SlowCount,
    Writer,
    counted,
    projection,
)
from tests.streams.processes import Child, start_consumer, start_producer
from thespian_dc.model.settings import Remote, Stream
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.testkit.eventually import eventually

EVENTS_PER_S = 10_000
EVENTS = 500
"""Appended at a time."""
PER_STREAM_KIB = 8 << 10


def growing(writer: Writer, total: int) -> Iterator[None]:
    """Append so many events at EVENTS_PER_S, catching up where it fell behind; yields after every
    half second's worth."""
    began, pause = time.monotonic(), threading.Event()
    events = [(f"c-{i}", Added("x" * 200, 1)) for i in range(EVENTS)]
    for nr in range(1, total // EVENTS + 1):
        writer.add(events)  # type: ignore[arg-type]
        if nr % (EVENTS_PER_S // EVENTS // 2) == 0:
            yield
        pause.wait(began + nr * EVENTS / EVENTS_PER_S - time.monotonic())


@pytest.mark.processes
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("streams", "total"),
    [(1, 60_000), pytest.param(3, 300_000, marks=pytest.mark.soak)],
    ids=["ci", "full"],
)
def test_a_slow_consumer_does_not_fill_the_producer(
    writer: Writer,
    journal_url: str,
    tmp_path: Path,
    children: list[Child],
    streams: int,
    total: int,
) -> None:
    """Measured from before its call on. The rate is required in `make soak` alone; elsewhere other
    tests run beside it, and the number of events counts."""
    producer = start_producer(
        StartProducer(
            "shop", journal_url, (Stream("carts", ENTITY_TYPE),), "127.0.0.1:0", SLICES
        )
    )  # fmt: skip
    children.append(producer)
    memory = [producer.ask("memory")]
    source = Remote("carts", f"127.0.0.1:{producer.answer}")
    read_models = [tmp_path / f"slow{nr}.db" for nr in range(streams)]
    children += [start_consumer(projection(one, source, handler=SlowCount)) for one in read_models]
    eventually(lambda: producer.ask("calls") == streams, deadline_s=30)
    began = time.monotonic()
    for _ in growing(writer, total):
        memory.append(producer.ask("memory"))
        assert producer.ask("calls") == streams
    took_s = time.monotonic() - began
    grown = max(memory) - memory[0]
    print(
        f"{total} events, {total / took_s:.0f} a second, to {streams} consumers at 10 a second: "
        f"the producer's private memory {memory[0]} KiB {grown:+} KiB"
    )
    assert grown <= streams * PER_STREAM_KIB
    for one in read_models:
        assert 0 < sum(counted(one).values()) < 11 * (time.monotonic() - began) + 10
    assert streams == 1 or total / took_s >= 0.9 * EVENTS_PER_S

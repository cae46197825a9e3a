"""SIGKILL of either end, at random points, while events flow: exactly once all the same."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.streams.material import (
    ENTITY_TYPE,
    SLICES,
    Added,
    Writer,
    counted,
    projection,
    rows,
)
from tests.streams.processes import Child, start_consumer, start_producer
from thespian_dc.model.settings import Remote, Stream
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.testkit.eventually import eventually

pytestmark = pytest.mark.processes
KILLS = 20


class Load:
    """Appends on a thread until stopped, and knows what it appended."""

    def __init__(self, writer: Writer, events_per_s: int) -> None:
        self._writer, self._pause_s = writer, 40 / events_per_s
        self._stop = threading.Event()
        self.expected: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._main)
        self._thread.start()

    def _main(self) -> None:
        rng = random.Random(3)
        while not self._stop.wait(self._pause_s):
            events = [
                (f"c-{rng.randrange(50)}", Added(f"s{rng.randrange(5)}", rng.randrange(1, 9)))
                for _ in range(40)
            ]
            self._writer.add(events)  # type: ignore[arg-type]
            for _, event in events:
                self.expected[event.sku] += event.quantity

    def stop(self) -> dict[str, int]:
        self._stop.set()
        self._thread.join()
        return dict(self.expected)


def settings(url: str, port: int = 0) -> StartProducer:
    streams = (Stream("carts", ENTITY_TYPE),)
    return StartProducer("shop", url, streams, f"127.0.0.1:{port}", SLICES)


def in_order(read_model: Path) -> bool:
    """Every entity's events were handled in seq_nr order, without a hole."""
    last: Counter[str] = Counter()
    for entity_id, seq_nr in rows(read_model, "select entity_id, seq_nr from seen order by nr"):
        last[entity_id] += 1
        if seq_nr != last[entity_id]:
            return False
    return True


@pytest.mark.timeout(180)
def test_consumer_killed_at_random_points(
    writer: Writer, journal_url: str, tmp_path: Path, children: list[Child]
) -> None:
    """20 kills before, within and after transactions: totals are exact and the order is kept."""
    read_model = tmp_path / "read.db"
    producer = start_producer(settings(journal_url))
    children.append(producer)
    consuming = projection(read_model, Remote("carts", f"127.0.0.1:{producer.answer}"))
    load, rng, moved = Load(writer, 2000), random.Random(5), set()
    for _ in range(KILLS):
        before = sum(counted(read_model).values())
        consumer = start_consumer(consuming)
        children.append(consumer)
        eventually(lambda b=before: sum(counted(read_model).values()) > b, deadline_s=30)
        ends = time.monotonic() + rng.random() * 0.1
        eventually(lambda e=ends: time.monotonic() > e, every_s=0.001)
        consumer.kill()
        moved.add(sum(counted(read_model).values()))
    expected = load.stop()
    children.append(start_consumer(consuming))
    eventually(lambda: counted(read_model) == expected, deadline_s=30)
    assert in_order(read_model)
    assert len(moved) == KILLS, "each kill came after more was handled"
    children[-1].end()


@pytest.mark.timeout(180)
def test_producer_killed_and_started_again(
    writer: Writer, journal_url: str, tmp_path: Path, children: list[Child]
) -> None:
    """The consumer resumes from what it handed over: nothing lost, doubled or out of order."""
    read_model = tmp_path / "read.db"
    producer = start_producer(settings(journal_url))
    children.append(producer)
    port = producer.answer
    consumer = start_consumer(projection(read_model, Remote("carts", f"127.0.0.1:{port}")))
    children.append(consumer)
    load = Load(writer, 2000)
    for _ in range(10):
        before = sum(counted(read_model).values())
        eventually(lambda b=before: sum(counted(read_model).values()) > b, deadline_s=30)
        producer.kill()
        producer = start_producer(settings(journal_url, port))
        children.append(producer)
    expected = load.stop()
    eventually(lambda: counted(read_model) == expected, deadline_s=30)
    assert in_order(read_model)
    assert consumer.ask("status").restarts == 0, "a producer's end does not restart the projection"
    consumer.end()
    producer.end()


@pytest.mark.timeout(180)
def test_producers_of_one_journal_stand_in_for_each_other(
    writer: Writer, journal_url: str, tmp_path: Path, children: list[Child]
) -> None:
    """Two serve a stream of one journal at two addresses of one target. Whichever serves is killed,
    four times: the call goes on at the other, with nothing lost, doubled or out of order."""
    read_model = tmp_path / "read.db"
    producers = {
        port: start_producer(settings(journal_url, port)) for port in (free_port(), free_port())
    }
    children += producers.values()
    both = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in producers)
    source = Remote("carts", both, plaintext_beyond_loopback=True)
    consumer = start_consumer(projection(read_model, source))
    children.append(consumer)
    load = Load(writer, 2000)
    for _ in range(4):
        before = sum(counted(read_model).values())
        eventually(lambda b=before: sum(counted(read_model).values()) > b, deadline_s=30)
        eventually(lambda: any(one.ask("calls") for one in producers.values()), deadline_s=30)
        serves = next(port for port, one in producers.items() if one.ask("calls"))
        producers.pop(serves).kill()
        (other,) = producers.values()
        eventually(lambda one=other: one.ask("calls") == 1, deadline_s=30)
        producers[serves] = start_producer(settings(journal_url, serves))
        children.append(producers[serves])
    expected = load.stop()
    eventually(lambda: counted(read_model) == expected, deadline_s=60)
    assert in_order(read_model)
    assert consumer.ask("status").restarts == 0
    consumer.end()

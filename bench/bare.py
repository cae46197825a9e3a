"""SQLite -> gRPC -> handler, without this package: stored rows sent as they are, decoded at the
consumer, position stored per batch. What the same work costs at least in Python."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from typing import Any

import msgpack

from bench.entities import TEXT
from bench.harness import digest
from bench.process import say, serve

METHOD = "/bench.Bare/Pull"
BATCH = 500
TABLE = "create table events(nr integer primary key, body blob not null)"
SUMS = (
    "create table sums(entity_id text primary key, count integer, amount integer, chars integer, "
    "last integer)"
)
UPSERT = (
    "insert into sums values (?, ?, ?, ?, ?) on conflict (entity_id) do update set "
    "count = count + excluded.count, amount = amount + excluded.amount, "
    "chars = chars + excluded.chars, last = excluded.last"
)


def connect(path: str, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute(f"pragma synchronous = {synchronous}")
    return connection


def event(entity_id: str, seq_nr: int, amount: int) -> bytes:
    packed: bytes = msgpack.packb(
        (entity_id, seq_nr, "Added/1", msgpack.packb({"text": TEXT, "amount": amount}))
    )
    return packed


def fill(path: str, events: int, entities: int) -> dict[str, int]:
    """Returns (entity, last seq_nr)."""
    last = Counter[str]()
    connection = connect(path, "normal")
    connection.execute(TABLE)
    connection.execute("begin")

    def rows() -> Any:
        for nr in range(events):
            entity_id = f"a-{nr % entities}"
            last[entity_id] += 1
            yield nr, event(entity_id, last[entity_id], 1)

    connection.executemany("insert into events values (?, ?)", rows())
    connection.execute("commit")
    connection.close()
    return dict(last)


# --- the producer ---
class Producer:
    """Sends what is stored from a number on, then what is added."""

    def __init__(self, path: str) -> None:
        self.connection = connect(path, "full")
        self.connection.execute(TABLE.replace("table", "table if not exists"))
        self.news = asyncio.Event()
        self.asked = asyncio.Event()

    async def pull(self, _request: bytes, context: Any) -> None:
        self.asked.set()
        at = 0
        while True:
            self.news.clear()
            rows = self.connection.execute(
                "select body from events where nr >= ? order by nr limit ?", (at, BATCH)
            ).fetchall()
            if rows:
                await context.write(msgpack.packb([row[0] for row in rows]))
                at += len(rows)
            else:
                await self.news.wait()

    async def add(self, rate: float, events: int) -> None:
        """`events` commits at `rate` per second, each carrying when it was due to begin."""
        await self.asked.wait()
        start = time.perf_counter()
        for nr in range(events):
            due = start + nr / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent_ns = time.monotonic_ns()
            self.connection.execute(
                "insert into events values (?, ?)", (nr, event("a-1", nr + 1, sent_ns))
            )
            self.news.set()


def produce(journal: str, rate: float = 0.0, events: int = 0) -> None:
    asyncio.run(_produce(journal, rate, events))


async def _produce(journal: str, rate: float, events: int) -> None:
    import grpc
    import grpc.aio

    producer = Producer(journal)
    server = grpc.aio.server()
    handler: Any = grpc.unary_stream_rpc_method_handler(producer.pull)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Bare", {"Pull": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(port=port)
    adding = asyncio.create_task(producer.add(rate, events)) if events else None
    await asyncio.to_thread(_until_end)
    if adding is not None:
        adding.cancel()
    await server.stop(0)


def _until_end() -> None:
    from bench.process import wait_for_end

    wait_for_end()


# --- the consumer ---
def consume(port: int, positions: str, events: int, handler: str = "S") -> None:
    """handler: "S" sums; "L" notes each event's age in nanoseconds."""
    asyncio.run(_consume(port, positions, events, handler == "L"))


async def _consume(port: int, positions: str, events: int, is_live: bool) -> None:
    import grpc.aio

    connection = connect(positions, "normal")
    connection.execute(SUMS)
    connection.execute("create table position(nr integer)")
    connection.execute("insert into position values (0)")
    ages: list[int] = []
    first = last = 0.0
    done, cpu = 0, time.process_time()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        async for message in channel.unary_stream(METHOD)(b""):
            first = first or time.perf_counter()
            bodies = msgpack.unpackb(message)
            connection.execute("begin")
            if is_live:
                _note_ages(bodies, ages)
            else:
                _sum_up(bodies, connection)
            done += len(bodies)
            connection.execute("update position set nr = ?", (done,))
            connection.execute("commit")
            if done >= events:
                last = time.perf_counter()
                break
    table = connection.execute("select entity_id, count, amount, last from sums").fetchall()
    say(
        seconds=last - first,
        cpu_us_per_event=(time.process_time() - cpu) / events * 1e6,
        count=sum(row[1] for row in table),
        amount=sum(row[2] for row in table),
        digest=digest({row[0]: row[3] for row in table}),
        ages_ns=ages,
        peak_rss_mib=0,
    )


def _note_ages(bodies: list[bytes], ages: list[int]) -> None:
    for body in bodies:
        payload = msgpack.unpackb(msgpack.unpackb(body)[3])
        ages.append(time.monotonic_ns() - payload["amount"])


def _sum_up(bodies: list[bytes], connection: sqlite3.Connection) -> None:
    sums: dict[str, list[int]] = {}
    for body in bodies:
        entity_id, seq_nr, _, packed = msgpack.unpackb(body)
        payload = msgpack.unpackb(packed)
        found = sums.setdefault(entity_id, [0, 0, 0, 0])
        found[0] += 1
        found[1] += payload["amount"]
        found[2] += len(payload["text"])
        found[3] = seq_nr
    connection.executemany(UPSERT, [(entity_id, *one) for entity_id, one in sums.items()])


if __name__ == "__main__":
    serve({"produce": produce, "consume": consume})

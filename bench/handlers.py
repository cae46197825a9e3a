"""The projection handlers that benchmarks measure, and when they saw what.

S gathers in memory and writes in `flush`; W does one SQL upsert per event. Both read two fields of
each typed event, and keep count, sum and last seq_nr of each entity, so that a run can be compared
with what was written.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from bench.entities import Added
from bench.process import say
from thespian_dc import Envelope, SqlProjectionHandler, Transaction

TABLE = (
    "create table if not exists sums(entity_id text primary key, count integer not null, "
    "amount integer not null, chars integer not null, last integer not null)"
)
UPSERT = (
    "insert into sums values (?, ?, ?, ?, ?) on conflict (entity_id) do update set "
    "count = count + excluded.count, amount = amount + excluded.amount, "
    "chars = chars + excluded.chars, last = excluded.last"
)
ROW_PER_EVENT = (
    "insert into sums values (?, 1, ?, ?, ?) on conflict (entity_id) do update set "
    "count = count + 1, amount = amount + excluded.amount, "
    "chars = chars + excluded.chars, last = excluded.last"
)

BUSY_NS = 50_000


class Clock:
    """Of this process: the first event handled, and the end of the last batch, before its
    commit."""

    first_s = last_s = 0.0


class HandlerS(SqlProjectionHandler):
    tables = TABLE

    def start(self, tx: Transaction) -> None:
        self.sums: dict[str, list[int]] = {}

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        payload = event.payload
        found = self.sums.get(event.entity_id)
        if found is None:
            Clock.first_s = Clock.first_s or time.perf_counter()
            self.sums[event.entity_id] = [1, payload.amount, len(payload.text), event.seq_nr]
        else:
            found[0] += 1
            found[1] += payload.amount
            found[2] += len(payload.text)
            found[3] = event.seq_nr

    def flush(self, tx: Transaction) -> None:
        tx.executemany(UPSERT, [(entity_id, *sums) for entity_id, sums in self.sums.items()])
        self.sums.clear()
        Clock.last_s = time.perf_counter()


class HandlerW(SqlProjectionHandler):
    tables = TABLE

    def start(self, tx: Transaction) -> None:
        Clock.first_s = time.perf_counter()

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        payload = event.payload
        tx.execute(
            ROW_PER_EVENT, (event.entity_id, payload.amount, len(payload.text), event.seq_nr)
        )

    def flush(self, tx: Transaction) -> None:
        Clock.last_s = time.perf_counter()


class HandlerB(HandlerS):
    """As S, and busy for BUSY_NS with each event: of this thread's CPU, whatever else runs."""

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        until = time.thread_time_ns() + BUSY_NS
        super().handle(event, tx)
        while time.thread_time_ns() < until:
            pass

    def rebuild(self, tx: Transaction) -> None:
        tx.execute("delete from sums")


class HandlerF(SqlProjectionHandler):
    """Says at once which entity's event it has, and when, in monotonic nanoseconds."""

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        say(entity_id=event.entity_id, at_ns=time.monotonic_ns())


class HandlerL(SqlProjectionHandler):
    """Notes when each event was sent (its amount) and handled, in monotonic nanoseconds."""

    spans: ClassVar[list[tuple[int, int]]] = []
    last: ClassVar[dict[str, int]] = {}

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        self.spans.append((event.payload.amount, time.monotonic_ns()))
        self.last[event.entity_id] = event.seq_nr


HANDLERS: dict[str, Any] = {
    "S": HandlerS,
    "W": HandlerW,
    "L": HandlerL,
    "B": HandlerB,
    "F": HandlerF,
}

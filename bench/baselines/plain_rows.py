"""One plain row per event on Cassandra: what a team writes by hand. Same payload, same consistency,
N in flight."""

from __future__ import annotations

import threading
import time
from typing import Any

CREATE = (
    "create table if not exists {keyspace}.plain_events (entity_id text, seq_nr bigint, "
    "payload blob, tags text, primary key (entity_id, seq_nr))"
)
INSERT = (
    "insert into {keyspace}.plain_events (entity_id, seq_nr, payload, tags) values (?, ?, ?, ?)"
)


class PlainRows:
    """Inserts round-robin over `entities` entities; each event is acknowledged by its own
    answer."""

    def __init__(self, session: Any, keyspace: str, entities: int, payload: bytes) -> None:
        from cassandra import ConsistencyLevel

        session.execute(CREATE.format(keyspace=keyspace))
        self.session, self.payload = session, payload
        self.insert = session.prepare(INSERT.format(keyspace=keyspace))
        self.insert.consistency_level = ConsistencyLevel.LOCAL_QUORUM
        self.entities = [f"e-{n}" for n in range(entities)]
        self.seq_nrs = dict.fromkeys(self.entities, 0)
        self.written = 0

    def rate(self, in_flight: int, seconds: float) -> float:
        """Acknowledged events per second with `in_flight` outstanding."""
        permits, failures = threading.Semaphore(in_flight), list[Exception]()

        def failed(error: Exception) -> None:
            failures.append(error)
            permits.release()

        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            permits.acquire()
            entity_id = self.entities[count % len(self.entities)]
            self.seq_nrs[entity_id] += 1
            row = (entity_id, self.seq_nrs[entity_id], self.payload, "t")
            self.session.execute_async(self.insert, row).add_callbacks(
                lambda _: permits.release(), failed
            )
            count += 1
        for _ in range(in_flight):
            permits.acquire()
        if failures:
            raise failures[0]
        return count / (time.perf_counter() - started)

    def best_rate(self, seconds: float) -> float:
        return max(self.rate(in_flight, seconds) for in_flight in (32, 128, 512))

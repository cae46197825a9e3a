"""What the stream tests share: events, handlers (importable by name), and a journal that is filled
for real."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from thespian_dc.codec.api import Registry
from thespian_dc.journal.api import Journal, Outcome, append_wait, open_journal
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import (
    CHANGE_META,
    EVENT,
    STATE,
    Commit,
    Record,
    make_commit,
    pack_record,
)
from thespian_dc.model.settings import Local, Projection
from thespian_dc.projection.api import ProjectionHandler, SqlProjectionHandler, Transaction

ENTITY_TYPE = "cart"
SLICES = 4


@dataclass(frozen=True, slots=True)
class Added:
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Registered by the writer, by no consumer."""

    what: str


@dataclass(frozen=True, slots=True)
class PublicAdded:
    item: str
    count: int


UPSERT = "insert into popularity values (?, ?) on conflict (sku) do update set n = n + excluded.n"
REGISTRY = Registry([Added, Unknown])


class Writer:
    """The only writer of a journal's slices: claims them once, then appends."""

    def __init__(
        self,
        url: str,
        slices: int = SLICES,
        entity_type: str = ENTITY_TYPE,
        registry: Registry = REGISTRY,
    ) -> None:
        self.journal: Journal = open_journal(url)
        self._registry = registry
        self.entity_type, self.slices = entity_type, slices
        self.journal.slices(entity_type, slices)
        self.heads: dict[SliceKey, int] = {}
        self.epochs: dict[SliceKey, int] = {}
        self.seq_nrs: dict[str, int] = defaultdict(int)
        self.written: list[Commit] = []
        for slice_ in range(slices):
            key = SliceKey(entity_type, slice_)
            owner = self.journal.claim(key, "writer", os.urandom(16))
            head = self.journal.find_head(key).head
            assert self.journal.install(key, head, owner.epoch)
            self.heads[key], self.epochs[key] = head, owner.epoch

    def add(
        self, events: list[tuple[str, Any]], tags: tuple[str, ...] = (), change: Any = None
    ) -> None:
        """Append (entity_id, payload) pairs: one commit per slice. change: the payloads are durable
        states, with this change event."""
        kind, meta = EVENT, None
        if change is not None:
            kind, meta = STATE, {CHANGE_META: list(self._registry.encode(change))}
        records = []
        for entity_id, payload in events:
            self.seq_nrs[entity_id] += 1
            manifest, encoded = self._registry.encode(payload)
            records.append(
                Record(kind, entity_id, self.seq_nrs[entity_id], manifest, encoded, tags, meta=meta)
            )
        self.put(records)

    def put(self, records: Sequence[Record]) -> None:
        """Append records as they are: one commit per slice."""
        by_slice: dict[SliceKey, list[tuple[str, bytes]]] = defaultdict(list)
        for record in records:
            key = SliceKey(self.entity_type, slice_of(record.entity_id, self.slices))
            by_slice[key].append((record.entity_id, pack_record(record)))
        now_us = time.time_ns() // 1000
        commits = [
            make_commit(key, self.heads[key], uuid.uuid4().bytes, self.epochs[key], now_us, packed)
            for key, packed in by_slice.items()
        ]
        for answer in append_wait(self.journal, commits):
            assert answer.outcome is Outcome.DONE, answer
            self.heads[answer.commit.key] = answer.commit.end_offset
        self.written = commits

    def close(self) -> None:
        self.journal.close()


class CountItems(SqlProjectionHandler):
    """Counts in SQL, one upsert per event, and remembers the order of each entity's events."""

    tables = """
    create table if not exists popularity(sku text primary key, n integer not null);
    create table if not exists seen(
        nr integer primary key, entity_id text, seq_nr integer, unique (entity_id, seq_nr));
    """

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        tx.execute("insert into seen(entity_id, seq_nr) values (?, ?)",
                   (event.entity_id, event.seq_nr))  # fmt: skip
        tx.execute(
            UPSERT,
            (event.payload.sku, event.payload.quantity),
        )


class SumItems(SqlProjectionHandler):
    """Gathers in memory and writes in flush."""

    tables = "create table if not exists popularity(sku text primary key, n integer not null)"

    def start(self, tx: Transaction) -> None:
        self.sums: dict[str, int] = defaultdict(int)

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        self.sums[event.payload.sku] += event.payload.quantity

    def flush(self, tx: Transaction) -> None:
        tx.executemany(
            UPSERT,
            list(self.sums.items()),
        )
        self.sums.clear()


class Fuse:
    """Where handlers of this process raise: quantities that are poison until taken out."""

    blown: ClassVar[set[int]] = set()


class FusedCount(CountItems):
    """Raises after its own effects at a poisoned quantity: they must be undone."""

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        super().handle(event, tx)
        if event.payload.quantity in Fuse.blown:
            raise ValueError(f"no {event.payload.quantity}")


class FusedSum(SumItems):
    """Raises before its effects in memory; never touches tx in handle."""

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        if event.payload.quantity in Fuse.blown:
            raise ValueError(f"no {event.payload.quantity}")
        super().handle(event, tx)


class Plain(ProjectionHandler):
    """Effects outside of any transaction: a list of this process."""

    events: ClassVar[list[tuple[str, int]]] = []
    flushed = 0

    def handle(self, event: Envelope[Any]) -> None:
        if getattr(event.payload, "quantity", 0) in Fuse.blown:
            raise ValueError("no")
        Plain.events.append((event.entity_id, event.seq_nr))

    def flush(self) -> None:
        Plain.flushed = len(Plain.events)


class EndsTransaction(SqlProjectionHandler):
    """Does what it must not."""

    tables = "create table if not exists t(x)"
    how: ClassVar[str] = "commit"

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        cursor = tx.execute("insert into t values (1)")
        if self.how == "other":
            cursor.connection.commit()
        tx.execute(self.how)


def projection(positions: Path, source: Any = None, **changes: Any) -> Projection:
    """A projection with short pauses; positions: the SQLite file."""
    settings: dict[str, Any] = {
        "name": "popularity", "source": source or Local(ENTITY_TYPE), "handler": CountItems,
        "positions": f"sqlite:///{positions}", "events": [Added], "restart_backoff_ms": (5, 50),
    }  # fmt: skip
    return Projection(**(settings | changes))


def rows(path: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a reader of the projection's database sees now."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def execute(path: Path, sql: str, *parameters: Any) -> None:
    """A statement of somebody else in the projection's database."""
    connection = sqlite3.connect(path, timeout=10)
    with connection:
        connection.execute(sql, parameters)
    connection.close()


def counted(path: Path) -> dict[str, int]:
    """Popularity by sku; empty before the table is there."""
    try:
        return dict(rows(path, "select sku, n from popularity"))
    except sqlite3.OperationalError:
        return {}


def offsets(path: Path) -> dict[int, int]:
    """Stored positions by slice."""
    try:
        return dict(rows(path, "select slice, offset from thespian_dc_positions"))
    except sqlite3.OperationalError:
        return {}


class SlowCount(CountItems):
    """Ten events a second."""

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        super().handle(event, tx)
        threading.Event().wait(0.1)  # the handler's work, not a wait of the test


class RebuiltCount(CountItems):
    """Knows how to take away what it wrote."""

    def rebuild(self, tx: Transaction) -> None:
        tx.execute("delete from popularity")
        tx.execute("delete from seen")


class PoisonedCount(RebuiltCount):
    """Raises at every quantity of 13."""

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        if event.payload.quantity == 13:
            raise ValueError("thirteen")
        super().handle(event, tx)


class HundredthSlow(RebuiltCount):
    """A hundred events a second, outside of any lock."""

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        threading.Event().wait(0.01)  # the handler's work, not a wait of the test
        super().handle(event, tx)

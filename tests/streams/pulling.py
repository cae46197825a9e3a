"""Accounts with stored states, and one call that pulls their stream, as the tests of histories use
them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import msgpack
import pytest

from thespian_dc.codec.api import Registry
from thespian_dc.journal.api import Journal
from thespian_dc.model.history import History
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import SNAPSHOT_META, Record
from thespian_dc.projection.api import SourceBatch
from thespian_dc.stream.batches import read_batch
from thespian_dc.stream.channels import METHOD
from thespian_dc.testkit.entities import Account, Deposit, Deposited, ProfileState, Renamed
from thespian_dc.testkit.local_entities import LocalEntities
from thespian_dc.wire.conversion import (
    Batch,
    Credit,
    Start,
    read_from_producer,
    write_from_consumer,
)
from thespian_dc.wire.status import error_of

SLICES = 2


@dataclass(frozen=True, slots=True)
class Balance:
    """Public: what an account's state says."""

    amount: int


@dataclass(frozen=True, slots=True)
class Name:
    """Public."""

    name: str


PUBLIC = Registry([Balance, Name, Deposited, Renamed, ProfileState])


def deposits(entities: LocalEntities, count: int) -> None:
    """count deposits of 1 by each of two accounts; a state every 10."""
    for entity_id in ("a-1", "a-2"):
        for _ in range(count):
            entities.ask(Account, entity_id, Deposit(1))
    for entity_id in ("a-1", "a-2"):
        settle(entities, entity_id, count // 10 * 10)


def settle(entities: LocalEntities, entity_id: str, seq_nr: int) -> None:
    """States are written a little behind the log: let the host's time pass."""
    name = "profile" if entity_id.startswith("p") else "account"
    key = SliceKey(name, slice_of(entity_id, SLICES))
    for _ in range(1000):
        row = entities.journal.read_state(key, entity_id)
        if row is not None and row.seq_nr == seq_nr:
            return
        entities.tick()
    raise AssertionError(f"{entity_id}: no state at {seq_nr}")


def trim_all(journal: Journal) -> None:
    """Delete all records there are."""
    for slice_ in range(SLICES):
        key = SliceKey("account", slice_)
        head = journal.find_head(key).head
        journal.advance_index(key, head)
        assert journal.trim(key, head) == head


Seen = dict[str, list[tuple[int, Any, bool]]]
"""(seq_nr, payload, is it made of a state) by entity."""


class Pulling:
    """One call, read until `events` came."""

    def __init__(self, port: int, stream_id: str, history: History, **changes: Any) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        credit = Credit(1 << 20, 1000)
        start = Start(1, stream_id, "test", "", {}, credit, 60_000, "", history=history)
        self.over = threading.Event()
        sent = write_from_consumer(start._replace(**changes))
        self.call = self.channel.stream_stream(METHOD)(self.sends(sent))
        self.seen: Seen = defaultdict(list)
        self.batches: list[SourceBatch] = []

    def sends(self, start: bytes) -> Iterator[bytes]:
        yield start
        self.over.wait(60)

    def until(self, events: int) -> Seen:
        """Exactly so many come; one more would be seen by the next `until`."""
        while sum(map(len, self.seen.values())) < events:
            message = read_from_producer(next(self.call))
            if isinstance(message, Batch):
                self.take(read_batch("test", message))
        assert sum(map(len, self.seen.values())) == events
        return dict(self.seen)

    def take(self, batch: SourceBatch) -> None:
        self.batches.append(batch)
        for commit in batch.commits:
            for fields in msgpack.unpackb(commit.body) if commit.body else ():
                record = Record(*fields)
                payload = PUBLIC.decode(record.manifest, record.payload)
                is_state = bool(record.meta and record.meta.get(SNAPSHOT_META))
                self.seen[record.entity_id].append((record.seq_nr, payload, is_state))

    def error(self) -> Exception:
        """What ends the call by itself."""
        with pytest.raises(grpc.RpcError) as caught:
            list(self.call)
        failed: Any = caught.value
        return error_of("test", failed.code(), failed.details(), failed.trailing_metadata())

    def close(self) -> None:
        self.over.set()
        self.call.cancel()
        self.channel.close()

"""A consumer by hand: one call, message by message, and the unary questions. Over real gRPC."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from typing import Any

import grpc
import msgpack

from thespian_dc.model.criteria import UNFILTERED, VersionedFilter
from thespian_dc.model.position import Position
from thespian_dc.model.settings import Remote
from thespian_dc.projection.api import CommitView, SourceBatch
from thespian_dc.stream.batches import cost_of, read_batch
from thespian_dc.stream.channels import METHOD, Channels
from thespian_dc.stream.lookups_client import LookupsClient
from thespian_dc.wire.conversion import (
    Batch,
    Beat,
    Credit,
    FilterInForce,
    FromConsumer,
    Start,
    Started,
    read_from_producer,
    write_from_consumer,
)
from thespian_dc.wire.status import error_of

PLENTY = Credit(1 << 40, 1 << 40)
Event = tuple[int, int, str, int]
"""slice, offset, entity id, seq_nr."""


class Pulled:
    """A call to a producer on this machine; iterate over what it answers but beats. more: of its
    Start."""

    def __init__(
        self,
        port: int,
        wanted: VersionedFilter = UNFILTERED,
        credit: Credit = PLENTY,
        positions: dict[int, Position] | None = None,
        stream_id: str = "carts",
        **more: Any,
    ) -> None:
        self._sent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # bounded by the test
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._call = self._channel.stream_stream(METHOD)(iter(self._sent.get, None))
        start = Start(1, stream_id, "test", "", positions or {}, credit, 10_000, "", wanted)
        self.say(start._replace(**more))

    def say(self, message: FromConsumer) -> None:
        self._sent.put(write_from_consumer(message))

    def __enter__(self) -> Pulled:
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()
        self._sent.put(None)
        self._channel.close()

    def next(self) -> Started | FilterInForce | SourceBatch:
        """The next message that is no beat; grpc.RpcError at the end."""
        while True:
            message = read_from_producer(next(self._call))
            if isinstance(message, Batch):
                return read_batch("here", message)
            if not isinstance(message, Beat):
                assert isinstance(message, Started | FilterInForce)
                return message

    def error(self) -> Exception:
        """What ends the call by itself."""
        try:
            while True:
                self.next()
        except grpc.RpcError as ended:
            failed: Any = ended
            return error_of("here", failed.code(), failed.details(), failed.trailing_metadata())

    def batches(self, until: dict[int, int]) -> Iterator[SourceBatch]:
        """Batches until each slice's position is at or above that offset."""
        reached = dict.fromkeys(until, 0)
        while any(reached[slice_] < end for slice_, end in until.items()):
            message = self.next()
            if isinstance(message, SourceBatch):
                reached[message.slice] = message.next_offset
                yield message

    def cost(self, batch: SourceBatch) -> Credit:
        return cost_of(batch)


def events_in(slice_: int, commits: Any, from_offset: int = 0) -> list[Event]:
    """What a consumer at from_offset is shown by these commits."""
    found = []
    for commit in commits:
        records = msgpack.unpackb(commit.body) if commit.body else []
        kept = commit.kept or range(len(records))
        for index, record in zip(kept, records, strict=True):
            if commit.first_offset + index >= from_offset:
                found.append((slice_, commit.first_offset + index, record[1], record[2]))
    return found


def shown_by(batch: SourceBatch) -> list[Event]:
    return events_in(batch.slice, batch.commits, batch.base_offset)


def payloads_in(commits: list[CommitView]) -> list[bytes]:
    return [r[4] for c in commits if c.body for r in msgpack.unpackb(c.body)]


def asked(port: int, method: str, *arguments: Any, stream_id: str = "carts", **remote: Any) -> Any:
    """What a question is answered, by a client of its own. remote: more of its Remote."""

    async def ask() -> Any:
        settings = Remote(stream_id, f"127.0.0.1:{port}", **remote)
        client = LookupsClient(Channels(), settings, "test")
        return await getattr(client, method)(*arguments)

    return asyncio.run(ask())

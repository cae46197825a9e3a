"""Transformations at work: what consumers over gRPC see of a stream that maps its types, and what
they are told where it cannot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.streams.material import (
    ENTITY_TYPE,
    Added,
    CountItems,
    PublicAdded,
    Unknown,
    Writer,
    counted,
    offsets,
    projection,
)
from thespian_dc.model.settings import Remote, Stream
from thespian_dc.model.transformation import Transformation
from thespian_dc.testkit.eventually import eventually, never


class Cart:
    """As much of an entity class as a transforming stream looks at."""

    entity_type = ENTITY_TYPE
    events = (Added, Unknown)


class Asked:
    """How often the transform was asked, in this process."""

    times = 0


async def public_later(event: Added) -> PublicAdded | None:
    Asked.times += 1
    await asyncio.sleep(0)
    return PublicAdded(event.sku, event.quantity) if event.quantity else None


class CountPublic(CountItems):
    """The same table from the public type."""

    def handle(self, event: Any, tx: Any) -> None:
        stored, event.payload = event.payload, Added(event.payload.item, event.payload.count)
        super().handle(event, tx)
        event.payload = stored


TO_PUBLIC = Transformation().payload(Added, public_later)
PUBLIC = Stream("public", Cart, TO_PUBLIC.drop(Unknown), [PublicAdded])


def public_counts(path: Path, port: int) -> Any:
    remote = Remote("public", f"127.0.0.1:{port}")
    return projection(path, remote, handler=CountPublic, events=[PublicAdded])


def test_an_asynchronous_transform_serves_history_and_what_comes(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """Hints of hosts too: what is pushed is read and transformed."""
    read_model = tmp_path / "read.db"
    writer.add([(f"c-{i}", Added("apple", i % 3)) for i in range(60)])
    writer.add([("c-1", Unknown("never shown"))])
    server, port = serve(streams=(PUBLIC,))
    consume(public_counts(read_model, port))
    eventually(lambda: counted(read_model) == {"apple": 60})
    writer.add([("c-1", Added("pear", 7))])
    server.push(writer.written)
    eventually(lambda: counted(read_model) == {"apple": 60, "pear": 7})
    eventually(lambda: sum(offsets(read_model).values()) == 62)


def test_many_consumers_ask_a_transform_once(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """One view per stream, in the cache that all its consumers read."""
    for _ in range(20):
        writer.add([(f"c-{i}", Added("apple", 1)) for i in range(100)])
    _, port = serve(streams=(PUBLIC,))
    Asked.times = 0
    paths = [tmp_path / f"r{nr}.db" for nr in range(5)]
    for path in paths:
        consume(public_counts(path, port))
    for path in paths:
        eventually(lambda p=path: counted(p) == {"apple": 2000}, 30)
    assert 2000 <= Asked.times <= 1.5 * 2000


def test_a_consumer_is_told_which_type_nobody_mapped(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """A type that was added and forgotten stops the stream at its first event, by name."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 2))])
    writer.add([("c-1", Unknown("forgotten"))])
    writer.add([("c-1", Added("apple", 4))])
    _, port = serve(streams=(Stream("public", Cart, TO_PUBLIC, [PublicAdded]),))
    running, _ = consume(public_counts(read_model, port))
    status = eventually(lambda: (s := running.status()).restarts > 1 and s)
    assert "UnmappedEventError" in status.error
    assert "names no type for Unknown/1 (c-1 at slice" in status.error
    eventually(lambda: counted(read_model) == {"apple": 2})
    never(lambda: counted(read_model) != {"apple": 2}, within_s=0.2)

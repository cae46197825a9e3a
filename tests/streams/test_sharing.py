"""Many consumers of one producer: what they share, and what each leaves behind."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.streams.material import (
    ENTITY_TYPE,
    SLICES,
    Added,
    SumItems,
    Writer,
    counted,
    projection,
    rows,
)
from thespian_dc.model.settings import Remote, Stream
from thespian_dc.stream import tail
from thespian_dc.stream.channels import METHOD
from thespian_dc.testkit.eventually import eventually, never
from thespian_dc.testkit.proxy import FaultProxy
from thespian_dc.wire.conversion import (
    Batch,
    Beat,
    Credit,
    Start,
    Started,
    read_from_producer,
    write_from_consumer,
)


def start(events: int = 1000, heartbeat_ms: int = 60_000) -> bytes:
    credit = Credit(1 << 20, events)
    return write_from_consumer(Start(1, "carts", "test", "", {}, credit, heartbeat_ms, ""))


def test_consumers_that_catch_up_together_share_reads(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """Ten consumers cost the journal about what one does."""
    for _ in range(60):
        writer.add([(f"c-{i}", Added("x" * 300, 1)) for i in range(100)])
    alone, port = serve()
    consume(projection(tmp_path / "one.db", Remote("carts", f"127.0.0.1:{port}"), handler=SumItems))
    eventually(lambda: sum(counted(tmp_path / "one.db").values()) == 6000)
    commits_of_one = alone.commits_read
    assert commits_of_one >= 60 * SLICES
    shared, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    paths = [tmp_path / f"r{nr}.db" for nr in range(10)]
    for path in paths:
        consume(projection(path, remote, handler=SumItems))
    for path in paths:
        eventually(lambda p=path: sum(counted(p).values()) == 6000, 30)
    assert shared.commits_read <= 1.5 * commits_of_one


def test_projections_of_one_process_share_a_connection(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """Whatever streams of one producer they read."""
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve(streams=tuple(Stream(name, ENTITY_TYPE) for name in ("carts", "baskets")))
    paths = [tmp_path / f"r{nr}.db" for nr in range(6)]
    with FaultProxy("127.0.0.1", port) as proxy:
        for nr, path in enumerate(paths):
            remote = Remote(("carts", "baskets")[nr % 2], f"127.0.0.1:{proxy.port}")
            consume(projection(path, remote, handler=SumItems), heartbeat_ms=10_000)
        for path in paths:
            eventually(lambda p=path: counted(p) == {"apple": 1})
        assert proxy.connections == 1


def test_one_consumer_has_several_producers(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """With positions in one database, each of its own journal; the same ids are other entities."""
    read_model, other_url = tmp_path / "read.db", f"sqlite:///{tmp_path}/other.db"
    other = Writer(other_url)
    ports = [serve()[1], serve(journal=other_url)[1]]
    for name, port in zip(("here", "there"), ports, strict=True):
        remote = Remote("carts", f"127.0.0.1:{port}")
        consume(projection(read_model, remote, name=name, handler=SumItems))
    for _ in range(5):
        writer.add([("c-1", Added("apple", 1))])
        other.add([("c-1", Added("pear", 1))] * 2)
    eventually(lambda: counted(read_model) == {"apple": 5, "pear": 10})
    of_each = "select projection, journal_id, sum(offset) from thespian_dc_positions group by 1, 2"
    assert rows(read_model, of_each) == [
        ("here", writer.journal.journal_id, 5), ("there", other.journal.journal_id, 10)
    ]  # fmt: skip
    other.close()


def test_a_pushed_commit_is_delivered_without_reading(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it goes on from what is known it is delivered as it is; where a push was lost, the next
    one makes the producer read. Polls, which would find both, are a minute away here."""
    monkeypatch.setattr(tail, "POLL_MS", (60_000, 60_000))
    server, port = serve()
    read_model = tmp_path / "read.db"
    consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}"), handler=SumItems))
    eventually(lambda: server.reads >= SLICES)
    before = server.reads
    writer.add([("c-1", Added("apple", 1))])
    server.push(writer.written)
    eventually(lambda: counted(read_model) == {"apple": 1})
    assert server.reads == before
    writer.add([("c-1", Added("apple", 2))])  # this push is lost
    writer.add([("c-1", Added("apple", 4))])
    server.push(writer.written)
    eventually(lambda: counted(read_model) == {"apple": 7})
    assert server.reads > before


def test_idle_consumers_do_not_make_the_journal_busier(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """At the tail, polls are per slice, not per consumer."""
    server, port = serve()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = [channel.stream_stream(METHOD)(iter_forever(start())) for _ in range(50)]
        for call in calls:
            assert isinstance(read_from_producer(next(call)), Started)
        eventually(lambda: server.calls == 50)
        before, began_s = server.reads, time.monotonic()
        never(  # ten a second of each slice, were it each consumer's: five hundred
            lambda: server.reads - before > SLICES * (10 + 40 * (time.monotonic() - began_s)),
            within_s=1.0,
        )
        for call in calls:
            call.cancel()
    eventually(lambda: server.calls == 0)


def iter_forever(first: bytes) -> Any:
    """A consumer's side that says one thing and stays open."""

    yield first
    threading.Event().wait(20)


def test_a_thousand_cancelled_streams_leave_nothing(writer: Writer, serve: Any) -> None:
    """grpc.aio leaks a call whose handler keeps CancelledError; ours lets it go."""
    writer.add([(f"c-{i}", Added("apple", 1)) for i in range(100)])
    server, port = serve()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def open_and_cancel(times: int) -> None:
            for _ in range(times):
                call = channel.stream_stream(METHOD)(iter([start()]))
                assert isinstance(read_from_producer(next(call)), Started)
                call.cancel()
            eventually(lambda: server.calls == 0)

        open_and_cancel(300)  # caches of gRPC and Python fill
        before = resident_kib()
        open_and_cancel(1000)
        assert resident_kib() - before < 2048


def resident_kib() -> int:
    """Of this process, which holds both ends."""
    with open(f"/proc/{os.getpid()}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def test_a_silent_consumer_is_dropped(writer: Writer, serve: Any) -> None:
    """Three intervals without a word from the consumer free what the call held."""
    server, port = serve()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(METHOD)(iter_forever(start(heartbeat_ms=400)))
        heard: list[type] = []
        with contextlib.suppress(grpc.RpcError):
            heard.extend(type(read_from_producer(received)) for received in call)
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert "silent" in call.details()
    assert heard[0] is Started
    assert heard.count(Beat) >= 2
    assert Batch not in heard
    eventually(lambda: server.calls == 0)

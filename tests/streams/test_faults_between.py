"""What the network may do to a stream: nothing is lost, doubled or silently stuck."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.streams.asking import asked
from tests.streams.material import Added, Writer, counted, offsets, projection, rows
from thespian_dc.model.settings import Remote
from thespian_dc.model.stream_errors import (
    PeerSilentError,
    PeerUnavailableError,
    StreamRefusedError,
)
from thespian_dc.stream import lookups_client
from thespian_dc.testkit.eventually import eventually
from thespian_dc.testkit.proxy import FaultProxy


@pytest.fixture
def proxied(writer: Writer, serve: Any) -> Iterator[FaultProxy]:
    """A proxy in front of a producer over `writer`'s journal."""
    _, port = serve()
    with FaultProxy("127.0.0.1", port) as proxy:
        yield proxy


def remote(proxy: FaultProxy) -> Remote:
    return Remote("carts", f"127.0.0.1:{proxy.port}")


def test_a_half_open_connection_is_noticed_and_replaced(
    writer: Writer, proxied: FaultProxy, consume: Any, tmp_path: Path
) -> None:
    """No FIN, no RST, no bytes: three silent intervals, then a new connection, not the dead one."""
    read_model = tmp_path / "read.db"
    _, sources = consume(projection(read_model, remote(proxied)), heartbeat_ms=150)
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 1})
    proxied.blackhole()
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: isinstance(sources[0].last_error, PeerSilentError))
    assert counted(read_model) == {"apple": 1}
    proxied.heal()
    eventually(lambda: counted(read_model) == {"apple": 2})
    assert len(sources) == 1, "a broken connection does not restart the projection"


def test_a_reset_connection_resumes(
    writer: Writer, proxied: FaultProxy, consume: Any, tmp_path: Path
) -> None:
    """RST in mid-stream, ten times: each event once."""
    read_model = tmp_path / "read.db"
    running, sources = consume(projection(read_model, remote(proxied)), heartbeat_ms=150)
    for nr in range(1, 11):
        writer.add([(f"c-{i}", Added("apple", 1)) for i in range(20)])
        eventually(lambda nr=nr: counted(read_model).get("apple", 0) >= 20 * nr - 10)
        proxied.reset()
    eventually(lambda: counted(read_model) == {"apple": 200})
    assert sources[0].reconnects >= 5
    # gRPC calls a reset UNAVAILABLE, or now and then INTERNAL.
    assert isinstance(sources[0].last_error, PeerUnavailableError | StreamRefusedError)
    assert running.status().restarts == 0


def test_a_message_cut_in_the_middle_is_read_again(
    writer: Writer, proxied: FaultProxy, consume: Any, tmp_path: Path
) -> None:
    """Connections that close within a batch, at 12 different places: each event once, in order."""
    read_model = tmp_path / "read.db"
    for _ in range(30):
        writer.add([(f"c-{i}", Added("apple" * 20, 1)) for i in range(20)])
    for cut in range(12):
        proxied.drop_after(700 + 1111 * cut)
        running, sources = consume(projection(read_model, remote(proxied)), heartbeat_ms=150)
        eventually(lambda s=sources: s and s[0].reconnects >= 1)
        assert running.stop()
    proxied.heal()
    consume(projection(read_model, remote(proxied)))
    eventually(lambda: sum(counted(read_model).values()) == 600)
    assert sum(offsets(read_model).values()) == 600
    seen = rows(read_model, "select entity_id, group_concat(seq_nr) from "
                "(select * from seen order by nr) group by 1")  # fmt: skip
    assert {numbers for _, numbers in seen} == {",".join(str(nr) for nr in range(1, 31))}


def test_a_slow_network_is_not_a_dead_one(
    writer: Writer, proxied: FaultProxy, consume: Any, tmp_path: Path
) -> None:
    """A delay below the silence limit costs time, not the connection."""
    read_model = tmp_path / "read.db"
    proxied.delay_s = 0.1
    _, sources = consume(projection(read_model, remote(proxied)), heartbeat_ms=1000)
    writer.add([("c-1", Added("apple", 1))] * 100)
    eventually(lambda: counted(read_model) == {"apple": 100})
    assert sources[0].reconnects == 0


def test_a_producer_that_is_away_is_waited_for(
    writer: Writer, proxied: FaultProxy, consume: Any, tmp_path: Path
) -> None:
    """Refused connections are tried again with growing pauses, and the reason is on show."""
    read_model = tmp_path / "read.db"
    proxied.refuse()
    running, sources = consume(projection(read_model, remote(proxied)))
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: sources and sources[0].reconnects >= 3)
    assert isinstance(sources[0].last_error, PeerUnavailableError)
    assert running.status().phase == "starting"
    proxied.heal()
    eventually(lambda: counted(read_model) == {"apple": 1})


def test_a_slow_journal_is_not_a_dead_producer(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats do not wait for reads: a journal that takes longer for each than a consumer waits
    for a sign of life costs that time, no reconnect."""
    read_model = tmp_path / "read.db"
    server, port = serve()
    _, sources = consume(
        projection(read_model, Remote("carts", f"127.0.0.1:{port}")), heartbeat_ms=400
    )
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 1})
    journal = server._journal
    read = journal.read

    def slow_read(*arguments: Any) -> Any:
        threading.Event().wait(1.5)
        return read(*arguments)

    monkeypatch.setattr(journal, "read", slow_read)
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 2}, 20)
    assert sources[0].reconnects == 0


@pytest.mark.parametrize("fault", ["blackhole", "reset"])
def test_a_consumer_that_is_gone_costs_the_producer_nothing(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, fault: str
) -> None:
    """No FIN, no RST, no bytes: the producer ends the call after three silent intervals; a reset
    one at once."""
    server, port = serve()
    with FaultProxy("127.0.0.1", port) as proxy:
        running, _ = consume(projection(tmp_path / "read.db", remote(proxy)), heartbeat_ms=150)
        eventually(lambda: server.calls == 1)
        proxy.refuse() if fault == "reset" else proxy.blackhole()
        eventually(lambda: server.calls == 0)
        assert running.stop()


def test_a_half_open_connection_leaves_no_question_unanswered(
    writer: Writer, proxied: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question has a deadline; the next one goes over a new connection."""
    monkeypatch.setattr(lookups_client, "ANSWER_S", 0.5)
    proxied.blackhole()
    with pytest.raises((PeerUnavailableError, StreamRefusedError)) as failed:
        asked(proxied.port, "heads")
    assert failed.value.retryable
    proxied.heal()
    assert asked(proxied.port, "heads").positions

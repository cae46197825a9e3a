"""Streams and projections as a node's settings name them: over TLS, over its own journal, and what
cannot be started."""

from __future__ import annotations

import dataclasses
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.processes.running import free_port, running, shop
from tests.processes.shop import Add, Added, Counter
from thespian_dc.client.api import Client
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import JournalError, JournalUnavailableError, SettingsError
from thespian_dc.model.settings import Local, Projection, Remote, Settings, Stream, Tls
from thespian_dc.model.stream_errors import ListenError
from thespian_dc.projection.api import SqlProjectionHandler, Transaction
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]


class Sums(SqlProjectionHandler):
    """Sums and numbers of events per entity."""

    tables = "create table if not exists sums(id text primary key, n integer, events integer)"

    def handle(self, event: Envelope[Added], tx: Transaction) -> None:
        tx.execute(
            "insert into sums values (?, ?, 1) on conflict (id) do update set "
            "n = n + excluded.n, events = events + 1",
            (event.entity_id, event.payload.amount),
        )


def sums(path: Path) -> dict[str, tuple[int, int]]:
    """Empty before the table is there."""
    connection = sqlite3.connect(path)
    try:
        return {id_: (n, events) for id_, n, events in connection.execute("select * from sums")}
    except sqlite3.OperationalError:
        return {}
    finally:
        connection.close()


def certificate(folder: Path, name: str, authority: trustme.CA) -> Tls:
    """Files of a certificate for 127.0.0.1."""
    issued, files = authority.issue_cert("127.0.0.1"), [folder / f"{name}.{n}" for n in range(3)]
    issued.cert_chain_pems[0].write_to_path(str(files[0]))
    issued.private_key_pem.write_to_path(str(files[1]))
    authority.cert_pem.write_to_path(str(files[2]))
    return Tls(*map(str, files))


def test_events_reach_the_own_and_another_service(tmp_path: Path) -> None:
    """One projection over the node's own journal, the same one in another node over mutual TLS; a
    third that shows another authority's certificate gets nothing and says why."""
    ours = trustme.CA()
    at = f"127.0.0.1:{free_port()}"

    def projection(name: str, source: Any) -> Projection:
        return Projection(name, source, Sums, f"sqlite:///{tmp_path}/{name}.db", [Added])

    def remote(name: str, authority: trustme.CA) -> Projection:
        return projection(name, Remote("counters", at, certificate(tmp_path, name, authority)))

    serving = shop(
        tmp_path, streams=[Stream("counters", Counter)], listen=at,
        tls=certificate(tmp_path, "shop", ours), projections=[projection("near", Local("counter"))],
    )  # fmt: skip
    far = Settings("ranking", projections=[remote("far", ours), remote("foe", trustme.CA())])
    with running() as one:
        one.start(serving)
        other = one.start(far)
        with Client.connect(one.system, "shop") as client:
            list(client.ask_many([("counter", f"c-{n % 5}", Add(n)) for n in range(100)]))
        expected = {f"c-{n}": (sum(range(n, 100, 5)), 20) for n in range(5)}
        for name in ("near", "far"):
            eventually(lambda name=name: sums(tmp_path / f"{name}.db") == expected, 30)
        assert sums(tmp_path / "foe.db") == {}

        def told() -> list[tuple[str, str, str]]:
            projections = other.status()["consumers"][0].get("projections", ())
            return [(p["name"], p["phase"], p["error"].partition(":")[0]) for p in projections]

        # Processes report twice a second.
        expected_status = [("far", "running", ""), ("foe", "starting", "PeerNotTrustedError")]
        eventually(lambda: told() == expected_status, 60)


def test_a_taken_port_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    """Node.start raises the producer's own error and stops what it had started."""
    with running() as one, socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = shop(tmp_path, streams=[Stream("counters", Counter)], listen=at)
        with pytest.raises(ListenError, match=at):
            one.start(settings)
        one.start(dataclasses.replace(settings, listen=f"127.0.0.1:{free_port()}"))


def test_a_journal_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """Before anything is created; the file of somebody else stays as it was."""
    somebodys = tmp_path / "photo.jpg"
    somebodys.write_bytes(b"not a database, not at all" * 100)
    with running() as one:
        for journal in ("sqlite:///nowhere/at/all.db", f"sqlite:///{somebodys}", "mongodb://x/y"):
            with pytest.raises(JournalError) as refused:
                one.start(dataclasses.replace(shop(tmp_path), journal=journal))
            assert journal.rpartition("/")[2] in str(refused.value)
        nobody = f"cassandra://127.0.0.1:{free_port()}/shop"
        with pytest.raises(JournalUnavailableError, match=r"127\.0\.0\.1"):
            one.start(dataclasses.replace(shop(tmp_path), journal=nobody))
        assert somebodys.read_bytes() == b"not a database, not at all" * 100


def test_a_handler_another_process_cannot_import_is_refused() -> None:
    """It is built in the consumer's process: a class inside a function does not exist there."""

    class Here(Sums):
        pass

    with pytest.raises(SettingsError, match="handler"):
        Projection("p", Local("counter"), Here, "sqlite:///p.db", [Added])

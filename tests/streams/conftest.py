"""A producer and consumers in this process, over real gRPC on loopback, ended with the test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.streams.certificates import Authority
from tests.streams.material import (
    ENTITY_TYPE,
    SLICES,
    RebuiltCount,
    Writer,
    projection,
)
from tests.streams.processes import Child
from tests.streams.pushing import FAR_SLICES, FAR_TYPE, Ends, answers
from tests.streams.replicas import Link, Log, replication
from tests.streams.running import consumers, projections
from thespian_dc.journal.api import Journal, apply_schema, open_journal
from thespian_dc.model.settings import Local, Projection, Remote, Stream
from thespian_dc.projection.api import RunningProjection, local_source
from thespian_dc.projection.databases import Stores, open_stores
from thespian_dc.stream.client import RemoteSource
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """An authority that both ends trust."""
    return Authority(tmp_path / "ours")


@pytest.fixture
def foreign(tmp_path: Path) -> Authority:
    """An authority that the other end does not trust."""
    return Authority(tmp_path / "foreign")


@pytest.fixture
def journal_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
def writer(journal_url: str) -> Iterator[Writer]:
    opened = Writer(journal_url)
    yield opened
    opened.close()


@pytest.fixture
def far_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The journal of the destination of a push; see ON_BOTH."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/far.db"
    url: str = request.getfixturevalue("cassandra_url")
    apply_schema(url)
    eventually(partial(answers, url), deadline_s=60)
    return url


@pytest.fixture
def far(far_url: str) -> Iterator[Journal]:
    """The destination's journal, as another process sees it."""
    opened = open_journal(far_url)
    opened.slices(FAR_TYPE, FAR_SLICES)
    yield opened
    opened.close()


@pytest.fixture
def ends(
    writer: Writer, journal_url: str, far_url: str, recorded: Callable[[int], int]
) -> Iterator[Ends]:
    """Both ends of a push, killed with the test."""
    found = Ends(journal_url, far_url, free_port(), recorded)
    yield found
    for child in found.children.values():
        child.kill()


@pytest.fixture
def serve(journal_url: str) -> Iterator[Callable[..., tuple[StreamServer, int]]]:
    """Start a producer; returns it and its port."""
    servers: list[StreamServer] = []

    def start(**changes: Any) -> tuple[StreamServer, int]:
        settings: dict[str, Any] = {
            "service": "shop", "journal": journal_url, "listen": "127.0.0.1:0", "slices": SLICES,
            "streams": (Stream("carts", ENTITY_TYPE),),
        }  # fmt: skip
        server = StreamServer(StartProducer(**(settings | changes)))
        servers.append(server)
        return server, server.start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def consume() -> Iterator[Callable[..., tuple[RunningProjection, list[RemoteSource]]]]:
    """Run a projection over its Remote source; returns it and the sources of its runs."""
    with projections() as run:

        def start(
            settings: Projection, heartbeat_ms: int = 500
        ) -> tuple[RunningProjection, list[RemoteSource]]:
            sources: list[RemoteSource] = []

            def make() -> RemoteSource:
                assert isinstance(settings.source, Remote)
                sources.append(RemoteSource(settings.source, "ranking/test", heartbeat_ms))
                return sources[-1]

            return run(settings, make), sources

        yield start


@pytest.fixture
def read_model(tmp_path: Path) -> Path:
    """The consumer's database."""
    return tmp_path / "read.db"


@pytest.fixture
def run(read_model: Path, journal_url: str) -> Iterator[Callable[..., Child]]:
    """Start a process that runs the projection over `read_model`; killed with the test."""
    with consumers() as run:

        def start(
            handler: type = RebuiltCount, source: Local | Remote | None = None, **changes: Any
        ) -> Child:
            source = source or Local(ENTITY_TYPE, journal_url)
            return run(projection(read_model, source, handler=handler, **changes))

        yield start


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Put in what is to be killed with the test."""
    started: list[Child] = []
    yield started
    for child in started:
        child.kill()


@pytest.fixture
def run_local(journal_url: str) -> Iterator[Callable[[Projection], RunningProjection]]:
    """Run a projection over the journal of this process."""
    with projections() as run:
        yield lambda settings: run(settings, lambda: local_source(Local(ENTITY_TYPE), journal_url))


@pytest.fixture
def name() -> str:
    """Of a projection that nobody ran."""
    return f"p{uuid.uuid4().hex[:12]}"


@pytest.fixture
def stores(keyspace: str) -> Iterator[Callable[[], Stores]]:
    """Open what stands in the `keyspace` of the test's file."""
    opened: list[Stores] = []

    def one() -> Stores:
        opened.append(open_stores(keyspace))
        return opened[-1]

    yield one
    for found in opened:
        found.database.close()


@pytest.fixture
def counted(keyspace: str, name: str) -> Iterator[Callable[[], dict[str, int]]]:
    """What the projection called `name` put into that keyspace, summed over all slices."""
    from thespian_dc.projection.cassandra.read import SinkReader

    reader = SinkReader(keyspace)

    def total() -> dict[str, int]:
        sums: dict[str, int] = {}
        for (_, key), value in reader.rows(name).items():
            sums[key] = sums.get(key, 0) + value
        return sums

    yield total
    reader.close()


@pytest.fixture
def log(journal_url: str) -> Iterator[Log]:
    opened = Log(journal_url)
    yield opened
    opened.close()


@pytest.fixture
def link(serve: Any, log: Log) -> Iterator[Callable[..., Link]]:
    """A link to a producer, which is started with the first one; serving: its settings."""
    links: list[Link] = []
    ports: list[int] = []

    def make(serving: dict[str, Any] | None = None, **changes: Any) -> Link:
        if not ports:
            ports.append(serve(**{"replication": (replication(),), **(serving or {})})[1])
        made = Link(ports[0], **changes)
        links.append(made)
        return made

    yield make
    for one in links:
        one.source.stop()

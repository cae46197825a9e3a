"""Ten consumers that catch up together from Cassandra: rows of the journal that their producer
reads, against what it reads for one.

Each is a process of its own; they begin at the same moment, when all have been loaded.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from bench.entities import Account
from bench.harness import Result, digest, must_equal
from bench.history import write_log
from bench.process import child, serve
from bench.stream_ends import consume
from bench.world import cassandra, folder
from thespian_dc import Stream

EVENTS, ENTITIES, SLICES, CONSUMERS = 150_000, 1000, 16, 10
ASKED = 1.5
LOADED_S = 10.0
"""By then each process has imported what it needs, also on two busy cores."""


def run() -> list[Result]:
    with cassandra() as (_, url), folder() as path:
        last = write_log(url, EVENTS, ENTITIES, SLICES)
        one, _ = rows_read(url, path / "one", 1, digest(last))
        ten, cache_share = rows_read(url, path / "ten", CONSUMERS, digest(last))
    against = {"rows_for_one": one, f"rows_for_{CONSUMERS}": ten, "log_is_caches": cache_share}
    return [Result("together_cassandra", ten / one, ASKED, "x rows of one", "lower", against)]


def rows_read(journal: str, positions: Path, consumers: int, wanted: str) -> tuple[int, float]:
    """Commits that a fresh producer reads while so many consumers come from the log's beginning to
    its end; the size of the log in caches."""
    from thespian_dc.journal.api import open_journal
    from thespian_dc.model.ids import SliceKey
    from thespian_dc.stream.protocol import StartProducer
    from thespian_dc.stream.server import StreamServer
    from thespian_dc.stream.tail import CACHE_BYTES_MAX

    server = StreamServer(
        StartProducer("bench", journal, (Stream("accounts", Account),), "127.0.0.1:0", SLICES)
    )
    port = server.start()
    positions.mkdir()
    with contextlib.ExitStack() as running:
        settings: dict[str, Any] = {"port": port, "at": time.time() + LOADED_S}
        ends = [
            running.enter_context(
                child("bench.together", "begin", positions=str(positions / f"{n}.db"), **settings)
            )
            for n in range(consumers)
        ]  # fmt: skip
        for end in ends:
            must_equal("hash of (entity, last seq_nr)", wanted, end.hear()["digest"])
    read = server.commits_read
    server.stop()
    opened = open_journal(journal)
    first = opened.read(SliceKey("account", 0), 0, 1)[0]
    opened.close()
    return read, round(first.size_bytes / first.count * EVENTS / CACHE_BYTES_MAX, 1)


def begin(port: int, positions: str, at: float) -> None:
    """One consumer; at: the moment it begins, seconds since 1970."""
    import thespian_dc.projection.runner
    import thespian_dc.stream.client  # noqa: F401  loaded before the moment comes

    time.sleep(max(0.0, at - time.time()))
    consume(port, positions, "S", EVENTS)


if __name__ == "__main__":
    serve({"begin": begin})

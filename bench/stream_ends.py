"""Both ends of our stream as plain processes: a producer over a journal, a consumer with one
projection from its start to the journal's head."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from bench.entities import Account, Added
from bench.handlers import HANDLERS, Clock, HandlerL
from bench.harness import digest
from bench.process import say, serve, wait_for_end
from thespian_dc import Filter, Include, Projection, Remote, Stream
from thespian_dc.model.criteria import Criteria
from thespian_dc.projection.api import ProjectionStatus, RunningProjection, SourceBatch
from thespian_dc.projection.transactions import TRANSACTION_BATCHES_MAX

DEADLINE_S = 240.0


def produce(journal: str, message_events: int = 0) -> None:
    """Serve the accounts of a journal until the parent closes stdin; says the port.
    message_events: so many in a message at most; 0: as usual."""
    from thespian_dc.stream import producer_core
    from thespian_dc.stream.protocol import StartProducer
    from thespian_dc.stream.server import StreamServer

    if message_events:
        producer_core.BATCH_EVENTS_MAX = message_events
    streams = (Stream("accounts", Account),)
    server = StreamServer(StartProducer("bench", journal, streams, "127.0.0.1:0", 16))
    say(port=server.start())
    wait_for_end()
    server.stop()


def start(port: int, positions: str, handler: str, **settings: Any) -> RunningProjection:
    """settings: of the projection."""
    from thespian_dc.projection.api import start_projection
    from thespian_dc.stream.client import RemoteSource

    remote = Remote("accounts", f"127.0.0.1:{port}")
    projection = Projection(
        "sums", source=remote, handler=HANDLERS[handler], positions=f"sqlite:///{positions}",
        events=[Added], **settings,
    )  # fmt: skip
    return start_projection(projection, lambda: RemoteSource(remote, "bench/sums"))


def wait(
    running: RunningProjection, arrived: Callable[[ProjectionStatus], bool], every_s: float = 0.01
) -> None:
    """Until its status says so. A look takes 0.1 ms from the projection's thread."""
    until = time.perf_counter() + DEADLINE_S
    while not arrived(status := running.status()):
        if time.perf_counter() > until or status.phase == "halted":
            raise TimeoutError(f"the projection did not come to its end: {status}")
        time.sleep(every_s)


def follow(port: int, positions: str, events: int, probed: str = "") -> None:
    """Handle `events` events as they come; says when it runs, and then when each was sent and
    handled. probed: see bench/stages.py."""
    if probed:
        from bench.stages import probe

        probe(probed)
    running = start(port, positions, "L")
    wait(running, lambda status: status.phase == "running")
    say(running=True)
    wait(running, lambda status: status.events >= events, every_s=0.5)
    running.stop()
    say(spans=HandlerL.spans, last=HandlerL.last)


def work(port: int, positions: str, handler: str, wanted: str = "") -> None:
    """Be a worker of the projection until the parent closes stdin; says when it runs. wanted: the
    id of the only entity whose events are to pass, to begin with."""
    settings = {"filter": Include.entity_ids(wanted)} if wanted else {}
    running = start(port, positions, handler, **settings)
    wait(running, lambda status: status.phase in ("running", "idle"))
    say(running=True)
    wait_for_end()
    running.stop()


def consume(
    port: int,
    positions: str,
    handler: str,
    events: int,
    tag: str = "",
    position_events: int = 0,
    waits: bool = False,
) -> None:
    """Pass `events` events; says how long it took from the first to the last that was handled, and
    what came out. tag: handle only those. position_events: the position is stored per so many, also
    where fewer wait (`waits`)."""
    settings: dict[str, Any] = {}
    if tag:
        settings["filter"] = Filter(include=Criteria(tags=(tag,)), events_only=True)
    if position_events:
        settings["batch_events_max"] = position_events // TRANSACTION_BATCHES_MAX
    if waits:
        wait_for_full_transactions()
    started, cpu = time.perf_counter(), time.process_time()
    running = start(port, positions, handler, **settings)
    wait(running, lambda status: status.events >= events)
    cpu = time.process_time() - cpu
    running.stop()
    rows = sqlite3.connect(positions).execute("select entity_id, count, amount, last from sums")
    table = rows.fetchall()
    say(
        seconds=Clock.last_s - Clock.first_s,
        until_first_s=Clock.first_s - started,
        cpu_us_per_event=cpu / events * 1e6,
        count=sum(row[1] for row in table),
        amount=sum(row[2] for row in table),
        digest=digest({row[0]: row[3] for row in table}),
        peak_rss_mib=peak_rss_mib(),
    )


def wait_for_full_transactions() -> None:
    """No transaction of this process ends before the message that fills it."""
    from thespian_dc.projection import transactions
    from thespian_dc.projection.inbox import Inbox

    take = Inbox.take_batch

    def take_batch(inbox: Inbox, until_s: float) -> SourceBatch | None:
        return take(inbox, time.monotonic() + DEADLINE_S)

    setattr(Inbox, "take_batch", take_batch)  # noqa: B010
    transactions.TRANSACTION_MS_MAX = int(DEADLINE_S * 1000)


def peak_rss_mib() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    serve({"produce": produce, "consume": consume, "follow": follow, "work": work})

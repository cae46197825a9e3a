"""Both ends of our stream as plain processes: a producer over a journal, a consumer with one
projection from its start to the journal's head."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from bench.entities import Account, Added
from bench.handlers import HANDLERS, Clock, HandlerL
from bench.harness import digest
from bench.process import say, serve, wait_for_end
from thespian_dc import Projection, Remote, Stream
from thespian_dc.projection.api import ProjectionStatus, RunningProjection

DEADLINE_S = 240.0


def produce(journal: str) -> None:
    """Serve the accounts of a journal until the parent closes stdin; says the port."""
    from thespian_dc.stream.protocol import StartProducer
    from thespian_dc.stream.server import StreamServer

    streams = (Stream("accounts", Account),)
    server = StreamServer(StartProducer("bench", journal, streams, "127.0.0.1:0", 16))
    say(port=server.start())
    wait_for_end()
    server.stop()


def start(port: int, positions: str, handler: str) -> RunningProjection:
    from thespian_dc.projection.api import start_projection
    from thespian_dc.stream.client import RemoteSource

    remote = Remote("accounts", f"127.0.0.1:{port}")
    projection = Projection(
        "sums", source=remote, handler=HANDLERS[handler], positions=f"sqlite:///{positions}",
        events=[Added],
    )  # fmt: skip
    return start_projection(projection, lambda: RemoteSource(remote, "bench/sums"))


def wait(running: RunningProjection, arrived: Callable[[ProjectionStatus], bool]) -> None:
    """Until its status says so; a poll per 10 ms does not disturb it."""
    until = time.perf_counter() + DEADLINE_S
    while not arrived(status := running.status()):
        if time.perf_counter() > until or status.phase == "halted":
            raise TimeoutError(f"the projection did not come to its end: {status}")
        time.sleep(0.01)


def follow(port: int, positions: str, events: int, probed: str = "") -> None:
    """Handle `events` events as they come; says when it runs, and then when each was sent and
    handled. probed: see bench/stages.py."""
    if probed:
        from bench.stages import probe

        probe(probed)
    running = start(port, positions, "L")
    wait(running, lambda status: status.phase == "running")
    say(running=True)
    wait(running, lambda status: status.events >= events)
    running.stop()
    say(spans=HandlerL.spans, last=HandlerL.last)


def consume(port: int, positions: str, handler: str, events: int) -> None:
    """Handle `events` events; says how long it took from the first to the last, and what came
    out."""
    started, cpu = time.perf_counter(), time.process_time()
    running = start(port, positions, handler)
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


def peak_rss_mib() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    serve({"produce": produce, "consume": consume, "follow": follow})

"""A consumer that is far behind: a million events through gRPC, exactly once into SQLite, position
per batch. Beside it the same work done without this package, and the cost per event of a short
log."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import bare as bare_pipeline
from bench.harness import Result, digest, interleaved, median, must_equal
from bench.history import PER_COMMIT, write_log
from bench.process import Child, child
from bench.world import folder

LONG, SHORT, ENTITIES, SLICES = 1_000_000, 10_000, 1000, 16
ASKED = {"S": 150_000, "W": 80_000}
SHORT_RUNS = 5


class Source:
    """A log of `events` events, at most per_commit to a commit, and the process that serves it, in
    messages of message_events at most (0: as usual)."""

    def __init__(
        self,
        path: Path,
        events: int,
        bare: bool = False,
        per_commit: int = PER_COMMIT,
        message_events: int = 0,
    ) -> None:
        self.path, self.events = path, events
        self.settings = {"message_events": message_events} if message_events else {}
        self.module = "bench.bare" if bare else "bench.stream_ends"
        self.numbers = itertools.count()
        self.facts: list[dict[str, Any]] = []
        name = f"{'bare' if bare else 'ours'}-{events}-{per_commit}"
        if bare:
            self.journal = str(path / f"{name}.db")
            self.last = bare_pipeline.fill(self.journal, events, ENTITIES)
        else:
            self.journal = f"sqlite:///{path / f'{name}.db'}"
            self.last = write_log(self.journal, events, ENTITIES, SLICES, per_commit)
        self.producer: Child

    def median_of_some(self, handler: str) -> float:
        return median([self.consume(handler) for _ in range(SHORT_RUNS)])

    def consume(self, handler: str, **more: Any) -> float:
        """Seconds per event, from the first to the last, in a fresh consumer process."""
        positions = self.path / f"positions-{self.events}-{handler}-{next(self.numbers)}.db"
        settings = {"positions": str(positions), "handler": handler, "events": self.events, **more}
        with child(self.module, "consume", port=self.port, **settings) as consumer:
            said = consumer.hear()
        must_equal("events handled", self.events, said["count"])
        must_equal("sum of amounts", self.events, said["amount"])
        must_equal("hash of (entity, last seq_nr)", digest(self.last), said["digest"])
        for leftover in self.path.glob(f"{positions.name}*"):
            leftover.unlink()
        self.facts.append({"handler": handler, **said})
        return float(said["seconds"]) / self.events

    def cpu_us(self, handler: str) -> float:
        """CPU of the consumer process, per event, median."""
        found = [one["cpu_us_per_event"] for one in self.facts if one["handler"] == handler]
        return round(median(found), 2)

    @contextlib.contextmanager
    def serving(self) -> Any:
        with child(self.module, "produce", journal=self.journal, **self.settings) as producer:
            self.port = producer.hear()["port"]
            yield self


def run() -> list[Result]:
    with folder() as path, contextlib.ExitStack() as stack:
        long, short = Source(path, LONG), Source(path, SHORT)
        bare = Source(path, LONG, bare=True)
        for one in (long, short, bare):
            stack.enter_context(one.serving())
        sides: dict[str, Callable[[], float]] = {}
        for handler in ASKED:
            sides[f"{handler} long"] = partial(long.consume, handler)
            sides[f"{handler} short"] = partial(short.median_of_some, handler)
        sides["bare"] = lambda: bare.consume("S")
        figures = {name: median(taken) for name, taken in interleaved(sides).items()}
    times = figures["bare"] / figures["S long"]
    results = [Result("catch_up_S_over_bare", times, 0.7, "x bare pipeline", "higher")]
    for handler, asked in ASKED.items():
        rate = 1 / figures[f"{handler} long"]
        against = {
            "us_per_event": round(figures[f"{handler} long"] * 1e6, 2),
            "cpu_us_per_event_in_the_consumer": long.cpu_us(handler),
            "peak_rss_mib": max(one["peak_rss_mib"] for one in long.facts),
            "bare_pipeline_s_per_s": round(1 / figures["bare"]),
        }
        results.append(
            Result(f"catch_up_{handler}", round(rate), asked, "events/s", "higher", against)
        )
        ratio = figures[f"{handler} long"] / figures[f"{handler} short"]
        against = {"us_per_event_of_10k": round(figures[f"{handler} short"] * 1e6, 2)}
        results.append(
            Result(f"catch_up_{handler}_1m_over_10k", ratio, 1.25, "x", "lower", against)
        )
    return results

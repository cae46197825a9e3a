"""A projection handles all events again, with two workers and with one, each a process; its handler
is busy 50 us with each event.

From the wish to the last event: slices gathered at one worker, tables emptied, slices shared again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

from bench.catch_up import ENTITIES, SLICES
from bench.harness import Result, digest, interleaved, median, must_equal
from bench.history import write_log
from bench.process import child
from bench.world import folder
from thespian_dc import Projections

EVENTS = 150_000
ASKED = 1.4
DEADLINE_S = 120.0


def run() -> list[Result]:
    with folder() as path, contextlib.ExitStack() as running:
        journal = f"sqlite:///{path / 'log.db'}"
        wanted = digest(write_log(journal, EVENTS, ENTITIES, SLICES))
        producer = running.enter_context(child("bench.stream_ends", "produce", journal=journal))
        port, sides = producer.hear()["port"], {}
        for workers in (1, 2):
            side = Side(path / f"of-{workers}.db", wanted)
            settings = {"port": port, "positions": str(side.path), "handler": "B"}
            for _ in range(workers):
                running.enter_context(child("bench.stream_ends", "work", **settings)).hear()
            side.wait()
            sides[f"{workers}"] = side.rebuild
        figures = {name: median(taken) for name, taken in interleaved(sides).items()}
    against = {f"s_with_{name}": round(figure, 2) for name, figure in figures.items()}
    times = figures["1"] / figures["2"]
    return [Result("rebuild_two_workers", times, ASKED, "x one worker", "higher", against)]


class Side:
    """The database of one number of workers. wanted: the hash of (entity, last seq_nr)."""

    def __init__(self, path: Path, wanted: str) -> None:
        self.path, self._wanted = path, wanted
        self._projections = Projections(f"sqlite:///{path}")

    def rebuild(self) -> float:
        """Seconds."""
        started = time.perf_counter()
        self._projections.rebuild("sums", timeout_s=DEADLINE_S)
        took = self.wait() - started
        rows = sqlite3.connect(self.path).execute("select entity_id, count, last from sums")
        table = rows.fetchall()
        must_equal("events handled", EVENTS, sum(count for _, count, _ in table))
        found = digest({entity_id: last for entity_id, _, last in table})
        must_equal("hash of (entity, last seq_nr)", self._wanted, found)
        return took

    def wait(self) -> float:
        """Until all is handled; when that was seen."""
        until = time.perf_counter() + DEADLINE_S
        while sum(self._projections.positions("sums").values()) < EVENTS:
            must_equal("in time", True, time.perf_counter() < until)
            time.sleep(0.02)
        return time.perf_counter()

"""A consumer that is far behind and wants one event in a hundred, by its tag: events scanned per
second, of which the filter at the producer passes 1 %."""

from __future__ import annotations

import itertools
from pathlib import Path

from bench.catch_up import ENTITIES, LONG, SLICES
from bench.harness import Result, digest, interleaved, median, must_equal
from bench.history import write_log
from bench.process import child
from bench.world import folder

EVERY, TAG = 100, "picked"
ASKED = 400_000


def tags_of(number: int) -> tuple[str, ...]:
    """Each entity has its turn: the hundredth of each round is another's."""
    return (TAG,) if (number + number // ENTITIES) % EVERY == 0 else ()


def run() -> list[Result]:
    with folder() as path:
        journal = f"sqlite:///{path / 'log.db'}"
        write_log(journal, LONG, ENTITIES, SLICES, tags_of=tags_of)
        with child("bench.stream_ends", "produce", journal=journal) as producer:
            port = producer.hear()["port"]
            numbers = itertools.count()
            [taken] = interleaved({"ours": lambda: scan(port, path, next(numbers))}).values()
    against = {"passed": LONG // EVERY, "us_per_event": round(median(taken) * 1e6, 2)}
    rate = round(1 / median(taken))
    return [Result("catch_up_filtered", rate, ASKED, "events/s scanned", "higher", against)]


def scan(port: int, path: Path, number: int) -> float:
    """Seconds per event of the log, from the first to the last handled."""
    positions = str(path / f"positions-{number}.db")
    settings = {"positions": positions, "handler": "S", "events": LONG, "tag": TAG}
    with child("bench.stream_ends", "consume", port=port, **settings) as consumer:
        said = consumer.hear()
    must_equal("events handled", LONG // EVERY, said["count"])
    picked = {f"a-{n % ENTITIES}": n // ENTITIES + 1 for n in range(LONG) if tags_of(n)}
    must_equal("hash of (entity, last seq_nr)", digest(picked), said["digest"])
    return float(said["seconds"]) / LONG

"""Where the time between a tell and a remote handler goes: `python -m bench.stages [cassandra]`.

The load of bench/latency.py with a clock read at the seams below, by methods wrapped for this run
alone: in this process before its actor system is forked off, and in the consumer's. All stamps are
CLOCK_MONOTONIC, which processes share. An event's stamp of a stage is the last between its tell and
its handling: at 100 a second two are seldom under way at once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import sys
import time
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench.harness import percentiles_ms
from bench.latency import spans_of_ours
from bench.world import cassandra

MEMORY = "/dev/shm"  # a disk whose cache is being written out holds up whoever writes more
STAMP = struct.Struct("=Bq")


class Seam(NamedTuple):
    """The clock is read when the method is called."""

    what: str
    module: str
    owner: str
    method: str


SEAMS = (
    Seam("client's thread has it", "thespian_dc.entity.router", "Router", "submit"),
    Seam("host has the frame", "thespian_dc.entity.host_actor", "HostActor", "_on_frame"),
    Seam("handled, append asked", "thespian_dc.entity.journal_threads", "JournalThreads", "append"),
    Seam("appended, hint made", "thespian_dc.shell.doorbell", "Ringer", "ring"),
    Seam("producer has the hint", "thespian_dc.stream.server", "StreamServer", "_on_bell"),
    Seam("batch formed", "thespian_dc.stream.pull", "PullCall", "_send"),
    Seam("consumer's loop has it", "thespian_dc.stream.consumer_core", "ConsumerCore", "on_batch"),
    Seam("projection's thread has it", "thespian_dc.projection.transactions", "Transactions",
         "batch"),
    Seam("handler called", "bench.handlers", "HandlerL", "handle"),
)  # fmt: skip


def probe(folder: str) -> None:
    """Wrap the seams in this process and in those it forks; each writes a file of its own there."""
    for number, seam in enumerate(SEAMS):
        __import__(seam.module)
        owner = getattr(sys.modules[seam.module], seam.owner)
        wrapped = _wrapped(getattr(owner, seam.method), number, folder)
        setattr(owner, seam.method, wrapped)


_files: dict[int, int] = {}


def _stamp(number: int, folder: str) -> None:
    pid = os.getpid()
    if pid not in _files:
        _files[pid] = os.open(f"{folder}/{pid}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(_files[pid], STAMP.pack(number, time.monotonic_ns()))


def _wrapped(method: Any, number: int, folder: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(*args: Any, **kwargs: Any) -> Any:
        _stamp(number, folder)
        return method(*args, **kwargs)

    return called


def taken(folder: Path) -> list[list[int]]:
    """By seam, when it was passed, in order."""
    found: list[list[int]] = [[] for _ in SEAMS]
    for file in folder.iterdir():
        for number, at in STAMP.iter_unpack(file.read_bytes()):
            found[number].append(at)
    return [sorted(stamps) for stamps in found]


def stages(span: tuple[int, int], stamps: list[list[int]]) -> list[int]:
    """Of an event, sent and handled then, the nanoseconds from each seam to the next; [] where it
    missed one."""
    sent, at = span
    passed: list[int] = []
    for times in reversed(stamps):
        found = bisect_right(times, at) - 1
        if found < 0 or times[found] < sent:
            return []
        at = times[found]
        passed.append(at)
    return [after - before for before, after in pairwise([sent, *reversed(passed)])]


def main(backend: str = "sqlite") -> None:
    """Prints per seam the time from the one before: p50, p99, and the mean among the slowest
    hundredth of all events."""
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(TemporaryDirectory(dir=MEMORY))
        journal = stack.enter_context(cassandra())[1] if backend == "cassandra" else ""
        probe(path)
        spans = spans_of_ours(journal, path)
        stamps = taken(Path(path))
    rows = [row for row in (stages(span, stamps) for span in spans) if row]
    slowest = sorted(rows, key=sum)[-max(1, len(rows) // 100) :]
    print(f"{len(rows)} of {len(spans)} events{'p50':>29}{'p99':>8}{'slowest 1 %, mean, ms':>24}")
    for number, seam in enumerate(SEAMS):
        found = percentiles_ms(row[number] / 1e9 for row in rows)
        worst = sum(row[number] for row in slowest) / len(slowest) / 1e6
        print(f"{seam.what:<44}{found['p50_ms']:>8.3f}{found['p99_ms']:>8.3f}{worst:>10.3f}")
    whole = percentiles_ms(sum(row) / 1e9 for row in rows)
    print(f"{'in all':<44}{whole['p50_ms']:>8.3f}{whole['p99_ms']:>8.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

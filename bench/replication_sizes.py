"""What replication adds to an event, and what an operation on a large set costs: bytes and CPU."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from bench.entities import TEXT, Added
from bench.harness import Result, interleaved
from thespian_dc.codec.api import Registry
from thespian_dc.crdt.api import CRDT_TYPES, OrSet
from thespian_dc.model.record import EVENT, Record, pack_record
from thespian_dc.model.replication import (
    ORIGIN_META,
    ReplicaMeta,
    local_meta,
    mark_of,
    offset_in_origin,
    remote_meta,
)

SLOT = 1_000_003
SMALL, LARGE = 100, 10_000
TIMES, ROUNDS = 200, 15


def run() -> list[Result]:
    return [*metadata(), *sets()]


def metadata() -> list[Result]:
    """Of a record of one of three replicas whose slots are above a million."""
    body = Registry([Added]).encode(Added(TEXT, 1))
    plain = Record(EVENT, "account-1", SLOT, *body)
    others = {"eu": SLOT + 1, "us": SLOT + 2}
    written = local_meta(SLOT, others)
    came = remote_meta(
        ReplicaMeta("as", SLOT, others, offset_in_origin(0, 50_000_000), mark_of(b"\xff" * 16))
    )
    size = len(pack_record(plain))
    results = []
    for name, meta in (("local", written), ("remote", came)):
        more = len(pack_record(plain._replace(meta={ORIGIN_META: meta}))) - size
        against = {"plain_bytes": size}
        results.append(
            Result(f"replication_bytes_{name}", more, 40, "bytes more", "lower", against)
        )
    return results


def sets() -> list[Result]:
    """Adding an element to a set and removing it again, prepared and applied."""
    registry = Registry(list(CRDT_TYPES))
    made = {size: filled(size) for size in (SMALL, LARGE)}
    sides: dict[str, Callable[[], float]] = {
        f"{what} {size}": lambda what=what, found=found: cpu_us(what, found)  # type: ignore[misc]
        for what in ("add", "remove")
        for size, found in made.items()
    }
    gc.collect()
    taken = interleaved(sides, ROUNDS)
    results = []
    for what in ("add", "remove"):
        sizes = {
            size: len(registry.encode(operation(what, found))[1]) for size, found in made.items()
        }
        us = {size: round(min(taken[f"{what} {size}"]), 2) for size in made}
        results += [
            Result(f"or_set_{what}_bytes", sizes[LARGE] / sizes[SMALL], 2, "x", "lower",
                   {f"bytes_of_{size}": count for size, count in sizes.items()}),
            Result(f"or_set_{what}_cpu", us[LARGE] / us[SMALL], 2, "x", "lower",
                   {f"us_of_{size}": one for size, one in us.items()}),
        ]  # fmt: skip
    return results


def filled(size: int) -> OrSet[str]:
    """By three replicas in turn."""
    found: OrSet[str] = OrSet()
    for number in range(size):
        found = found.apply(found.add(f"element-{number}", replica=("as", "eu", "us")[number % 3]))
    return found


def operation(what: str, found: OrSet[str]) -> object:
    return found.add("one-more", replica="eu") if what == "add" else found.remove("element-50")


def cpu_us(what: str, found: OrSet[str]) -> float:
    """CPU microseconds of one operation, prepared and applied."""
    started = time.process_time()
    for _ in range(TIMES):
        found.apply(operation(what, found))
    return (time.process_time() - started) / TIMES * 1e6

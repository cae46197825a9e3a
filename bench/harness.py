"""How a figure is taken: both sides warmed up, then A-B-A-B, medians of at least three, written
with the machine's facts."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "latest.json"
ROUNDS = 3


@dataclass
class Result:
    """One figure. better: "higher" or "lower"; `against` holds what it was measured against and all
    that stands beside it."""

    bench: str
    reached: float
    asked: float
    unit: str
    better: str
    against: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return self.reached >= self.asked if self.better == "higher" else self.reached <= self.asked


class MismatchError(Exception):
    """What came out is not what went in: the figure is void."""


def interleaved(
    sides: Mapping[str, Callable[[], float]], rounds: int = ROUNDS, warm_up_s: float = 0.0
) -> dict[str, list[float]]:
    """Call all sides in turn, once and for at least warm_up_s, to warm them up, and then `rounds`
    times; returns the figures of these, in order."""
    started = time.monotonic()
    while True:
        for warm_up in sides.values():
            warm_up()
        if time.monotonic() - started >= warm_up_s:
            break
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            figures[name].append(side())
    return figures


def median(figures: Sequence[float]) -> float:
    return statistics.median(figures)


def percentiles_ms(latencies_s: Iterable[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(latencies_s)
    if not ordered:
        return {}
    last = len(ordered) - 1
    at = {share: ordered[min(last, int(share * len(ordered)))] for share in (0.50, 0.99)}
    return {"p50_ms": round(at[0.50] * 1e3, 3), "p99_ms": round(at[0.99] * 1e3, 3)}


def digest(heads: Mapping[str, int]) -> str:
    """A hash of (entity, last seq_nr): equal on both ends of a run, or the run is void."""
    text = "\n".join(f"{entity}:{seq_nr}" for entity, seq_nr in sorted(heads.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def must_equal(what: str, wanted: object, found: object) -> None:
    if wanted != found:
        raise MismatchError(f"{what}: expected {wanted}, found {found}")


def machine() -> dict[str, Any]:
    """Facts without which the absolute figures mean nothing."""
    with Path("/proc/meminfo").open() as lines:
        memory_kib = int(next(lines).split()[1])
    packages = ("thespian", "grpcio", "protobuf", "msgpack", "cassandra-driver", "eventsourcing")
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(memory_kib / (1 << 20)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_1min_at_start": os.getloadavg()[0],
        "packages": {name: version(name) for name in packages},
        "time": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
    }


def write(results: Sequence[Result], facts: Mapping[str, Any], complete: bool) -> None:
    """Write latest.json; a partial run replaces only its own figures."""
    rows = [{**asdict(r), "holds": r.holds} for r in results]
    if not complete and RESULTS.exists():
        fresh = {row["bench"] for row in rows}
        rows = [
            r for r in json.loads(RESULTS.read_text())["results"] if r["bench"] not in fresh
        ] + rows
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": facts, "results": rows}, indent=1) + "\n")


def show(results: Sequence[Result], out: Any = sys.stdout) -> None:
    print(f"{'bench':<44}{'reached':>12}{'asked':>12}  {'unit':<14}holds", file=out)
    for r in results:
        sign = ">=" if r.better == "higher" else "<="
        print(
            f"{r.bench:<44}{r.reached:>12.4g}{sign + format(r.asked, '.4g'):>12}  {r.unit:<14}"
            f"{'yes' if r.holds else 'NO'}",
            file=out,
        )
        for name, value in r.against.items():
            print(f"    {name}: {value}", file=out)

"""What processes of a benchmark cost: their CPU time, from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def cpu_of(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """The same of several, by name: of all that have it."""
    return {name: sum(map(cpu_s, of_name)) for name, of_name in pids.items()}

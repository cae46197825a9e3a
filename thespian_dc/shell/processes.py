"""Whether another process of this machine lives."""

from __future__ import annotations

import os
from functools import cache


@cache
def machine() -> str:
    """Where a pid means the same process: this boot of this machine, this namespace of pids; ""
    where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
            return f"{boot.read().strip()}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def lives(pid: int) -> bool:
    """Whether a process of this machine has this pid and has not ended."""
    if not machine():
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False

"""Processes that tests started and that outlive them: found by a mark, ended by pid.

Thespian's actors outlive the program that made them. Whatever is started with exec inherits the
environment, so a variable with a random value marks all that a test (or a whole run) started; what
those fork has it too. Nothing else on the machine carries that value.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from multiprocessing import resource_tracker
from pathlib import Path


def marked(name: str, value: str) -> set[int]:
    """The running processes with this environment variable, without us and our ancestors."""
    mark = f"{name}={value}".encode()
    pids = {int(entry.name) for entry in Path("/proc").glob("[0-9]*")}
    return {pid for pid in pids if mark in _read(pid, "environ").split(b"\0")} - _ancestors()


def end(pids: Iterable[int]) -> list[str]:
    """SIGKILL each; return what they were, for the record."""
    ended = []
    for pid in pids:
        what = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")[:120]
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        ended.append(f"{pid} {what}")
    return ended


def end_tracker() -> None:
    """End what multiprocessing started beside the first child that was spawned, for the rest of
    this process's life."""
    tracker = resource_tracker._resource_tracker
    if tracker._pid is not None:
        end([tracker._pid])  # forks may hold its pipe, at whose end it would end by itself
        tracker._stop()


def started_at(pid: int) -> str:
    """The start time in clock ticks, as text; empty when there is no such process (or no /proc)."""
    after_name = _read(pid, "stat").rpartition(b")")[2].split()
    return after_name[19].decode() if after_name else ""


def _ancestors() -> set[int]:
    pids, pid = set(), os.getpid()
    while pid > 0:
        pids.add(pid)
        after_name = _read(pid, "stat").rpartition(b")")[2].split()
        pid = int(after_name[1]) if after_name else 0
    return pids


def _read(pid: int, name: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / name).read_bytes()
    except OSError:
        return b""

"""Actor systems and nodes for the process tests. Every process is recorded by pid and start time,
and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thespian.actors import ActorSystem

from tests import laws
from tests.left_behind import started_at
from tests.ports import free_port
from tests.processes.shop import Counter
from thespian_dc.model.settings import Settings
from thespian_dc.node import Node
from thespian_dc.testkit.eventually import eventually

ROLES = ("hosts", "producers", "consumers", "types")


def start_system(capabilities: dict[str, Any]) -> Any:
    """An actor system that is forked from a process of its own; whoever asks ends it."""
    start = [sys.executable, "-m", "tests.processes.start_admin"]
    subprocess.run([*start, json.dumps(capabilities)], cwd=laws.ROOT, check=True, timeout=60)
    return ActorSystem("multiprocTCPBase", dict(capabilities), transientUnique=True)  # that one


class Running:
    """One actor system of its own, whatever else runs in this process."""

    def __init__(self, method: str = "fork") -> None:
        self.capabilities: dict[str, Any] = {
            "Admin Port": free_port(),
            "Process Startup Method": method,
        }
        self._seen: dict[int, str] = {}
        self.system = start_system(self.capabilities)
        self.admin = _listening_on(int(self.capabilities["Admin Port"]))
        self.record()

    def record(self) -> None:
        """Remember the Admin and whatever it has started by now."""
        for pid in {self.admin, *_children(self.admin)}:
            self._seen.setdefault(pid, started_at(pid))

    def start(self, settings: Settings) -> Node:
        node = Node.start(self.system, settings)
        self.record()
        return node

    def alive(self) -> set[int]:
        return {pid for pid, at in self._seen.items() if _runs(pid, at)}

    def close(self) -> None:
        self.record()
        self.system.shutdown()
        try:
            eventually(lambda: not self.alive(), deadline_s=30)
        except AssertionError:
            for pid in self.alive():
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            for pid in self.alive():
                os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """As if the machine lost power."""
        self.record()
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


@contextmanager
def running(method: str = "fork") -> Iterator[Running]:
    one = Running(method)
    try:
        yield one
    finally:
        one.close()


def shop(folder: Path, **more: Any) -> Settings:
    """Counters over one SQLite file in `folder`."""
    more.setdefault("entities", [Counter])
    return Settings(service="shop", journal=f"sqlite:///{folder}/shop.db", **more)


def hosts(node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = node.status()["hosts"]
    return found


def pids(node: Node) -> set[int]:
    status = node.status()
    return {leaf["pid"] for role in ROLES for leaf in status[role] if leaf["pid"]}


def owned(*nodes: Node) -> list[int]:
    """How many slices each host of each node owns."""
    return [len(host.get("owned", ())) for node in nodes for host in hosts(node)]


def _children(pid: int) -> set[int]:
    return {
        int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _parent(int(entry.name)) == pid
    }


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if len(fields) > 1 else -1


def _stat(pid: int) -> list[str]:
    try:
        text = (Path("/proc") / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _runs(pid: int, at: str) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX" and started_at(pid) == at


def _listening_on(port: int) -> int:
    """The process that listens there: the eldest of those that have the socket."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port
    }
    found = [int(fd.parts[2]) for fd in Path("/proc").glob("[0-9]*/fd/*") if _link(fd) in wanted]
    return min(found)


def _link(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""

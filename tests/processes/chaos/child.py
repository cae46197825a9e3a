"""Processes of a chaos run: told what to do by lines, heard by lines of JSON, ended to the last.

Thespian's actors outlive who made them; each child's environment carries a mark that all it forks
have too, and by that mark they are found.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from tests import laws, left_behind

MARK = "THESPIAN_DC_CHAOS"


class Child:
    """`latest` holds the newest value of each fact it said."""

    def __init__(self, module: str, log: Path, *options: str, **environment: str) -> None:
        self.name, self.log, self.latest = module, log, dict[str, Any]()
        self.mark = uuid.uuid4().hex
        self._news = threading.Condition()
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"tests.processes.chaos.{module}", *options],
                cwd=laws.ROOT,
                env={**os.environ, **environment, MARK: self.mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def order(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line: str, fact: str, within_s: float = 60.0) -> Any:
        """Give an order and wait for the fact that answers it."""
        with self._news:
            self.latest.pop(fact, None)
        self.order(line)
        return self.wait_for(fact, within_s)

    def wait_for(self, fact: str, within_s: float = 60.0) -> Any:
        with self._news:
            self._news.wait_for(lambda: {fact, "failed", "ended"} & self.latest.keys(), within_s)
            assert fact in self.latest, (
                f"{self.name} did not say {fact!r} within {within_s:.0f} s: {self.latest}; its "
                f"log ends:\n{self.log.read_text()[-3000:]}"
            )
            return self.latest[fact]

    def pids(self) -> set[int]:
        """It and all that was forked from it and still runs."""
        return left_behind.marked(MARK, self.mark)

    def kill_all(self) -> None:
        """SIGKILL for it and all its actors, as when a machine loses power."""
        while pids := self.pids():
            for pid in pids:
                send(pid, signal.SIGKILL)
        self.process.wait()

    def end(self, within_s: float = 30.0) -> None:
        """In good order; what is left then is killed."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.order("end")
            self.process.wait(within_s)
        self.kill_all()
        self._reader.join(5)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError), self._news:
                self.latest.update(json.loads(line))
                self._news.notify_all()
        with self._news:
            self.latest["ended"] = True
            self._news.notify_all()


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def listening(port: int, pids: set[int]) -> int:
    """Which of these processes listens on the port; 0 if none."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor) in inodes:
                        return pid
    return 0

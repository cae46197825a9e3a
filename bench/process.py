"""A child process of a benchmark: starts with one JSON argument, says JSON lines, ends when its
stdin does."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
END_S = 10.0


class Child:
    """One side of a pipeline, in a process of its own."""

    def __init__(self, module: str, role: str, **settings: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, role, json.dumps(settings)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def hear(self) -> dict[str, Any]:
        """The next line it says; ChildError where it ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildError(self._process.args, self._process.wait(END_S))
        said: dict[str, Any] = json.loads(line)
        return said

    def end(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ChildError(Exception):
    """A benchmark's child process ended before it said what it had measured."""


@contextlib.contextmanager
def child(module: str, role: str, **settings: Any) -> Iterator[Child]:
    started = Child(module, role, **settings)
    try:
        yield started
    finally:
        started.end()


def say(**facts: Any) -> None:
    """In the child."""
    print(json.dumps(facts), flush=True)


def serve(roles: dict[str, Any]) -> None:
    """The child's `main`: the role it was started with, called with its settings."""
    roles[sys.argv[1]](**json.loads(sys.argv[2]))


def wait_for_end() -> None:
    """Until the parent closes this process's stdin, or is gone."""
    sys.stdin.read()

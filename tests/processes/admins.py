"""Actor systems that processes of their own start, and end when the test is over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from tests.laws import ROOT
from tests.left_behind import end, marked
from thespian_dc.testkit.eventually import eventually

MARK = "THESPIAN_DC_TEST_ADMIN"


@contextmanager
def admins() -> Iterator[Callable[[str], int]]:
    """Start one, given how it starts actors; its Admin port. At the end all of their processes are
    gone: a spawned actor, and what multiprocessing starts beside it, outlive the shutdown a bit."""
    value = uuid4().hex
    started: list[subprocess.Popen[str]] = []

    def start(method: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.admin_actor", method], cwd=ROOT,
            env=os.environ | {MARK: value}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    try:
        yield start
        for process in started:
            assert process.stdin is not None
            process.stdin.write("end\n")
            process.stdin.flush()
            process.wait(60)
        eventually(lambda: not marked(MARK, value), 60)
    finally:
        end(marked(MARK, value))
        for process in started:
            process.wait(60)

"""A program of the samples that is ended as users end it: nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from tests.laws import ROOT
from tests.left_behind import end, marked
from thespian_dc.testkit.eventually import eventually

MARK = "THESPIAN_DC_TEST_SAMPLE"


def check_ended_twice(
    script: str, folder: Path, processes: int, up_s: float, gone_s: float
) -> None:
    """By SIGTERM to its process group, as from a terminal or `timeout`, and by another one while it
    ends what it started for that: it ends when all of that is gone. processes: how many it has in
    all. up_s, gone_s: until they are there, and until none is left once it has ended."""
    value = uuid4().hex
    program = subprocess.Popen(
        [sys.executable, ROOT / "samples" / script],
        env=os.environ | {MARK: value, "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        eventually(lambda: len(marked(MARK, value)) >= processes, deadline_s=up_s)
        os.killpg(program.pid, signal.SIGTERM)
        eventually(lambda: len(marked(MARK, value)) < processes, deadline_s=60)
        os.killpg(program.pid, signal.SIGTERM)
        assert program.wait(60) == 143
        eventually(lambda: not marked(MARK, value), deadline_s=gone_s)
    finally:
        end(marked(MARK, value))
        program.wait(60)

"""The doctor beside a real actor system: its port is seen, and how it starts actors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.processes.admins import admins

pytestmark = pytest.mark.processes


@pytest.fixture
def start() -> Iterator[Callable[[str], int]]:
    """Start an actor system by a method; its Admin port."""
    with admins() as starting:
        yield starting


@pytest.mark.parametrize(("method", "word"), [("fork", "forked"), ("spawn", "spawned")])
def test_a_running_admin_is_seen(
    start: Callable[[str], int], recorded: Callable[[int], int], method: str, word: str
) -> None:
    """Thespian listens on every interface and runs what it is sent: that must not go unnoticed."""
    port = start(method)
    done = subprocess.run(
        [
            sys.executable, "-c", "from thespian_dc.cli.main import main; main()",
            "doctor", "--admin-port", str(port), "--json",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert found["thespian-port"]["status"] == "FAIL"
    assert f"port {port} listens on 0.0.0.0" in found["thespian-port"]["found"]
    assert f"was {word}" in found["start-method"]["found"]
    (pid,) = re.findall(r"pid (\d+)", found["start-method"]["found"])
    recorded(int(pid))

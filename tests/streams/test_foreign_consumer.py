"""A consumer in JavaScript, written from the .proto and docs/protocol.md alone, against a real
producer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.streams.material import Added, Writer
from thespian_dc.testkit.eventually import eventually, never

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "foreign_consumer"
INSTALLED = ROOT / ".cache" / "foreign_consumer"
PROTO = ROOT / "protos" / "thespian_dc" / "v1" / "streams.proto"
INSTALL_S = 90


@pytest.fixture(scope="module")
def consumer() -> Path:
    """The program with its packages beside it, installed once per lock file."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        unless_ci(f"{' and '.join(missing)} not found; install Node.js 20")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    lock = (SAMPLE / "package-lock.json").read_bytes()
    done = INSTALLED / "installed.lock"
    for name in ("consumer.js", "package.json", "package-lock.json", ".npmrc"):
        shutil.copy(SAMPLE / name, INSTALLED)
    if not done.exists() or done.read_bytes() != lock:
        install = ["npm", "ci", "--prefer-offline", "--no-progress"]
        ran = subprocess.run(
            install, cwd=INSTALLED, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
        if ran.returncode:
            unless_ci(f"npm ci failed: {ran.stderr[-500:]}")
        done.write_bytes(lock)
    return INSTALLED / "consumer.js"


def unless_ci(reason: str) -> None:
    if os.environ.get("THESPIAN_DC_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class Running:
    """One run of the program."""

    def __init__(
        self, process: subprocess.Popen[bytes], printed: Path, errors: Path, positions: Path
    ) -> None:
        self._process, self._positions = process, positions
        self._printed, self._errors = printed, errors

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it printed, whole lines."""
        lines = self._printed.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    @property
    def errors(self) -> str:
        return self._errors.read_text(encoding="utf-8")

    @property
    def handled(self) -> int:
        """Offsets behind the positions it keeps."""
        kept = json.loads(self._positions.read_text(encoding="utf-8"))["positions"]
        return sum(int(at["offset"]) for at in kept.values())

    def ended(self, within_s: float = 20) -> int:
        return self._process.wait(within_s)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def run(consumer: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """run(port, stream_id, *tags): start the program; its positions stay from run to run."""
    started: list[Running] = []

    def start(port: int, stream_id: str, *tags: str) -> Running:
        printed, errors = (tmp_path / f"{len(started)}.{kind}" for kind in ("out", "err"))
        positions = tmp_path / "positions.json"
        arguments = [f"127.0.0.1:{port}", stream_id, str(positions), str(PROTO)]
        with printed.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                ["node", str(consumer), *arguments, *tags], stdout=out, stderr=err
            )
        started.append(Running(process, printed, errors, positions))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def keys(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["entity_id"], event["seq_nr"]) for event in events]


def test_another_language_consumes_and_goes_on_where_it_was_killed(
    writer: Writer, serve: Any, run: Any
) -> None:
    """More events than its credit; killed; more events; each printed once, in order."""
    for n in range(30):
        writer.add([(f"c-{i}", Added("apple", n)) for i in range(50)])
    _, port = serve()
    first = run(port, "carts")
    eventually(lambda: len(first.events) == 1500 or first.errors, 30)
    assert first.errors == ""
    eventually(lambda: len(first.events) == 1500)
    assert sorted(keys(first.events)) == sorted(
        (f"c-{i}", n + 1) for i in range(50) for n in range(30)
    )
    one = [event for event in first.events if event["entity_id"] == "c-7"]
    assert [event["seq_nr"] for event in one] == list(range(1, 31))
    assert one[4]["payload"] == {"sku": "apple", "quantity": 4}
    eventually(lambda: first.handled == 1500)
    first.kill()
    writer.add([("c-7", Added("pear", 1))])
    again = run(port, "carts")
    eventually(lambda: keys(again.events) == [("c-7", 31)], 20)
    writer.add([("c-8", Added("pear", 1))])
    eventually(lambda: keys(again.events) == [("c-7", 31), ("c-8", 31)])
    never(lambda: len(again.events) > 2, within_s=0.3)


def test_another_language_filters_and_is_refused_by_name(
    writer: Writer, serve: Any, run: Any
) -> None:
    writer.add([("c-1", Added("apple", 1))], tags=("small",))
    writer.add([("c-2", Added("apple", 9))], tags=("large",))
    _, port = serve()
    only = run(port, "carts", "large")
    eventually(lambda: keys(only.events) == [("c-2", 1)], 20)
    assert only.events[0]["tags"] == ["large"]
    refused = run(port, "secrets")
    assert refused.ended() == 1
    assert refused.errors.startswith("5 no stream is called 'secrets' here")

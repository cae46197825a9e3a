"""`thespian-dc stream tail`: what a stream shows, to somebody who keeps no position."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import pytest
from click.testing import CliRunner

from tests import laws
from tests.streams.material import Added, Writer
from thespian_dc.cli.main import main
from thespian_dc.model.criteria import UNFILTERED
from thespian_dc.model.settings import Remote
from thespian_dc.projection.api import SourceBatch, SourceEvents, noted_consumers
from thespian_dc.stream.client import RemoteSource
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
# What is started in the background ignores SIGINT, and so do its children: the tests may be.
CODE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from thespian_dc.cli.main import main
main()
"""
PROGRAM = [sys.executable, "-c", CODE]

Tail = Callable[..., Any]


@pytest.fixture
def tail(serve: Any) -> Tail:
    """Print so many events of the stream, from its beginning unless told otherwise."""
    _, port = serve()

    def call(*words: str, limit: int, begin: tuple[str, ...] = ("--from", "beginning")) -> Any:
        at = f"127.0.0.1:{port}"
        words = ("stream", "tail", at, "carts", *begin, "--limit", str(limit), *words)
        return CliRunner().invoke(main, words)

    return call


def objects(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_from_the_beginning(writer: Writer, tail: Tail) -> None:
    """Readable payloads, without their classes; the same as text."""
    writer.add([("c-1", Added("apple", 1)), ("c-1", Added("pear", 2))], tags=("large",))
    first, second = objects(tail("--json", limit=2))
    assert (first["entity_id"], first["seq_nr"], first["tags"]) == ("c-1", 1, ["large"])
    assert second["payload"]["sku"] == "pear"
    assert second["offset"] == first["offset"] + 1
    assert noted_consumers(writer.journal, "cart") == [], "what is not handled is not waited for"
    assert 'c-1#2 Added/1 tags=large {"' in tail(limit=2).output


@pytest.mark.parametrize("looks_on", [False, True])
def test_what_handles_is_waited_for_whatever_its_name(
    writer: Writer, serve: Any, looks_on: bool
) -> None:
    """Who only looks on says so itself: no name means it."""
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve()
    source = RemoteSource(Remote("carts", f"127.0.0.1:{port}"), "stream tail", looks_on=looks_on)
    came: SimpleQueue[Any] = SimpleQueue()
    ignore = SimpleQueue[Any]().put
    source.start("", {}, UNFILTERED, None, SourceEvents(ignore, came.put, ignore, came.put))
    try:
        assert isinstance(came.get(timeout=60), SourceBatch)
    finally:
        source.stop()
    noted = [one.name for one in noted_consumers(writer.journal, "cart")]
    assert noted == ([] if looks_on else ["carts to stream tail"])


def test_from_a_time(writer: Writer, tail: Tail) -> None:
    """Only what was written then or later."""
    writer.add([(f"c-{n}", Added("apple", 1)) for n in range(20)])
    since = datetime.fromtimestamp(time.time(), UTC).isoformat()
    writer.add([("c-1", Added("pear", 1))])
    (event,) = objects(tail("--json", limit=1, begin=("--since", since)))
    assert event["payload"]["sku"] == "pear"


def test_only_what_the_criteria_select(writer: Writer, tail: Tail) -> None:
    """Evaluated by the producer, as a projection's filter is."""
    writer.add([(f"c-{n}", Added("apple", n)) for n in range(20)])
    writer.add([("c-7", Added("pear", 1))])
    found = objects(tail("--json", "--id", "c-7", limit=2))
    assert [(one["entity_id"], one["seq_nr"]) for one in found] == [("c-7", 1), ("c-7", 2)]


def test_what_cannot_be_read_is_named(tail: Tail, writer: Writer) -> None:
    """One line, exit code 2."""
    refused = CliRunner().invoke(main, ["stream", "tail", "shop:8101", "carts"])
    assert (refused.exit_code, "is not loopback" in refused.stderr) == (2, True)
    lacking = tail("--tls-key", "k.pem", limit=1)
    assert (lacking.exit_code, "go together" in lacking.stderr) == (2, True)
    wrong = tail(limit=1, begin=("--since", "yesterday"))
    assert (wrong.exit_code, "must be ISO 8601" in wrong.stderr) == (2, True)


@pytest.fixture
def follower(
    serve: Any, recorded: Any, writer: Writer
) -> Iterator[tuple[subprocess.Popen[str], StreamServer]]:
    """A real process that follows from now on, and what it follows."""
    server, port = serve()
    process = subprocess.Popen(
        [*PROGRAM, "stream", "tail", f"127.0.0.1:{port}", "carts", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=laws.ROOT,
    )  # fmt: skip
    recorded(process.pid)
    yield process, server
    if process.poll() is None:
        process.kill()
    process.wait()


def test_follows_from_now_until_it_is_interrupted(
    writer: Writer, follower: tuple[subprocess.Popen[str], StreamServer]
) -> None:
    """What was there is not shown; what comes is, at once; why nothing comes any more is said, and
    nothing else; an interrupt ends it with 130."""
    process, server = follower
    out, err = process.stdout, process.stderr
    assert out is not None
    assert err is not None
    for pipe in (out, err):
        os.set_blocking(pipe.fileno(), False)

    def seen() -> str:
        writer.add([("c-1", Added("apple", 1))])  # some come before it has begun
        return out.readline()

    line = eventually(seen, deadline_s=60, every_s=0.1)
    assert json.loads(line)["entity_id"] == "c-1"
    server.stop()
    said = eventually(err.readline, deadline_s=60, every_s=0.1)
    assert said.startswith("nothing comes, and it is tried again: "), said
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130

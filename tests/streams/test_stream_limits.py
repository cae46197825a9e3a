"""What one identity may ask of a producer, and that others do not notice. Over real gRPC."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.laws import ROOT
from tests.streams.asking import Pulled, asked
from tests.streams.certificates import Authority
from tests.streams.material import Added, Writer, counted, projection
from thespian_dc.model.access import Access, StreamLimits
from thespian_dc.model.access_errors import (
    MessageTooLargeError,
    TooManyRequestsError,
    TooManyStreamsError,
)
from thespian_dc.model.criteria import Exclude, VersionedFilter
from thespian_dc.model.settings import Remote, Tls
from thespian_dc.model.stream_errors import FilterTooLargeError
from thespian_dc.stream import gate, questions
from thespian_dc.stream.channels import Channels
from thespian_dc.stream.lookups_client import LookupsClient
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.status import error_of


def limited(**limits: Any) -> Access:
    return Access(StreamLimits(**limits))


def ended(call: Pulled) -> Exception:
    """The named error that ends a call, which has too much of something."""
    with pytest.raises(grpc.RpcError) as failed:
        deque(iter(call.next, None), maxlen=0)
    error: Any = failed.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return error_of("peer", error.code(), error.details(), error.trailing_metadata())


def test_streams_of_one_identity_are_counted(writer: Writer, serve: Any) -> None:
    """The one too many is refused by name; when another ends there is room again."""
    server, port = serve(access=limited(streams_per_identity=3))
    with ExitStack() as stack:
        calls = [stack.enter_context(Pulled(port)) for _ in range(3)]
        for call in calls:
            call.next()
        with Pulled(port) as extra:
            error = ended(extra)
        assert isinstance(error, TooManyStreamsError)
        assert str(error).startswith("host 127.0.0.1 has 3 open streams")
        calls[0].__exit__()
        eventually(lambda: server.calls == 2)
        with Pulled(port) as extra:
            assert extra.next()


def test_requests_over_the_rate_are_refused_by_name(
    writer: Writer, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked, opening a stream too; a second later there is room for one."""
    clock = [gate.now_us()]
    monkeypatch.setattr(gate, "now_us", lambda: clock[0])
    _, port = serve(access=limited(requests_per_s=1, requests_burst=3))
    for _ in range(3):
        asked(port, "heads")
    with Pulled(port) as call:
        assert isinstance(ended(call), TooManyRequestsError)
    clock[0] += 1_000_000
    assert asked(port, "positions_at", 1).positions
    with pytest.raises(TooManyRequestsError) as told:
        asked(port, "positions_at", 1)
    assert str(told.value) == str(TooManyRequestsError("host 127.0.0.1", "requests_per_s", 1))


def test_questions_at_work_are_counted(
    writer: Writer, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller's slow questions fill no queue that others wait in."""
    go_on, answer = threading.Event(), questions.heads

    def slow(stream: Any) -> Any:
        assert go_on.wait(30)
        return answer(stream)

    monkeypatch.setattr(questions, "heads", slow)
    _, port = serve(access=limited(questions_per_identity=4))
    refused = []

    async def ask_one(client: LookupsClient) -> bool:
        try:
            await client.heads()
        except TooManyRequestsError as error:
            refused.append(str(error))
            if len(refused) == 3:
                go_on.set()
            return False
        return True

    async def ask() -> list[bool]:
        client = LookupsClient(Channels(), Remote("carts", f"127.0.0.1:{port}"), "test")
        return await asyncio.gather(*(ask_one(client) for _ in range(7)))

    assert sum(asyncio.run(ask())) == 4
    assert "StreamLimits.questions_per_identity, 4" in refused[0]


def test_filters_have_the_servers_bounds(writer: Writer, serve: Any) -> None:
    """In the Start and when changed; what was in force ends with the call."""
    _, port = serve(access=limited(filter_criteria_max=3, filter_bytes_max=100))
    small = VersionedFilter(1, Exclude.entity_ids("a", "b", "c"))
    for wanted, told in (
        (Exclude.entity_ids("a", "b", "c", "d"), "4 criteria, the limit is 3"),
        (Exclude.tags("x" * 101), "101 bytes, the limit is 100"),
    ):
        with Pulled(port, VersionedFilter(1, wanted)) as call:
            error = ended(call)
        assert isinstance(error, FilterTooLargeError)
        assert told in str(error)
        with Pulled(port, small) as call:
            call.next()
            call.say(VersionedFilter(2, wanted))
            assert isinstance(ended(call), FilterTooLargeError)


def test_changes_of_a_filter_are_requests(writer: Writer, serve: Any) -> None:
    """Each is evaluated anew for all that follows: they are no way around the rate."""
    _, port = serve(access=limited(requests_per_s=1, requests_burst=5))
    with Pulled(port) as call:
        call.next()
        for version in range(1, 20):
            call.say(VersionedFilter(version, Exclude.tags("x")))
        assert isinstance(ended(call), TooManyRequestsError)


def test_a_message_over_the_limit_is_named(writer: Writer, serve: Any) -> None:
    """gRPC itself refuses to read it; its words become our error."""
    _, port = serve(access=limited(request_bytes_max=2_000))
    wanted = VersionedFilter(1, Exclude.entity_ids(*(f"c-{i:05}" for i in range(500))))
    with Pulled(port, wanted) as call:
        assert isinstance(ended(call), MessageTooLargeError)


def flooding(port: int, tls: Tls, concurrent: int = 300) -> Any:
    files = [tls.certificate, tls.key, tls.authority]
    command = [sys.executable, "-m", "tests.streams.flood", str(port), str(concurrent), *files]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.timeout(300)
def test_one_that_floods_does_not_slow_others(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority, recorded: Any
) -> None:
    """Another identity's questions and events, while one asks without end: it is refused by name,
    half a second late, and answered at its rate at most. Others do not wait as it does."""
    read_model = tmp_path / "read.db"
    limits = StreamLimits(requests_per_s=50, requests_burst=100)
    server, port = serve(tls=ours.tls("127.0.0.1"), access=Access(limits))
    tls = ours.tls("ranking")
    consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}", tls=tls)))
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 1})

    async def probe() -> tuple[list[float], list[float]]:
        client = LookupsClient(Channels(), Remote("carts", f"127.0.0.1:{port}", tls=tls), "probe")
        await client.heads()
        questions_s: list[float] = []
        events_s: list[float] = []
        until, seen = time.monotonic() + 2.5 * gate.PENALTY_S, 1
        while time.monotonic() < until or seen <= 20:
            seen += 1
            began = time.perf_counter()
            await client.heads()
            questions_s.append(time.perf_counter() - began)
            began = time.perf_counter()
            await asyncio.to_thread(writer.add, [("c-1", Added("apple", 1))])
            while counted(read_model) != {"apple": seen}:
                await asyncio.sleep(0)
            events_s.append(time.perf_counter() - began)
        return questions_s, events_s

    began_s = time.monotonic()
    flood = flooding(port, ours.tls("flood"))
    recorded(flood.pid)
    eventually(lambda: server._gate._penalties, 90)  # a process begins, and imports all it needs
    questions_s, events_s = asyncio.run(probe())
    told = json.loads(flood.communicate("enough", timeout=90)[0])
    lasted_s = time.monotonic() - began_s
    ended, waited_s = told["ended"], told["refused_after_s"]
    question_s, event_s = statistics.median(questions_s), statistics.median(events_s)
    print(f"flood: {ended}, refused after {waited_s:.3f} s, others' medians: "
          f"a question {question_s:.4f} s, an event {event_s:.4f} s")  # fmt: skip
    assert ended.keys() == {"answered", "TooManyRequestsError"}
    assert ended["answered"] <= 100 + 50 * lasted_s
    assert 300 <= ended["TooManyRequestsError"] <= 300 * (1 + lasted_s / gate.PENALTY_S)
    assert question_s < waited_s
    assert event_s < 2 * waited_s

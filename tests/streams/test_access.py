"""Who may see which stream: rules by certificate, and a service's own interceptor. Over real
gRPC."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import pytest

from tests.streams.asking import asked
from tests.streams.certificates import Authority
from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer, counted, projection
from thespian_dc.model.access import Access, StreamCall
from thespian_dc.model.access_errors import CallRefusedError, InterceptorFailedError
from thespian_dc.model.errors import SettingsError, ThespianDcError
from thespian_dc.model.ids import slice_of
from thespian_dc.model.settings import Remote, Stream, Tls
from thespian_dc.model.stream_errors import UnknownStreamError
from thespian_dc.projection.api import Lookup
from thespian_dc.stream import gate
from thespian_dc.stream.channels import METHOD, SERVICE
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.conversion import Credit, Start, write_from_consumer
from thespian_dc.wire.lookups import (
    HeadsRequest,
    LookUpRequest,
    PositionAtRequest,
    write_heads,
    write_look_up,
    write_position_at,
)
from thespian_dc.wire.status import error_of

SPIFFE = "spiffe://example.org/ranking"
STREAMS = (
    Stream("carts", ENTITY_TYPE, allow=["ranking.example.org", SPIFFE, "ranking"]),
    Stream("public", ENTITY_TYPE, allow=["*"]),
    Stream("forgotten", ENTITY_TYPE),
)


def channel_of(port: int, tls: Tls | None) -> grpc.Channel:
    """One channel for many calls."""
    if tls is None:
        return grpc.insecure_channel(f"127.0.0.1:{port}")
    authority, key, chain = (
        Path(path).read_bytes() for path in (tls.authority, tls.key, tls.certificate)
    )
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials)


Call = Callable[..., Any]
"""(channel, stream id, metadata): the first answer."""


def pull(channel: grpc.Channel, stream_id: str, metadata: Any = None) -> Any:
    start = write_from_consumer(Start(1, stream_id, "test", "", {}, Credit(1, 1), 1000, ""))
    call = channel.stream_stream(METHOD)(iter([start]), timeout=10, metadata=metadata)
    try:
        return next(call)
    finally:
        call.cancel()


def question(method: str, written: Callable[[str], bytes]) -> Call:
    return lambda channel, stream_id, metadata=None: channel.unary_unary(f"/{SERVICE}/{method}")(
        written(stream_id), timeout=10, metadata=metadata
    )


CALLS: dict[str, Call] = {
    "Pull": pull,
    "LookUp": question(
        "LookUp", lambda name: write_look_up(LookUpRequest(name, "c-1", 1, 0, 0, Credit(0, 0)))
    ),
    "Heads": question("Heads", lambda name: write_heads(HeadsRequest(name))),
    "PositionAt": question(
        "PositionAt", lambda name: write_position_at(PositionAtRequest(name, 1))
    ),
}


def refusal(
    kind: str, channel: grpc.Channel, stream_id: str, metadata: Any = None
) -> tuple[Any, ...]:
    """All that a caller can tell of it."""
    with pytest.raises(grpc.RpcError) as ended:
        CALLS[kind](channel, stream_id, metadata)
    failed: Any = ended.value
    return failed.code(), failed.details(), tuple(failed.trailing_metadata())


@pytest.mark.parametrize("kind", CALLS)
def test_a_stream_one_may_not_see_answers_as_one_that_is_not_there(
    writer: Writer, serve: Any, ours: Authority, kind: str
) -> None:
    """In status, text, named error and metadata; whoever may see it is answered."""
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve(tls=ours.tls("127.0.0.1"), streams=STREAMS)
    with channel_of(port, ours.tls("billing.example.org")) as stranger:
        absent = refusal(kind, stranger, "xxxxx")
        for hidden in ("carts", "forgotten"):
            told = refusal(kind, stranger, hidden)
            assert repr(told[:2]) == repr(absent[:2]).replace("xxxxx", hidden)
        # The named error's bytes hold lengths: "carts" has the absent one's.
        assert repr(refusal(kind, stranger, "carts")) == repr(absent).replace("xxxxx", "carts")
        named = error_of("peer", *refusal(kind, stranger, "carts"))
        assert isinstance(named, UnknownStreamError)
        assert named.stream_id == "carts"
        assert CALLS[kind](stranger, "public") is not None
    with channel_of(port, ours.tls("ranking.example.org")) as friend:
        assert CALLS[kind](friend, "carts") is not None


def test_nothing_more_is_done_for_a_stream_that_is_there(
    writer: Writer, serve: Any, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is decided: else the time that a refusal takes would tell. By the lines of ours
    that run, which no busy machine changes."""
    ran: list[str] = []
    decide = gate.Gate.find

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if "thespian_dc" not in frame.f_code.co_filename:
            return None
        if event == "line":
            ran.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        return line

    async def traced(*arguments: Any) -> Any:
        sys.settrace(line)
        try:
            return await decide(*arguments)
        finally:
            sys.settrace(None)

    writer.add([("c-1", Added("apple", 1))])
    _, port = serve(tls=ours.tls("127.0.0.1"), streams=STREAMS)
    monkeypatch.setattr(gate.Gate, "find", traced)
    ways = {}
    with channel_of(port, ours.tls("billing.example.org")) as stranger:
        for kind in CALLS:
            for name in ("carts", "forgotten", "xxxxx"):
                ran.clear()
                refusal(kind, stranger, name)
                ways[kind, name] = list(ran)
    lengths = [len(way) for way in ways.values()]
    assert 5 < min(lengths) <= max(lengths) <= min(lengths) + 1, ways  # who may is looked at or not
    beyond = {tuple(at for at in way if "access.py" not in at) for way in ways.values()}
    assert len(beyond) == 1, beyond


@pytest.mark.parametrize(
    ("name", "how"), [(SPIFFE, {}), ("ignored", {"common_name": "ranking"})], ids=["uri", "cn"]
)
def test_a_certificate_is_known_by_its_uri_or_its_common_name(
    writer: Writer, serve: Any, ours: Authority, name: str, how: dict[str, str]
) -> None:
    """SPIFFE ids, and old certificates that have nothing but a common name."""
    _, port = serve(tls=ours.tls("127.0.0.1"), streams=STREAMS)
    tls = ours.uri(name) if not how else ours.tls("cn", **how)
    assert asked(port, "heads", tls=tls).positions


def test_a_projection_is_told_and_begins_when_it_may(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority
) -> None:
    """The status shows the named error; after the rule is mended at the producer events flow."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    tls, rules = ours.tls("127.0.0.1"), (Stream("carts", ENTITY_TYPE, allow=[]),)
    server, port = serve(tls=tls, streams=rules)
    running, _ = consume(
        projection(read_model, Remote("carts", f"127.0.0.1:{port}", tls=ours.tls("ranking")))
    )
    eventually(lambda: running.status().error.startswith("UnknownStreamError"))
    server.stop()
    mended = (Stream("carts", ENTITY_TYPE, allow=["ranking"]),)
    serve(tls=tls, streams=mended, listen=f"127.0.0.1:{port}")
    eventually(lambda: counted(read_model) == {"apple": 1})


def test_rules_that_nobody_can_meet_are_refused(serve: Any, ours: Authority) -> None:
    """Names in certificates where no certificate is asked for."""
    for tls in (None, ours.tls("127.0.0.1", client_auth=False)):
        with pytest.raises(SettingsError, match=r"Stream\.allow names certificates"):
            serve(tls=tls, streams=STREAMS)


# --- interceptors ---

SEEN: list[StreamCall] = []


def judge(call: StreamCall) -> CallRefusedError | None:
    """Refuses by returning or raising, as the metadata asks for it."""
    SEEN.append(call)
    wish = call.metadata.get("x-wish")
    if wish in ("return", f"not {call.stream_id}"):
        return CallRefusedError("PERMISSION_DENIED", "not on Sundays")
    if wish == "raise":
        raise CallRefusedError("UNAUTHENTICATED", "no such token")
    if wish == "fail":
        raise KeyError("a secret")
    if wish == "leave":
        sys.exit("a secret")
    if wish == "nonsense":
        return CallRefusedError("OK", "refused, and fine")
    if wish == "wrong":
        return "yes"  # type: ignore[return-value]
    if wish == "hang":
        threading.Event().wait(1.0)
    return None


async def judge_async(call: StreamCall) -> CallRefusedError | None:
    if call.metadata.get("x-wish") == "hang":
        await asyncio.Event().wait()
    return judge(call)


@pytest.mark.parametrize("interceptor", [judge, judge_async])
@pytest.mark.parametrize("wish", ["return", "raise"])
def test_an_interceptor_refuses_with_its_own_status(
    writer: Writer, serve: Any, interceptor: Any, wish: str
) -> None:
    """The consumer raises what the interceptor returned or raised."""
    _, port = serve(access=Access(interceptor=interceptor))
    assert asked(port, "heads").positions
    with pytest.raises(CallRefusedError) as refused:
        asked(port, "heads", metadata={"x-wish": wish})
    expected = {
        "return": ("PERMISSION_DENIED", "not on Sundays"),
        "raise": ("UNAUTHENTICATED", "no such token"),
    }
    assert refused.value.args == expected[wish]


@pytest.mark.parametrize("interceptor", [judge, judge_async])
@pytest.mark.parametrize("kind", CALLS)
def test_an_interceptor_refuses_calls_of_every_kind(
    writer: Writer, serve: Any, interceptor: Any, kind: str
) -> None:
    """By stream and by metadata; the status on the wire is the one it chose."""
    carts, others = (Stream(name, ENTITY_TYPE) for name in ("carts", "others"))
    _, port = serve(access=Access(interceptor=interceptor), streams=(carts, others))
    with channel_of(port, None) as channel:
        assert CALLS[kind](channel, "carts") is not None
        wish = [("x-wish", "not carts")]
        assert CALLS[kind](channel, "others", wish) is not None
        code, told, metadata = refusal(kind, channel, "carts", wish)
        assert (code, told) == (grpc.StatusCode.PERMISSION_DENIED, "not on Sundays")
        assert isinstance(error_of("peer", code, told, metadata), CallRefusedError)
        code, told, _ = refusal(kind, channel, "carts", [("x-wish", "raise")])
        assert (code, told) == (grpc.StatusCode.UNAUTHENTICATED, "no such token")


@pytest.mark.parametrize("interceptor", [judge, judge_async])
@pytest.mark.parametrize("wish", ["fail", "nonsense", "wrong", "hang", "leave"])
def test_an_interceptor_that_fails_lets_nobody_in(
    writer: Writer, serve: Any, monkeypatch: pytest.MonkeyPatch, interceptor: Any, wish: str
) -> None:
    """And says nothing of why to whoever called."""
    _, port = serve(access=Access(interceptor=interceptor))
    with monkeypatch.context() as patched:
        patched.setattr(gate, "INTERCEPT_S", 0.2)
        with pytest.raises(InterceptorFailedError) as refused:
            asked(port, "heads", metadata={"x-wish": wish})
    assert "secret" not in str(refused.value)
    assert asked(port, "heads").positions


def test_an_interceptor_sees_every_call_about_a_stream(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority
) -> None:
    """Its kind, the stream, what the consumer says of itself, its metadata and certificate; also
    where there is no such stream."""
    SEEN.clear()
    _, port = serve(tls=ours.tls("127.0.0.1"), access=Access(interceptor=judge))
    tls, metadata = ours.tls("ranking"), {"x-tenant": "north"}
    remote = Remote("carts", f"127.0.0.1:{port}", tls=tls, metadata=metadata)
    asked(port, "heads", tls=tls, metadata=metadata)
    asked(port, "positions_at", 1, tls=tls, metadata=metadata)
    lookup = Lookup("c-1", slice_of("c-1", SLICES), 1, 0, 0)
    asked(port, "look_up", lookup, Credit(0, 0), "", tls=tls, metadata=metadata)
    with pytest.raises(UnknownStreamError):
        asked(port, "heads", stream_id="nothing", tls=tls, metadata=metadata)
    consume(projection(tmp_path / "read.db", remote))
    eventually(lambda: [call.kind for call in SEEN][-1] == "Pull")
    kinds = [(call.kind, call.stream_id) for call in SEEN]
    assert kinds == [
        ("Heads", "carts"), ("PositionAt", "carts"), ("LookUp", "carts"), ("Heads", "nothing"),
        ("Pull", "carts"),
    ]  # fmt: skip
    for call in SEEN:
        assert call.metadata["x-tenant"] == "north"
        assert call.identities == {"ranking"}
        assert call.peer.startswith("ipv4:127.0.0.1:")
    assert [call.consumer for call in SEEN] == ["test"] * 4 + ["ranking/test"]


def test_a_secret_is_read_from_its_file_for_each_call(
    writer: Writer, serve: Any, tmp_path: Path
) -> None:
    """Tokens are replaced while we run; a file that is missing is named, its value is not."""
    SEEN.clear()
    _, port = serve(access=Access(interceptor=judge))
    token = tmp_path / "token"
    metadata = {"authorization": f"file:{token}"}
    for value in ("Bearer one\n", "Bearer two\n"):
        token.write_text(value)
        asked(port, "heads", metadata=metadata)
    assert [call.metadata["authorization"] for call in SEEN] == ["Bearer one", "Bearer two"]
    token.unlink()
    with pytest.raises(SettingsError, match=r"metadata 'authorization': .*token cannot be read"):
        asked(port, "heads", metadata=metadata)


def test_a_refused_projection_says_why(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """In its status, until it is let in."""
    _, port = serve(access=Access(interceptor=judge))
    remote = Remote("carts", f"127.0.0.1:{port}", metadata={"x-wish": "return"})
    running, _ = consume(projection(tmp_path / "read.db", remote))
    eventually(lambda: "CallRefusedError: not on Sundays" in running.status().error)
    assert issubclass(CallRefusedError, ThespianDcError)

"""Bad input at either end: a clear named error, nothing lost, the server lives."""

from __future__ import annotations

import shutil
import socket
from collections import deque
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2

from tests.streams.material import (
    ENTITY_TYPE,
    Added,
    CountItems,
    PublicAdded,
    Unknown,
    Writer,
    counted,
    projection,
)
from thespian_dc.model import stream_errors
from thespian_dc.model.access import Access
from thespian_dc.model.errors import (
    JournalDivergedError,
    SettingsError,
    ThespianDcError,
)
from thespian_dc.model.position import Position
from thespian_dc.model.settings import Remote, Stream
from thespian_dc.stream.channels import METHOD, SERVICE
from thespian_dc.stream.client import RemoteSource
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually, never
from thespian_dc.wire import reflection_pb2
from thespian_dc.wire.conversion import Beat, Credit, Start, write_from_consumer
from thespian_dc.wire.status import error_of


def call(port: int, *messages: bytes) -> ThespianDcError:
    """Send these bytes as a consumer's messages and return the named error that ends the call."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answers = channel.stream_stream(METHOD)(iter(messages), timeout=10)
        with pytest.raises(grpc.RpcError) as ended:
            deque(answers, maxlen=0)
        error = ended.value
        return error_of("peer", error.code(), error.details(), error.trailing_metadata() or ())


def start(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "protocol": 1, "stream_id": "carts", "consumer": "test", "journal_id": "", "positions": {},
        "credit": Credit(1 << 20, 1000), "heartbeat_ms": 1000, "correlation_id": "",
    }  # fmt: skip
    return write_from_consumer(Start(**(fields | changes)))


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([b"\xff\xff\xff"], stream_errors.MalformedMessageError),
        ([start()[:-3]], stream_errors.MalformedMessageError),
        ([b""], stream_errors.MalformedMessageError),
        ([], stream_errors.WrongFirstMessageError),
        ([write_from_consumer(Beat(1))], stream_errors.WrongFirstMessageError),
        ([write_from_consumer(Credit(1, 1))], stream_errors.WrongFirstMessageError),
        ([start(), start()], stream_errors.WrongFirstMessageError),
        ([start(), b"\x0a\xff"], stream_errors.MalformedMessageError),
        ([start(protocol=2)], stream_errors.ProtocolVersionError),
        ([start(stream_id="secrets")], stream_errors.UnknownStreamError),
        ([start(stream_id="x" * 600)], stream_errors.MalformedMessageError),
        ([start(positions={4: Position()})], stream_errors.SliceOutOfRangeError),
        ([start(positions={0: Position(10**6, b"w")})], JournalDivergedError),
        ([start(positions={0: Position(1 << 63, b"w")})], stream_errors.MalformedMessageError),
        ([start(journal_id="another")], JournalDivergedError),
    ],
)
def test_bad_messages_end_the_call_by_name(
    writer: Writer, serve: Any, messages: list[bytes], error: type
) -> None:
    """Whatever a peer sends, it is told what was wrong in words its own code can raise."""
    writer.add([(f"c-{i}", Added("apple", 1)) for i in range(50)])
    _, port = serve()
    ended = call(port, *messages)
    assert type(ended) is error, ended


def test_a_foreign_write_id_is_divergence(writer: Writer, serve: Any) -> None:
    """Same offset, another commit before it: the journal is not the one the position is of."""
    writer.add([("c-1", Added("apple", 1))])
    slice_ = writer.written[0].key.slice
    _, port = serve()
    ended = call(port, start(positions={slice_: Position(1, b"another write id")}))
    assert isinstance(ended, JournalDivergedError)
    assert "another commit" in str(ended)


def test_health_answers_like_the_standard_service(writer: Writer, serve: Any) -> None:
    """Load balancers and orchestrators speak grpc.health.v1: SERVING, and NOT_FOUND for others."""
    server, port = serve()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        name = b"thespian_dc.v1.EventStreams"
        assert check(b"\x0a" + bytes([len(name)]) + name, timeout=5) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as ended:
            check(b"\x0a\x03abc", timeout=5)
        assert ended.value.code() is grpc.StatusCode.NOT_FOUND
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
        assert next(watch) == b"\x08\x01"
        server.stop()
        assert next(watch) == b"\x08\x02"


def test_reflection_describes_the_protocol_where_a_setting_says_so(
    writer: Writer, serve: Any
) -> None:
    """In both versions that clients ask for; without the setting there is no such service."""

    def told(port: int, version: str, **asked: Any) -> Any:
        name = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        request = reflection_pb2.ServerReflectionRequest(**asked).SerializeToString()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = next(channel.stream_stream(name)(iter([request]), timeout=10))
        return reflection_pb2.ServerReflectionResponse.FromString(answer)

    _, port = serve(access=Access(reflection=True))
    for version in ("v1", "v1alpha"):
        listed = told(port, version, list_services="*").list_services_response.service
        assert "thespian_dc.v1.EventStreams" in [one.name for one in listed]
        for symbol in (SERVICE, f"{SERVICE}.Pull", "thespian_dc.v1.Start"):
            (file,) = told(
                port, version, file_containing_symbol=symbol
            ).file_descriptor_response.file_descriptor_proto
            described = descriptor_pb2.FileDescriptorProto.FromString(file)
            assert "EventStreams" in [one.name for one in described.service]
            again = told(port, version, file_by_filename=described.name)
            assert again.file_descriptor_response.file_descriptor_proto == [file]
        for symbol in ("thespian_dc.v1", f"{SERVICE}.Nothing", "other.v1.Start", ""):
            missing = told(port, version, file_containing_symbol=symbol).error_response
            assert missing.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        nothing = told(port, version, all_extension_numbers_of_type="x").error_response
        assert nothing.error_code == grpc.StatusCode.UNIMPLEMENTED.value[0]
    _, port = serve()
    with pytest.raises(grpc.RpcError) as ended:
        told(port, "v1", list_services="*")
    assert ended.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_taken_port_is_named(writer: Writer, serve: Any, journal_url: str) -> None:
    """Two producers on one port would share connections silently without this."""
    _, port = serve()
    with pytest.raises(stream_errors.ListenError, match=str(port)):
        serve(listen=f"127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(stream_errors.ListenError):
            serve(listen=other)


def test_plaintext_stays_on_loopback(journal_url: str) -> None:
    """Both ends refuse to send events in the clear to another machine unless told in so many
    words."""
    with pytest.raises(SettingsError, match="plaintext_beyond_loopback"):
        StreamServer(StartProducer("shop", journal_url, (), "0.0.0.0:0", 4))
    with pytest.raises(SettingsError, match="plaintext_beyond_loopback"):
        Remote("carts", "shop.example.org:8101")
    RemoteSource(Remote("carts", "shop.example.org:8101", plaintext_beyond_loopback=True), "test")


def test_a_journal_restored_from_an_older_copy_halts_the_consumer(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, journal_url: str
) -> None:
    """A rolled-back journal would repeat offsets with other events: never continued silently."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    writer.journal.close()
    shutil.copy(tmp_path / "journal.db", tmp_path / "old.db")
    writer = Writer(journal_url)
    writer.seq_nrs["c-1"] = 1
    writer.add([("c-1", Added("apple", 1))])
    server, port = serve()
    remote = Remote("carts", f"127.0.0.1:{port}")
    first, _ = consume(projection(read_model, remote))
    eventually(lambda: counted(read_model) == {"apple": 2})
    assert first.stop()
    server.stop()
    writer.journal.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{tmp_path}/journal.db{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "old.db", tmp_path / "journal.db")
    _, port = serve()
    again, _ = consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}")))
    status = eventually(lambda: (s := again.status()).phase == "halted" and s)
    assert status.error.startswith("JournalDivergedError")
    # The restored one grows past the position again, with other events: still found out.
    writer = Writer(journal_url)
    writer.seq_nrs["c-1"] = 1
    writer.add([("c-1", Added("pear", 1))])
    writer.add([("c-1", Added("pear", 1))])
    more, _ = consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}")))
    status = eventually(lambda: (s := more.status()).phase == "halted" and s)
    assert "another commit" in status.error
    assert counted(read_model) == {"apple": 2}


def test_another_journal_halts_the_consumer(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """Positions of one journal say nothing about another, whatever its name."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve()
    first, _ = consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}")))
    eventually(lambda: counted(read_model) == {"apple": 1})
    assert first.stop()
    other_url = f"sqlite:///{tmp_path}/other.db"
    other = Writer(other_url)
    other.add([("c-1", Added("pear", 1))])
    other.close()
    _, port = serve(journal=other_url)
    again, _ = consume(projection(read_model, Remote("carts", f"127.0.0.1:{port}")))
    status = eventually(lambda: (s := again.status()).phase == "halted" and s)
    assert status.error.startswith("JournalDivergedError")
    assert counted(read_model) == {"apple": 1}


class Cart:
    """As much of an entity class as a transforming stream looks at."""

    entity_type = ENTITY_TYPE
    events = (Added, Unknown)


def to_public(event: Any) -> PublicAdded | None:
    """Shows additions, keeps everything below 2 at home, fails at 13."""
    if event.payload.quantity == 13:
        raise ValueError("unlucky")
    if event.payload.quantity < 2:
        return None
    return PublicAdded(event.payload.sku, event.payload.quantity)


def unmapped(event: Any) -> Any:
    """Returns what the stream does not declare."""
    return event.payload


class CountPublic(CountItems):
    """The same table from the public type."""

    def handle(self, event: Any, tx: Any) -> None:
        assert event.tags == ["large"], "tags travel along"
        assert event.manifest == "PublicAdded/1", "the stored type stays at home"
        super().handle(_As(event), tx)


class _As:
    def __init__(self, event: Any) -> None:
        self.entity_id, self.seq_nr = event.entity_id, event.seq_nr
        self.payload = Added(event.payload.item, event.payload.count)


def test_a_transform_shows_public_types_and_leaves_out(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path
) -> None:
    """Consumers depend on what a service publishes, not on what it stores; left-out ones cost
    nothing and still move the position along."""
    read_model = tmp_path / "read.db"
    events = [(f"c-{i}", Added("apple", i % 4)) for i in range(40)]
    writer.add(events, tags=("large",))
    _, port = serve(streams=(Stream("public", Cart, to_public, [PublicAdded]),))
    remote = Remote("public", f"127.0.0.1:{port}")
    running, _ = consume(projection(read_model, remote, handler=CountPublic, events=[PublicAdded]))
    eventually(lambda: counted(read_model) == {"apple": 50})
    writer.add([("c-1", Added("apple", 1))], tags=("large",))
    eventually(lambda: sum(running.status().positions.values()) == 41)
    assert running.status().error == ""


@pytest.mark.parametrize("transform", [to_public, unmapped])
def test_a_failing_transform_is_named_and_skips_nothing(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, transform: Any
) -> None:
    """An event that cannot be shown stops the stream there, with its name, for consumers to see."""
    read_model = tmp_path / "read.db"
    if transform is to_public:
        writer.add([("c-1", Added("apple", 2))], tags=("large",))
        writer.add([("c-1", Added("apple", 13))], tags=("large",))
        told = "ValueError: unlucky"
    else:
        writer.add([("c-1", Added("apple", 2))], tags=("large",))
        told = "UnregisteredTypeError"
    _, port = serve(streams=(Stream("public", Cart, transform, [PublicAdded]),))
    remote = Remote("public", f"127.0.0.1:{port}")
    running, _ = consume(projection(read_model, remote, handler=CountPublic, events=[PublicAdded]))
    status = eventually(lambda: (s := running.status()).restarts > 1 and s)
    assert "TransformError: stream public: the event of c-1" in status.error
    assert told in status.error
    expected = {"apple": 2} if transform is to_public else {}
    eventually(lambda: counted(read_model) == expected)
    never(lambda: counted(read_model) != expected, within_s=0.2)

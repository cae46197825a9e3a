"""Wire messages to plain values and back, with every field checked once, here.

What comes from the other end is not trusted: a number out of range or a message without content is
MalformedMessageError. Positions and offsets fit 63 bits, so that every database can hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.message import DecodeError

from thespian_dc.model.ids import NAME_BYTES_MAX, SLICES_MAX
from thespian_dc.model.position import Position
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.wire import streams_pb2 as pb

PROTOCOL = 1
OFFSET_MAX = (1 << 63) - 1
WRITE_ID_BYTES_MAX = 64
TEXT_BYTES_MAX = 2 * NAME_BYTES_MAX


class Credit(NamedTuple):
    """Allowance in bytes of bodies and in events."""

    bytes: int
    events: int


class Beat(NamedTuple):
    """I am here; time_us is the sender's clock, for people."""

    time_us: int


class Start(NamedTuple):
    """A consumer's first message. positions: none for all slices from the beginning."""

    protocol: int
    stream_id: str
    consumer: str
    journal_id: str
    positions: Mapping[int, Position]
    credit: Credit
    heartbeat_ms: int
    correlation_id: str


class Started(NamedTuple):
    """A producer's first message. heads: offset of each slice's next record, at the time of the
    call."""

    protocol: int
    journal_id: str
    entity_type: str
    slices: int
    heads: Mapping[int, int]
    heartbeat_ms: int


FromConsumer = Start | Credit | Beat
Batch = pb.Batch
"""As it came; thespian_dc/stream/batches.py checks it."""
FromProducer = Started | Beat | Batch


def read_from_consumer(received: bytes) -> FromConsumer:
    """What a consumer sent; MalformedMessageError."""
    what = "a message from a consumer"
    message = pb.FromConsumer()
    try:
        message.ParseFromString(received)
    except DecodeError as error:
        raise MalformedMessageError(what, str(error)) from error
    kind = message.WhichOneof("message")
    if kind == "credit":
        return _credit(message.credit)
    if kind == "beat":
        return Beat(message.beat.time_us)
    if kind == "start":
        return _start(message.start)
    raise MalformedMessageError(what, "it is empty, or of a kind this version does not know")


def read_from_producer(received: bytes) -> FromProducer:
    """What a producer sent, a batch as it is; MalformedMessageError."""
    what = "a message from a producer"
    message = pb.FromProducer()
    try:
        message.ParseFromString(received)
    except DecodeError as error:
        raise MalformedMessageError(what, str(error)) from error
    kind = message.WhichOneof("message")
    if kind == "batch":
        return message.batch
    if kind == "beat":
        return Beat(message.beat.time_us)
    if kind == "started":
        return _started(message.started)
    raise MalformedMessageError(what, "it is empty, or of a kind this version does not know")


def write_from_consumer(message: FromConsumer) -> bytes:
    """The bytes of a consumer's message."""
    if isinstance(message, Credit):
        credit = pb.Credit(bytes=message.bytes, events=message.events)
        return pb.FromConsumer(credit=credit).SerializeToString()
    if isinstance(message, Beat):
        return pb.FromConsumer(beat=pb.Beat(time_us=message.time_us)).SerializeToString()
    start = pb.Start(
        protocol=message.protocol, stream_id=message.stream_id, consumer=message.consumer,
        journal_id=message.journal_id, positions=_positions(message.positions),
        credit=pb.Credit(bytes=message.credit.bytes, events=message.credit.events),
        heartbeat_ms=message.heartbeat_ms, correlation_id=message.correlation_id,
    )  # fmt: skip
    return pb.FromConsumer(start=start).SerializeToString()


def write_started(message: Started) -> bytes:
    """The bytes of a producer's first message."""
    heads = _positions({slice_: Position(head) for slice_, head in message.heads.items()})
    started = pb.Started(
        protocol=message.protocol, journal_id=message.journal_id, entity_type=message.entity_type,
        slices=message.slices, heads=heads, heartbeat_ms=message.heartbeat_ms,
    )  # fmt: skip
    return pb.FromProducer(started=started).SerializeToString()


def write_beat(time_us: int) -> bytes:
    """The bytes of a producer's heartbeat."""
    return pb.FromProducer(beat=pb.Beat(time_us=time_us)).SerializeToString()


def _positions(positions: Mapping[int, Position]) -> list[pb.SlicePosition]:
    return [
        pb.SlicePosition(slice=slice_, offset=at.offset, write_id=at.write_id)
        for slice_, at in positions.items()
    ]


def _credit(credit: pb.Credit) -> Credit:
    if credit.bytes > OFFSET_MAX or credit.events > OFFSET_MAX:
        raise MalformedMessageError("a Credit", "it is greater than 63 bits hold")
    return Credit(credit.bytes, credit.events)


def _start(start: pb.Start) -> Start:
    what = "a Start"
    for name in ("stream_id", "consumer", "journal_id", "correlation_id"):
        if len(getattr(start, name)) > TEXT_BYTES_MAX:
            raise MalformedMessageError(what, f"{name} is longer than {TEXT_BYTES_MAX} characters")
    if start.HasField("filter"):
        raise MalformedMessageError(what, "it carries a filter, which this version does not know")
    if len(start.positions) > SLICES_MAX:
        raise MalformedMessageError(what, f"it has more than {SLICES_MAX} positions")
    positions = {at.slice: _position(at) for at in start.positions}
    if len(positions) < len(start.positions):
        raise MalformedMessageError(what, "a slice stands in it twice")
    return Start(
        start.protocol, start.stream_id, start.consumer, start.journal_id, positions,
        _credit(start.credit), start.heartbeat_ms, start.correlation_id,
    )  # fmt: skip


def _position(at: pb.SlicePosition) -> Position:
    if at.offset > OFFSET_MAX:
        raise MalformedMessageError("a position", f"offset {at.offset} is beyond 63 bits")
    if len(at.write_id) > WRITE_ID_BYTES_MAX:
        raise MalformedMessageError("a position", "its write_id is too long")
    return Position(at.offset, at.write_id)


def _started(started: pb.Started) -> Started:
    slices = started.slices
    if not 1 <= slices <= SLICES_MAX or slices & (slices - 1):
        raise MalformedMessageError("a Started", f"{slices} is no slice count")
    heads = {at.slice: _position(at).offset for at in started.heads}
    return Started(
        started.protocol, started.journal_id, started.entity_type, slices, heads,
        started.heartbeat_ms,
    )  # fmt: skip

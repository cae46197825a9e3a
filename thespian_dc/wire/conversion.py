"""Wire messages to plain values and back, with every field checked once, here.

What comes from the other end is not trusted: a number out of range or a message without content is
MalformedMessageError. Positions and offsets fit 63 bits, so that every database can hold them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from thespian_dc.model.criteria import (
    KINDS,
    UNFILTERED,
    Criteria,
    Filter,
    FilterInForce,
    VersionedFilter,
)
from thespian_dc.model.history import History
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
    """A consumer's first message. positions: none for all slices from the beginning. filter:
    UNFILTERED is not sent, and is answered by no FilterInForce."""

    protocol: int
    stream_id: str
    consumer: str
    journal_id: str
    positions: Mapping[int, Position]
    credit: Credit
    heartbeat_ms: int
    correlation_id: str
    filter: VersionedFilter = UNFILTERED
    history: History = History.FULL


class Offer(NamedTuple):
    """What a producer that dialled brings; its first message."""

    protocol: int
    stream_id: str
    origin: str
    journal_id: str
    entity_type: str
    slices: int


class Started(NamedTuple):
    """A producer's first message. heads: offset of each slice's next record, at the time of the
    call."""

    protocol: int
    journal_id: str
    entity_type: str
    slices: int
    heads: Mapping[int, int]
    heartbeat_ms: int


FromConsumer = Start | Credit | Beat | VersionedFilter
Batch = pb.Batch
"""As it came; thespian_dc/stream/batches.py checks it."""
FromProducer = Started | Beat | Batch | FilterInForce | Offer


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
        return credit_of(message.credit)
    if kind == "beat":
        return Beat(message.beat.time_us)
    if kind == "filter":
        return _filter(message.filter)
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
    if kind == "filter_in_force":
        return FilterInForce(message.filter_in_force.version, _starts(message.filter_in_force))
    if kind == "started":
        return _started(message.started)
    if kind == "offer":
        return _offer(message.offer)
    raise MalformedMessageError(what, "it is empty, or of a kind this version does not know")


def write_from_consumer(message: FromConsumer) -> bytes:
    """The bytes of a consumer's message."""
    if isinstance(message, Credit):
        credit = pb.Credit(bytes=message.bytes, events=message.events)
        return pb.FromConsumer(credit=credit).SerializeToString()
    if isinstance(message, Beat):
        return pb.FromConsumer(beat=pb.Beat(time_us=message.time_us)).SerializeToString()
    if isinstance(message, VersionedFilter):
        return pb.FromConsumer(filter=_filter_out(message)).SerializeToString()
    start = pb.Start(
        protocol=message.protocol, stream_id=message.stream_id, consumer=message.consumer,
        journal_id=message.journal_id, positions=write_positions(message.positions),
        credit=pb.Credit(bytes=message.credit.bytes, events=message.credit.events),
        heartbeat_ms=message.heartbeat_ms, correlation_id=message.correlation_id,
        filter=None if message.filter == UNFILTERED else _filter_out(message.filter),
        history=pb.History.Name(message.history.value),
    )  # fmt: skip
    return pb.FromConsumer(start=start).SerializeToString()


def write_started(message: Started) -> bytes:
    """The bytes of a producer's first message."""
    heads = write_positions({slice_: Position(head) for slice_, head in message.heads.items()})
    started = pb.Started(
        protocol=message.protocol, journal_id=message.journal_id, entity_type=message.entity_type,
        slices=message.slices, heads=heads, heartbeat_ms=message.heartbeat_ms,
    )  # fmt: skip
    return pb.FromProducer(started=started).SerializeToString()


def write_beat(time_us: int) -> bytes:
    """The bytes of a producer's heartbeat."""
    return pb.FromProducer(beat=pb.Beat(time_us=time_us)).SerializeToString()


def write_filter_in_force(message: FilterInForce) -> bytes:
    """The bytes of the answer to a filter."""
    starts = write_positions(
        {slice_: Position(offset) for slice_, offset in message.starts.items()}
    )
    in_force = pb.FilterInForce(version=message.version, starts=starts)
    return pb.FromProducer(filter_in_force=in_force).SerializeToString()


def write_offer(offer: Offer) -> bytes:
    """The bytes of a dialling producer's first message."""
    return pb.FromProducer(offer=pb.Offer(**offer._asdict())).SerializeToString()


def write_positions(positions: Mapping[int, Position]) -> list[pb.SlicePosition]:
    """Positions as they stand in messages."""
    return [
        pb.SlicePosition(slice=slice_, offset=at.offset, write_id=at.write_id)
        for slice_, at in positions.items()
    ]


def credit_of(credit: pb.Credit) -> Credit:
    """A sent Credit; MalformedMessageError."""
    if credit.bytes > OFFSET_MAX or credit.events > OFFSET_MAX:
        raise MalformedMessageError("a Credit", "it is greater than 63 bits hold")
    return Credit(credit.bytes, credit.events)


def _start(start: pb.Start) -> Start:
    what = "a Start"
    check_texts(what, start, "stream_id", "consumer", "journal_id", "correlation_id")
    return Start(
        start.protocol, start.stream_id, start.consumer, start.journal_id,
        positions_in(what, start.positions), credit_of(start.credit), start.heartbeat_ms,
        start.correlation_id, _filter(start.filter) if start.HasField("filter") else UNFILTERED,
        history_of(what, start.history),
    )  # fmt: skip


def check_texts(what: str, message: Any, *names: str) -> None:
    """MalformedMessageError where one of these fields is longer than a name may be."""
    for name in names:
        if len(getattr(message, name)) > TEXT_BYTES_MAX:
            raise MalformedMessageError(what, f"{name} is longer than {TEXT_BYTES_MAX} characters")


def history_of(what: str, value: int) -> History:
    """The History with this number; MalformedMessageError."""
    try:
        return History(value)
    except ValueError as error:
        raise MalformedMessageError(what, f"{value} is no History of this version") from error


def positions_in(what: str, sent: Sequence[pb.SlicePosition]) -> dict[int, Position]:
    """Positions by slice, each slice once; MalformedMessageError."""
    if len(sent) > SLICES_MAX:
        raise MalformedMessageError(what, f"it has more than {SLICES_MAX} positions")
    positions = {at.slice: _position(at) for at in sent}
    if len(positions) < len(sent):
        raise MalformedMessageError(what, "a slice stands in it twice")
    return positions


def _filter(sent: pb.Filter) -> VersionedFilter:
    """InvalidFilterError, FilterTooLargeError or MissingExtraError for what it holds."""
    if not 1 <= sent.version <= OFFSET_MAX:
        raise MalformedMessageError("a Filter", f"version {sent.version}; they begin with 1")
    exclude, include = (
        Criteria(*(tuple(getattr(side, kind)) for kind in KINDS))
        for side in (sent.exclude, sent.include)
    )
    return VersionedFilter(sent.version, Filter(exclude, include, sent.events_only))


def _filter_out(wanted: VersionedFilter) -> pb.Filter:
    exclude, include = (
        pb.Criteria(**dict(side.by_kind())) if side else None
        for side in (wanted.filter.exclude, wanted.filter.include)
    )
    return pb.Filter(
        version=wanted.version, exclude=exclude, include=include,
        events_only=wanted.filter.events_only,
    )  # fmt: skip


def _starts(in_force: pb.FilterInForce) -> dict[int, int]:
    starts = positions_in("a FilterInForce", in_force.starts)
    return {slice_: at.offset for slice_, at in starts.items()}


def _offer(offer: pb.Offer) -> Offer:
    what = "an Offer"
    check_texts(what, offer, "stream_id", "origin", "journal_id", "entity_type")
    _check_slices(what, offer.slices)
    return Offer(
        offer.protocol, offer.stream_id, offer.origin, offer.journal_id, offer.entity_type,
        offer.slices,
    )  # fmt: skip


def _check_slices(what: str, slices: int) -> None:
    if not 1 <= slices <= SLICES_MAX or slices & (slices - 1):
        raise MalformedMessageError(what, f"{slices} is no slice count")


def _position(at: pb.SlicePosition) -> Position:
    if at.offset > OFFSET_MAX:
        raise MalformedMessageError("a position", f"offset {at.offset} is beyond 63 bits")
    if len(at.write_id) > WRITE_ID_BYTES_MAX:
        raise MalformedMessageError("a position", "its write_id is too long")
    return Position(at.offset, at.write_id)


def _started(started: pb.Started) -> Started:
    _check_slices("a Started", started.slices)
    heads = {at.slice: _position(at).offset for at in started.heads}
    return Started(
        started.protocol, started.journal_id, started.entity_type, started.slices, heads,
        started.heartbeat_ms,
    )  # fmt: skip

"""Wire messages to plain values and back, with every field checked once, here.

What comes from the other end is not trusted: a number out of range or a message without content is
MalformedMessageError. Positions and offsets fit 63 bits, so that every database can hold them.
"""

# ruff: noqa: PLC0414  for type checkers, a name imported under itself is one of the module

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.message import DecodeError

from thespian_dc.model.criteria import UNFILTERED, FilterInForce, VersionedFilter
from thespian_dc.model.history import History
from thespian_dc.model.position import Position
from thespian_dc.model.replication_handshake import Known, ReplicaStart, ReplicaStarted
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.wire import replicas
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.parts import OFFSET_MAX as OFFSET_MAX
from thespian_dc.wire.parts import Credit as Credit
from thespian_dc.wire.parts import (
    check_slices,
    check_texts,
    credit_of,
    filter_of,
    history_of,
    position_of,
    positions_in,
    write_filter,
    write_positions,
)

PROTOCOL = 1


class Beat(NamedTuple):
    """I am here; time_us is the sender's clock, for people."""

    time_us: int


class Start(NamedTuple):
    """A consumer's first message. positions: none for all slices from the beginning. filter:
    UNFILTERED is not sent, and is answered by no FilterInForce. replica: of replica streams.
    looks_on: it handles nothing and keeps no position."""

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
    replica: ReplicaStart | None = None
    looks_on: bool = False


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
    replica: ReplicaStarted | None = None


FromConsumer = Start | Credit | Beat | VersionedFilter | Known
Batch = pb.Batch
"""As it came; thespian_dc/stream/batches.py checks it."""
FromProducer = Started | Beat | Batch | FilterInForce | Offer | ReplicaStarted


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
        return filter_of(message.filter)
    if kind == "known":
        return replicas.known_of(message.known)
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
    if kind == "replica":
        return replicas.replica_started_of(message.replica)
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
        return pb.FromConsumer(filter=write_filter(message)).SerializeToString()
    if isinstance(message, Known):
        return pb.FromConsumer(known=replicas.write_known(message)).SerializeToString()
    start = pb.Start(
        protocol=message.protocol, stream_id=message.stream_id, consumer=message.consumer,
        journal_id=message.journal_id, positions=write_positions(message.positions),
        credit=pb.Credit(bytes=message.credit.bytes, events=message.credit.events),
        heartbeat_ms=message.heartbeat_ms, correlation_id=message.correlation_id,
        filter=None if message.filter == UNFILTERED else write_filter(message.filter),
        history=pb.History.Name(message.history.value),
        replica=None if message.replica is None else replicas.write_replica_start(message.replica),
        looks_on=message.looks_on,
    )  # fmt: skip
    return pb.FromConsumer(start=start).SerializeToString()


def write_started(message: Started) -> bytes:
    """The bytes of a producer's first message."""
    replica = message.replica
    heads = write_positions({slice_: Position(head) for slice_, head in message.heads.items()})
    started = pb.Started(
        protocol=message.protocol, journal_id=message.journal_id, entity_type=message.entity_type,
        slices=message.slices, heads=heads, heartbeat_ms=message.heartbeat_ms,
        replica=None if replica is None else replicas.write_replica_started(replica),
    )  # fmt: skip
    return pb.FromProducer(started=started).SerializeToString()


def write_replica(replica: ReplicaStarted) -> bytes:
    """The bytes of a replica's message that something changed since it started."""
    changed = replicas.write_replica_started(replica)
    return pb.FromProducer(replica=changed).SerializeToString()


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


def _start(start: pb.Start) -> Start:
    what = "a Start"
    check_texts(what, start, "stream_id", "consumer", "journal_id", "correlation_id")
    return Start(
        start.protocol, start.stream_id, start.consumer, start.journal_id,
        positions_in(what, start.positions), credit_of(start.credit), start.heartbeat_ms,
        start.correlation_id, filter_of(start.filter) if start.HasField("filter") else UNFILTERED,
        history_of(what, start.history),
        replicas.replica_start_of(start.replica) if start.HasField("replica") else None,
        start.looks_on,
    )  # fmt: skip


def _starts(in_force: pb.FilterInForce) -> dict[int, int]:
    starts = positions_in("a FilterInForce", in_force.starts)
    return {slice_: at.offset for slice_, at in starts.items()}


def _offer(offer: pb.Offer) -> Offer:
    what = "an Offer"
    check_texts(what, offer, "stream_id", "origin", "journal_id", "entity_type")
    check_slices(what, offer.slices)
    return Offer(
        offer.protocol, offer.stream_id, offer.origin, offer.journal_id, offer.entity_type,
        offer.slices,
    )  # fmt: skip


def _started(started: pb.Started) -> Started:
    check_slices("a Started", started.slices)
    heads = {at.slice: position_of(at).offset for at in started.heads}
    return Started(
        started.protocol, started.journal_id, started.entity_type, started.slices, heads,
        started.heartbeat_ms,
        replicas.replica_started_of(started.replica) if started.HasField("replica") else None,
    )  # fmt: skip

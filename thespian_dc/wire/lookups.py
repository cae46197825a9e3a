"""The unary questions about a stream as plain values, with every field checked on arrival, and
their answers. What a lookup found comes as it is: stream/lookups.py checks its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

from google.protobuf.message import DecodeError

from thespian_dc.model.history import History
from thespian_dc.model.ids import NAME_BYTES_MAX
from thespian_dc.model.position import Position
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import PROTOCOL
from thespian_dc.wire.parts import (
    OFFSET_MAX,
    Credit,
    check_texts,
    credit_of,
    history_of,
    positions_in,
    write_positions,
)

M = TypeVar("M")
ENTITY_IDS_MAX = 1_000
"""In one answer."""
RESUME_BYTES_MAX = 64


class LookUpRequest(NamedTuple):
    """Events of one entity with from_seq_nr <= seq_nr (<= until_seq_nr, 0: all there are) at
    offsets >= from_offset. limit: of one answer, at least one event is answered where there is
    one. replica_id: who asks, of replica streams. shown_version: of what is shown, as the asker was
    told last; None: it was told of none."""

    stream_id: str
    entity_id: str
    from_seq_nr: int
    until_seq_nr: int
    from_offset: int
    limit: Credit
    journal_id: str = ""
    consumer: str = ""
    correlation_id: str = ""
    history: History = History.FULL
    protocol: int = PROTOCOL
    replica_id: str = ""
    shown_version: int | None = None


class HeadsRequest(NamedTuple):
    """Where each slice ends now."""

    stream_id: str
    consumer: str = ""
    correlation_id: str = ""
    protocol: int = PROTOCOL
    replica_id: str = ""


class PositionAtRequest(NamedTuple):
    """Where to begin for everything that was written at time_us or later."""

    stream_id: str
    time_us: int
    consumer: str = ""
    correlation_id: str = ""
    protocol: int = PROTOCOL
    replica_id: str = ""


class EntityStateRequest(NamedTuple):
    """The stored state of one entity, of replica streams. journal_id, shown_version: see
    LookUpRequest. fresh: what is stored did not suffice; it is to be stored as of now, for who asks
    again soon."""

    stream_id: str
    entity_id: str
    replica_id: str
    journal_id: str = ""
    consumer: str = ""
    correlation_id: str = ""
    protocol: int = PROTOCOL
    fresh: bool = False
    shown_version: int | None = None


class EntityState(NamedTuple):
    """The answer. seq_nr, offset: of the last record that the state contains, in the answering
    replica's log; seq_nr 0 and body b"": no state is stored. body: as stored
    (model/state_body.py). generation: of the answering replica's journal."""

    journal_id: str
    slice: int
    generation: int
    seq_nr: int = 0
    offset: int = 0
    body: bytes = b""


class EntityIdsRequest(NamedTuple):
    """Which entities of a slice have a stored state, of replica streams. after: the last id that
    came, "" for the first. limit: of ids, 0 for as many as there may be. resume: of the answer
    before, where it had no ids. shown_version: see LookUpRequest."""

    stream_id: str
    slice: int
    after: str
    limit: int
    replica_id: str
    journal_id: str = ""
    consumer: str = ""
    correlation_id: str = ""
    protocol: int = PROTOCOL
    resume: bytes = b""
    shown_version: int | None = None


class EntityIds(NamedTuple):
    """The answer, in an order of the producer's. trimmed_to: the first offset of the slice that is
    there. more: ask again after the last id; where there is none, since many are withheld, with
    resume."""

    journal_id: str
    generation: int
    ids: tuple[str, ...]
    trimmed_to: int
    more: bool
    resume: bytes = b""


class Positions(NamedTuple):
    """The answer to both: a position of every slice."""

    journal_id: str
    positions: Mapping[int, Position]


LookUpAnswer = pb.LookUpAnswer
"""As it came."""
_IDENTITY = ("stream_id", "consumer", "correlation_id", "replica_id")


def write_look_up(request: LookUpRequest) -> bytes:
    fields = request._asdict()
    fields["limit"] = pb.Credit(bytes=request.limit.bytes, events=request.limit.events)
    fields["history"] = pb.History.Name(request.history.value)
    return pb.LookUpRequest(**fields).SerializeToString()


def read_look_up(received: bytes) -> LookUpRequest:
    """MalformedMessageError."""
    what = "a LookUpRequest"
    message = _parsed(what, pb.LookUpRequest, received)
    check_texts(what, message, *_IDENTITY, "journal_id")
    _check_entity_id(what, message.entity_id)
    for name in ("from_seq_nr", "until_seq_nr", "from_offset"):
        if getattr(message, name) > OFFSET_MAX:
            raise MalformedMessageError(what, f"{name} is greater than 63 bits hold")
    return LookUpRequest(
        message.stream_id, message.entity_id, max(1, message.from_seq_nr), message.until_seq_nr,
        message.from_offset, credit_of(message.limit), message.journal_id, message.consumer,
        message.correlation_id, history_of(what, message.history), message.protocol,
        message.replica_id, _shown_version(message),
    )  # fmt: skip


def read_look_up_answer(received: bytes) -> LookUpAnswer:
    """MalformedMessageError for what is no message; its fields are checked by their reader."""
    return _parsed("a LookUpAnswer", pb.LookUpAnswer, received)


def write_heads(request: HeadsRequest) -> bytes:
    return pb.HeadsRequest(**request._asdict()).SerializeToString()


def read_heads(received: bytes) -> HeadsRequest:
    """MalformedMessageError."""
    what = "a HeadsRequest"
    message = _parsed(what, pb.HeadsRequest, received)
    check_texts(what, message, *_IDENTITY)
    return HeadsRequest(
        message.stream_id, message.consumer, message.correlation_id, message.protocol,
        message.replica_id,
    )  # fmt: skip


def write_heads_answer(answer: Positions) -> bytes:
    heads = write_positions(answer.positions)
    return pb.HeadsAnswer(journal_id=answer.journal_id, heads=heads).SerializeToString()


def read_heads_answer(received: bytes) -> Positions:
    """MalformedMessageError."""
    what = "a HeadsAnswer"
    message = _parsed(what, pb.HeadsAnswer, received)
    check_texts(what, message, "journal_id")
    return Positions(message.journal_id, positions_in(what, message.heads))


def write_position_at(request: PositionAtRequest) -> bytes:
    return pb.PositionAtRequest(**request._asdict()).SerializeToString()


def read_position_at(received: bytes) -> PositionAtRequest:
    """MalformedMessageError."""
    what = "a PositionAtRequest"
    message = _parsed(what, pb.PositionAtRequest, received)
    check_texts(what, message, *_IDENTITY)
    return PositionAtRequest(
        message.stream_id, message.time_us, message.consumer, message.correlation_id,
        message.protocol, message.replica_id,
    )  # fmt: skip


def write_position_at_answer(answer: Positions) -> bytes:
    positions = write_positions(answer.positions)
    message = pb.PositionAtAnswer(journal_id=answer.journal_id, positions=positions)
    return message.SerializeToString()


def read_position_at_answer(received: bytes) -> Positions:
    """MalformedMessageError."""
    what = "a PositionAtAnswer"
    message = _parsed(what, pb.PositionAtAnswer, received)
    check_texts(what, message, "journal_id")
    return Positions(message.journal_id, positions_in(what, message.positions))


def write_entity_state(request: EntityStateRequest) -> bytes:
    return pb.EntityStateRequest(**request._asdict()).SerializeToString()


def read_entity_state(received: bytes) -> EntityStateRequest:
    """MalformedMessageError."""
    what = "an EntityStateRequest"
    message = _parsed(what, pb.EntityStateRequest, received)
    check_texts(what, message, *_IDENTITY, "journal_id")
    _check_entity_id(what, message.entity_id)
    return EntityStateRequest(
        message.stream_id, message.entity_id, message.replica_id, message.journal_id,
        message.consumer, message.correlation_id, message.protocol, message.fresh,
        _shown_version(message),
    )  # fmt: skip


def write_entity_state_answer(answer: EntityState) -> bytes:
    message = pb.EntityStateAnswer(**answer._asdict(), body_crc=crc32(answer.body))
    return message.SerializeToString()


def read_entity_state_answer(received: bytes) -> EntityState:
    """MalformedMessageError, also where the body does not match its CRC."""
    what = "an EntityStateAnswer"
    message = _parsed(what, pb.EntityStateAnswer, received)
    check_texts(what, message, "journal_id")
    for name in ("seq_nr", "offset", "generation"):
        if getattr(message, name) > OFFSET_MAX:
            raise MalformedMessageError(what, f"{name} is greater than 63 bits hold")
    if crc32(message.body) != message.body_crc:
        raise MalformedMessageError(what, "its body was damaged on the way")
    return EntityState(
        message.journal_id, message.slice, message.generation, message.seq_nr, message.offset,
        message.body,
    )  # fmt: skip


def write_entity_ids(request: EntityIdsRequest) -> bytes:
    return pb.EntityIdsRequest(**request._asdict()).SerializeToString()


def read_entity_ids(received: bytes) -> EntityIdsRequest:
    """MalformedMessageError."""
    what = "an EntityIdsRequest"
    message = _parsed(what, pb.EntityIdsRequest, received)
    check_texts(what, message, *_IDENTITY, "journal_id", "after")
    _check_resume(what, message.resume)
    return EntityIdsRequest(
        message.stream_id, message.slice, message.after, message.limit, message.replica_id,
        message.journal_id, message.consumer, message.correlation_id, message.protocol,
        message.resume, _shown_version(message),
    )  # fmt: skip


def write_entity_ids_answer(answer: EntityIds) -> bytes:
    return pb.EntityIdsAnswer(**answer._asdict()).SerializeToString()


def read_entity_ids_answer(received: bytes) -> EntityIds:
    """MalformedMessageError."""
    what = "an EntityIdsAnswer"
    message = _parsed(what, pb.EntityIdsAnswer, received)
    check_texts(what, message, "journal_id")
    if len(message.ids) > ENTITY_IDS_MAX:
        raise MalformedMessageError(what, f"it has more than {ENTITY_IDS_MAX} ids")
    for entity_id in message.ids:
        _check_entity_id(what, entity_id)
    if max(message.generation, message.trimmed_to) > OFFSET_MAX:
        raise MalformedMessageError(what, "a number is greater than 63 bits hold")
    _check_resume(what, message.resume)
    if message.more and not message.ids and not message.resume:
        raise MalformedMessageError(what, "it says there is more and brings nothing")
    return EntityIds(
        message.journal_id, message.generation, tuple(message.ids), message.trimmed_to,
        message.more, message.resume,
    )  # fmt: skip


def _check_entity_id(what: str, entity_id: str) -> None:
    if not entity_id or len(entity_id.encode()) > NAME_BYTES_MAX:
        raise MalformedMessageError(what, f"its entity_id is not 1..{NAME_BYTES_MAX} bytes")


def _shown_version(message: Any) -> int | None:
    return message.shown_version if message.HasField("shown_version") else None


def _check_resume(what: str, resume: bytes) -> None:
    if len(resume) > RESUME_BYTES_MAX:
        raise MalformedMessageError(what, f"its resume is longer than {RESUME_BYTES_MAX} bytes")


def _parsed(what: str, kind: Callable[[], M], received: bytes) -> M:
    message: Any = kind()
    try:
        message.ParseFromString(received)
    except DecodeError as error:
        raise MalformedMessageError(what, str(error)) from error
    parsed: M = message
    return parsed

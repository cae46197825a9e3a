"""The unary questions about a stream as plain values, with every field checked on arrival, and
their answers. What a lookup found comes as it is: stream/lookups.py checks its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from thespian_dc.model.history import History
from thespian_dc.model.ids import NAME_BYTES_MAX
from thespian_dc.model.position import Position
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.conversion import (
    OFFSET_MAX,
    PROTOCOL,
    Credit,
    check_texts,
    credit_of,
    history_of,
    positions_in,
    write_positions,
)

M = TypeVar("M")


class LookUpRequest(NamedTuple):
    """Events of one entity with from_seq_nr <= seq_nr (<= until_seq_nr, 0: all there are) at
    offsets >= from_offset. limit: of one answer, at least one event is answered where there is
    one."""

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


class HeadsRequest(NamedTuple):
    """Where each slice ends now."""

    stream_id: str
    consumer: str = ""
    correlation_id: str = ""
    protocol: int = PROTOCOL


class PositionAtRequest(NamedTuple):
    """Where to begin for everything that was written at time_us or later."""

    stream_id: str
    time_us: int
    consumer: str = ""
    correlation_id: str = ""
    protocol: int = PROTOCOL


class Positions(NamedTuple):
    """The answer to both: a position of every slice."""

    journal_id: str
    positions: Mapping[int, Position]


LookUpAnswer = pb.LookUpAnswer
"""As it came."""
_IDENTITY = ("stream_id", "consumer", "correlation_id")


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
    if not message.entity_id or len(message.entity_id.encode()) > NAME_BYTES_MAX:
        raise MalformedMessageError(what, f"its entity_id is not 1..{NAME_BYTES_MAX} bytes")
    for name in ("from_seq_nr", "until_seq_nr", "from_offset"):
        if getattr(message, name) > OFFSET_MAX:
            raise MalformedMessageError(what, f"{name} is greater than 63 bits hold")
    return LookUpRequest(
        message.stream_id, message.entity_id, max(1, message.from_seq_nr), message.until_seq_nr,
        message.from_offset, credit_of(message.limit), message.journal_id, message.consumer,
        message.correlation_id, history_of(what, message.history), message.protocol,
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
        message.stream_id, message.consumer, message.correlation_id, message.protocol
    )


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
        message.protocol,
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


def _parsed(what: str, kind: Callable[[], M], received: bytes) -> M:
    message: Any = kind()
    try:
        message.ParseFromString(received)
    except DecodeError as error:
        raise MalformedMessageError(what, str(error)) from error
    parsed: M = message
    return parsed

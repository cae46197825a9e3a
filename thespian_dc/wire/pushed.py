"""Questions to a producer that cannot be dialled, and their replies: they travel on the call that
it opened, beside the stream. Plain values, checked on arrival."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import DecodeError

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.stream_errors import MalformedMessageError, StreamRefusedError
from thespian_dc.wire import streams_pb2 as pb
from thespian_dc.wire.parts import OFFSET_MAX, check_texts
from thespian_dc.wire.status import named_by, problem_of

_REPLY = 7 << 3 | 2
"""The first byte of a FromProducer that is a Reply."""


class Question(NamedTuple):
    """A unary call: the name of the method and the bytes of its request. nr: from 1."""

    nr: int
    method: str
    request: bytes


class Reply(NamedTuple):
    """nr 0: why the producer ends the call; else of the question. error: in place of an answer."""

    nr: int
    answer: bytes
    error: ThespianDcError | None = None


def write_question(question: Question) -> bytes:
    """The bytes of a FromConsumer."""
    return pb.FromConsumer(question=pb.Question(**question._asdict())).SerializeToString()


def question_in(received: bytes) -> Question | None:
    """The question that a message from a consumer is; None where it is something else, or nothing
    that can be read: its reader says so. MalformedMessageError."""
    message = pb.FromConsumer()
    try:
        message.ParseFromString(received)
    except DecodeError:
        return None
    if message.WhichOneof("message") != "question":
        return None
    sent, what = message.question, "a Question"
    check_texts(what, sent, "method")
    if not 1 <= sent.nr <= OFFSET_MAX:
        raise MalformedMessageError(what, f"its number is {sent.nr}")
    return Question(sent.nr, sent.method, sent.request)


def write_reply(reply: Reply) -> bytes:
    """The bytes of a FromProducer."""
    problem = None if reply.error is None else problem_of(reply.error)
    sent = pb.Reply(nr=reply.nr, answer=reply.answer, problem=problem)
    return pb.FromProducer(reply=sent).SerializeToString()


def reply_in(peer: str, received: bytes) -> Reply | None:
    """The reply that a message from a producer is; None where it is something else. Batches are not
    decoded for it. MalformedMessageError."""
    if not received or received[0] != _REPLY:
        return None
    message, what = pb.FromProducer(), "a Reply"
    try:
        message.ParseFromString(received)
    except DecodeError as error:
        raise MalformedMessageError(what, str(error)) from error
    if message.WhichOneof("message") != "reply":
        return None  # its own reader judges it
    sent = message.reply
    if sent.nr > OFFSET_MAX:
        raise MalformedMessageError(what, "its number is greater than 63 bits hold")
    if not sent.HasField("problem"):
        return Reply(sent.nr, sent.answer)
    named = named_by(sent.problem)
    other = StreamRefusedError(peer, "UNKNOWN", sent.problem.error[:200])
    return Reply(sent.nr, b"", other if named is None else named)

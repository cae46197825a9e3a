"""Named errors over gRPC and back: a status, a text, and the error's name and arguments in trailing
metadata.

Only the classes listed here are built from what another service says; anything else that ends a
call becomes StreamRefusedError with its status and text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from thespian_dc.model import (
    access_errors,
    errors,
    push_errors,
    replica_errors,
    replication_errors,
    role_errors,
    stream_errors,
)
from thespian_dc.model.access_errors import CallRefusedError, MessageTooLargeError
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.stream_errors import (
    PeerNotTrustedError,
    PeerUnavailableError,
    StreamRefusedError,
)
from thespian_dc.wire import streams_pb2 as pb

PROBLEM = "thespian-dc-problem-bin"
_TEXT_MAX = 1000
# gRPC has no status for a failed TLS session; its text is all there is.
_TLS_WORDS = ("handshake", "certificate", "ssl", "verification")
_TOO_LARGE = "message larger than max"  # gRPC's own limit, named by its text alone
_TRAVELS: dict[str, type[ThespianDcError]] = {
    kind.__name__: kind
    for kind in (
        access_errors.CallRefusedError, access_errors.InterceptorFailedError,
        access_errors.TooManyRequestsError, access_errors.TooManyStreamsError,
        errors.CorruptRecordError, errors.GapError, errors.JournalDivergedError,
        errors.JournalUnavailableError, errors.MissingExtraError, errors.TrimmedError,
        push_errors.DestinationTransformError, push_errors.DestinationTrimmedError,
        push_errors.OriginRefusedError,
        push_errors.PushBeginsAgainError, push_errors.PushNotWrittenError,
        push_errors.TooManySourcesError,
        replica_errors.NotAReplicaStreamError, replica_errors.OtherEntityTypeError,
        replica_errors.ReplicaIdentityError, replica_errors.ReplicaListsDifferError,
        replica_errors.ShownFilterChangedError, replica_errors.WrongReplicaError,
        replication_errors.ReplicaRecoveringError,
        role_errors.AheadOfTimeError, role_errors.GroupModeDiffersError,
        role_errors.OriginChangedError, role_errors.OwnReplicaIdError,
        role_errors.RetiredReplicaError, role_errors.TooManyReplicasError,
        role_errors.UnknownReplicaError,
        stream_errors.FilterTooLargeError, stream_errors.InvalidFilterError,
        stream_errors.HistoryMovedError, stream_errors.HistoryRefusedError,
        stream_errors.MalformedMessageError, stream_errors.PeerSilentError,
        stream_errors.PeerUnavailableError, stream_errors.ProtocolVersionError,
        stream_errors.SliceOutOfRangeError, stream_errors.StreamClosedError,
        stream_errors.TransformError,
        stream_errors.UnknownStreamError, stream_errors.UnmappedEventError,
        stream_errors.WrongFirstMessageError,
    )
}  # fmt: skip


def status_of(error: ThespianDcError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """(status, text, trailing metadata) to end a call with."""
    named = error.status if isinstance(error, CallRefusedError) else error.grpc_status
    status = getattr(grpc.StatusCode, named)
    return status, str(error)[:_TEXT_MAX], ((PROBLEM, problem_of(error).SerializeToString()),)


def problem_of(error: ThespianDcError) -> pb.Problem:
    """The error's name and arguments, as they travel."""
    problem = pb.Problem(error=type(error).__name__)
    for argument in error.args:
        if isinstance(argument, int):
            problem.arguments.add(number=argument)
        else:
            problem.arguments.add(text=str(argument)[:_TEXT_MAX])
    return problem


def error_of(
    peer: str, code: grpc.StatusCode, details: str, metadata: Iterable[tuple[str, Any]]
) -> ThespianDcError:
    """The named error that ended a call to `peer`."""
    named = _named(metadata)
    if named is not None:
        return named
    if code is grpc.StatusCode.UNAVAILABLE:
        if any(word in details.lower() for word in _TLS_WORDS):
            return PeerNotTrustedError(peer, details)
        return PeerUnavailableError(peer, details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        return MessageTooLargeError(peer, details)
    return StreamRefusedError(peer, code.name, details)


def _named(metadata: Iterable[tuple[str, Any]]) -> ThespianDcError | None:
    raw = next((value for key, value in metadata if key == PROBLEM), None)
    if not isinstance(raw, bytes):
        return None
    problem = pb.Problem()
    try:
        problem.ParseFromString(raw)
    except DecodeError:
        return None
    return named_by(problem)


def named_by(problem: pb.Problem) -> ThespianDcError | None:
    """The error that a problem says; None where it names none that may be built."""
    try:
        kind = _TRAVELS[problem.error]
        values = [getattr(one, one.WhichOneof("value") or "text") for one in problem.arguments]
        error = kind(*values)
        str(error)  # arguments of wrong kinds show here, not where somebody prints it
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return error

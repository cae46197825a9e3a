"""Errors of who may call a producer, and how much. Pure; see the laws of `errors`.

Each ends one call at the producer and is raised by the same name at the consumer.
"""

from __future__ import annotations

from thespian_dc.model.errors import StreamError, with_fields


@with_fields
class CallRefusedError(StreamError):
    """An interceptor refuses a call: it raises or returns this. status: the name of a gRPC status,
    not OK. message: for the consumer to read."""

    grpc_status = "PERMISSION_DENIED"

    status: str
    message: str

    def __str__(self) -> str:
        return self.message


@with_fields
class InterceptorFailedError(StreamError):
    """The producer's interceptor raised something else, or gave no answer in time. The call is
    refused; the producer's log says why."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    kind: str

    def __str__(self) -> str:
        return f"whether {self.kind} is permitted could not be decided; see the producer's log"


@with_fields
class TooManyStreamsError(StreamError):
    """One identity has as many open streams as it may have."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"

    identity: str
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.identity} has {self.limit} open streams, the limit is "
            "StreamLimits.streams_per_identity; close some, or raise it at the producer"
        )


@with_fields
class TooManyRequestsError(StreamError):
    """One identity asks more, or more at a time, than it may. what: the limit's name."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"

    identity: str
    what: str
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.identity} is over StreamLimits.{self.what}, {self.limit}; ask again later, or "
            "raise it at the producer"
        )


@with_fields
class MessageTooLargeError(StreamError):
    """A message was larger than its receiver takes."""

    grpc_status = "RESOURCE_EXHAUSTED"

    peer: str
    details: str

    def __str__(self) -> str:
        return (
            f"a message to or from {self.peer} is too large ({self.details}); of requests the "
            "limit is StreamLimits.request_bytes_max at the producer"
        )

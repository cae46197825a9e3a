"""Errors of streams that are pushed. Pure; see the laws of `errors`."""

from __future__ import annotations

from thespian_dc.model.errors import StreamError, with_fields
from thespian_dc.model.replication_settings import REPLICA_PREFIX


@with_fields
class OriginRefusedError(StreamError):
    """A destination takes no such stream of such an origin from this peer. It says the same of a
    stream that it does not have."""

    grpc_status = "PERMISSION_DENIED"

    stream_id: str
    origin: str

    def __str__(self) -> str:
        return (
            f"stream {self.stream_id!r} of origin {self.origin!r} is not taken from this peer; see "
            "stream_id and origins of Settings.destinations there, and the names in its certificate"
        )


@with_fields
class DestinationTransformError(StreamError):
    """A destination's transform raised, or returned something that cannot be stored."""

    retryable = True  # it is mended at the other end, while we run
    grpc_status = "FAILED_PRECONDITION"

    stream_id: str
    origin: str
    entity_id: str
    slice: int
    offset: int
    cause: str

    def __str__(self) -> str:
        return (
            f"destination {self.stream_id}: the event of {self.origin}'s {self.entity_id} at slice "
            f"{self.slice} offset {self.offset} was not transformed: {self.cause}; nothing was "
            "skipped; mend it"
        )


@with_fields
class TooManySourcesError(StreamError):
    """One entity of a destination would take the events of too many entities."""

    retryable = True  # it is mended at the other end, while we run
    grpc_status = "RESOURCE_EXHAUSTED"

    entity_id: str
    limit: int

    def __str__(self) -> str:
        return (
            f"entity {self.entity_id!r} of a destination takes events of more than {self.limit} "
            "entities; let its transform spread them over several ids"
        )


@with_fields
class PushNotWrittenError(StreamError):
    """The destination's journal refuses an event for good. Nothing was skipped."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"

    stream_id: str
    entity_id: str
    reason: str

    def __str__(self) -> str:
        return (
            f"destination {self.stream_id}: an event of {self.entity_id} cannot be written there: "
            f"{self.reason}; nothing was skipped, it is tried again"
        )


@with_fields
class PushBeginsAgainError(StreamError):
    """The destination wants to begin at other positions, or with another call. Dial at once."""

    retryable = True
    grpc_status = "ABORTED"

    stream_id: str
    reason: str

    def __str__(self) -> str:
        return f"stream {self.stream_id}: {self.reason}; the call begins again"


@with_fields
class DestinationFilterChangedError(StreamError):
    """Somebody else changed the filter of a destination, or of a replica, meanwhile; nothing was
    changed now."""

    grpc_status = "ABORTED"

    stream_id: str
    expected: int
    found: int

    def __str__(self) -> str:
        whose = f"destination {self.stream_id}"
        if self.stream_id.startswith(REPLICA_PREFIX):
            whose = f"replicated type {self.stream_id.removeprefix(REPLICA_PREFIX).split('|')[0]}"
        return (
            f"the filter of {whose} is version {self.found}, not "
            f"{self.expected}: somebody changed it meanwhile; look at it and decide again"
        )


@with_fields
class DestinationTrimmedError(StreamError):
    """Records of a destination were deleted, and nothing says any more which events of their
    sources they were: what comes cannot be told from what was there."""

    retryable = True  # it is mended at the other end, while we run
    grpc_status = "FAILED_PRECONDITION"

    entity_type: str
    entity_id: str
    seq_nr: int

    def __str__(self) -> str:
        return (
            f"{self.entity_type}|{self.entity_id}: its records from seq_nr {self.seq_nr} on were "
            "deleted and no sound stored row says what they were; nothing is written, so that "
            "nothing is doubled; restore the destination's journal, and delete with thespian-dc "
            "destination-trim alone"
        )


@with_fields
class NotADestinationError(StreamError):
    """This entity type is not written by pushes, or not by pushes alone."""

    entity_type: str
    reason: str

    def __str__(self) -> str:
        return (
            f"entity type {self.entity_type!r} is not a destination's: {self.reason}; name the "
            "entity_type of one of Settings.destinations; a replicated type is trimmed with "
            "thespian-dc replication trim"
        )

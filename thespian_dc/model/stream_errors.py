"""Errors of projections and of streams between services. Pure; see the laws of `errors`."""

from __future__ import annotations

from thespian_dc.model.errors import ProjectionError, StreamError, with_fields

# --- projections ---


@with_fields
class HandlerError(ProjectionError):
    """A handler raised. The events before this one are handled; the position stands at it."""

    projection: str
    slice: int
    offset: int
    entity_id: str
    seq_nr: int
    cause: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: the handler raised at {self.entity_id} seq_nr "
            f"{self.seq_nr} (slice {self.slice} offset {self.offset}): {self.cause}; events before "
            "it are handled, it is tried again after a pause"
        )


@with_fields
class TransactionRefusedError(ProjectionError):
    """A handler's statement would have begun or ended the transaction, or is forbidden there."""

    statement: str

    def __str__(self) -> str:
        return (
            f"{self.statement!r} was refused: commit and rollback belong to the projection, so "
            "that effects and position move together; take it out of the handler"
        )


@with_fields
class UnknownEventError(ProjectionError):
    """An event that this projection cannot decode. Never skipped: the position stands at it."""

    grpc_status = "FAILED_PRECONDITION"

    projection: str
    slice: int
    offset: int
    entity_id: str
    seq_nr: int
    cause: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: the event of {self.entity_id} seq_nr {self.seq_nr} "
            f"(slice {self.slice} offset {self.offset}) cannot be decoded: {self.cause}; events "
            "before it are handled; add its type to Projection.events and start again"
        )


@with_fields
class FlushError(ProjectionError):
    """A handler's `flush` raised: the whole transaction was rolled back."""

    projection: str
    cause: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: flush raised {self.cause}; nothing of this "
            "transaction was kept, it is tried again after a pause"
        )


@with_fields
class PositionStoreError(ProjectionError):
    """The database of the positions did not do what it should (locked, full, not writable)."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    url: str
    reason: str

    def __str__(self) -> str:
        return f"positions {self.url}: {self.reason}; nothing was kept; the same may work later"


# --- streams ---


@with_fields
class UnknownStreamError(StreamError):
    """The producer has no stream of this name, or none that this consumer may see."""

    grpc_status = "NOT_FOUND"

    stream_id: str

    def __str__(self) -> str:
        return f"no stream is called {self.stream_id!r} here; see Settings.streams"


@with_fields
class WrongFirstMessageError(StreamError):
    """A call must begin with Start, and Start comes once."""

    grpc_status = "INVALID_ARGUMENT"

    found: str

    def __str__(self) -> str:
        return f"a call begins with one Start message, not with {self.found}"


@with_fields
class MalformedMessageError(StreamError):
    """Bytes that are no message of the protocol, or a message whose fields make no sense."""

    grpc_status = "INVALID_ARGUMENT"

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be read: {self.reason}; do both ends speak thespian_dc.v1?"


@with_fields
class ProtocolVersionError(StreamError):
    """The two ends speak different versions of the protocol."""

    grpc_status = "FAILED_PRECONDITION"

    asked: int
    spoken: int

    def __str__(self) -> str:
        return f"protocol {self.asked} was asked for, this end speaks {self.spoken}; upgrade"


@with_fields
class SliceOutOfRangeError(StreamError):
    """A position names a slice that the entity type does not have, or the same slice twice."""

    grpc_status = "OUT_OF_RANGE"

    stream_id: str
    slice: int
    slices: int

    def __str__(self) -> str:
        return f"stream {self.stream_id}: slice {self.slice} of 0..{self.slices - 1}, each once"


@with_fields
class StreamGapError(StreamError):
    """A batch does not continue the one before it. The call is closed and resumed."""

    retryable = True
    grpc_status = "DATA_LOSS"

    where: str
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"{self.where}: a batch from offset {self.expected} was expected, {self.found} came; "
            "nothing was skipped, the stream is resumed from the last good one"
        )


@with_fields
class DamagedBatchError(StreamError):
    """A body that arrived does not match its CRC: damaged on the way."""

    retryable = True
    grpc_status = "DATA_LOSS"

    where: str
    offset: int

    def __str__(self) -> str:
        return f"{self.where}: the commit at {self.offset} was damaged on the way; it is read again"


@with_fields
class PeerSilentError(StreamError):
    """Nothing came for three heartbeat intervals: the connection is taken for dead."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    peer: str
    silent_ms: int

    def __str__(self) -> str:
        return f"{self.peer} was silent for {self.silent_ms} ms; the connection is given up"


@with_fields
class PeerUnavailableError(StreamError):
    """The other service cannot be reached or broke off."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    peer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.peer} is not available: {self.reason}; does a node listen there?"


@with_fields
class PeerNotTrustedError(StreamError):
    """The TLS handshake failed: expired, wrong name, unknown authority, or no certificate."""

    retryable = True  # certificates are renewed while we run
    grpc_status = "UNAUTHENTICATED"

    peer: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.peer}: no TLS session ({self.reason}); check certificate, its dates and names, "
            "and that both sides' Tls.authority signed the other's"
        )


@with_fields
class StreamRefusedError(StreamError):
    """The producer ended the call with a status that is none of our named errors."""

    retryable = True
    grpc_status = "UNKNOWN"

    peer: str
    status: str
    details: str

    def __str__(self) -> str:
        return f"{self.peer} ended the stream with {self.status}: {self.details}"


@with_fields
class ListenError(StreamError):
    """The producer cannot listen where the settings say."""

    grpc_status = "FAILED_PRECONDITION"

    listen: str
    reason: str

    def __str__(self) -> str:
        return f"cannot listen on {self.listen}: {self.reason}; is another producer running there?"


@with_fields
class TransformError(StreamError):
    """A stream's transform raised, or returned something that the stream does not declare."""

    grpc_status = "FAILED_PRECONDITION"

    stream_id: str
    entity_id: str
    slice: int
    offset: int
    cause: str

    def __str__(self) -> str:
        return (
            f"stream {self.stream_id}: the event of {self.entity_id} at slice {self.slice} offset "
            f"{self.offset} was not transformed: {self.cause}; nothing was skipped; mend it"
        )


@with_fields
class UnmappedEventError(StreamError):
    """A stream's Transformation says nothing about events of this type. Never left out by
    oversight."""

    grpc_status = "FAILED_PRECONDITION"

    stream_id: str
    manifest: str
    entity_id: str
    slice: int
    offset: int

    def __str__(self) -> str:
        return (
            f"stream {self.stream_id}: its Transformation names no type for {self.manifest} "
            f"({self.entity_id} at slice {self.slice} offset {self.offset}); map it, drop it or "
            "add `otherwise`, and start again; nothing was skipped"
        )


# --- history ---


@with_fields
class HistoryRefusedError(StreamError):
    """A consumer wants a history that the stream cannot give."""

    grpc_status = "FAILED_PRECONDITION"

    stream_id: str
    history: str
    reason: str

    def __str__(self) -> str:
        return f"stream {self.stream_id} gives no history {self.history}: {self.reason}"


@with_fields
class HistoryMovedError(StreamError):
    """States moved on faster than a consumer came to them. It begins again from where it is."""

    retryable = True
    grpc_status = "ABORTED"

    where: str
    head: int
    held: int

    def __str__(self) -> str:
        return (
            f"{self.where}: while its history below {self.head} was read the states of {self.held} "
            "entities moved above it; the next call reads on from the position reached"
        )


# --- filters ---


@with_fields
class InvalidFilterError(StreamError):
    """A criterion, or a filter, that cannot be evaluated. What was in force stays in force."""

    grpc_status = "INVALID_ARGUMENT"

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be used in a filter: {self.reason}"


@with_fields
class FilterTooLargeError(StreamError):
    """A filter has more of something than one may have. What was in force stays in force."""

    grpc_status = "RESOURCE_EXHAUSTED"

    what: str
    found: int
    limit: int

    def __str__(self) -> str:
        return (
            f"a filter has {self.found} {self.what}, the limit is {self.limit}; "
            "use a tag, a topic or a regex for many entities at once"
        )


@with_fields
class StreamFilterChangedError(StreamError):
    """Somebody else changed the filter meanwhile; nothing was changed now."""

    grpc_status = "ABORTED"

    stream_id: str
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"the filter of stream {self.stream_id} is version {self.found}, not {self.expected}: "
            "somebody changed it meanwhile; look at it and decide again"
        )


@with_fields
class StreamClosedError(StreamError):
    """A stream shows nothing at present, because what it may show cannot be decided."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    stream_id: str
    reason: str

    def __str__(self) -> str:
        return f"stream {self.stream_id} shows nothing at present: {self.reason}"

"""Errors of projections and of streams between services. Pure; see the laws of `errors`."""

from __future__ import annotations

from thespian_dc.model.errors import ProjectionError, StreamError

# --- projections ---


class HandlerError(ProjectionError):
    """A handler raised. The events before this one are handled; the position stands at it."""

    def __init__(
        self, projection: str, slice_: int, offset: int, entity_id: str, seq_nr: int, cause: str
    ) -> None:
        super().__init__(projection, slice_, offset, entity_id, seq_nr, cause)
        self.projection, self.slice, self.offset = projection, slice_, offset
        self.entity_id, self.seq_nr, self.cause = entity_id, seq_nr, cause

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: the handler raised at {self.entity_id} seq_nr "
            f"{self.seq_nr} (slice {self.slice} offset {self.offset}): {self.cause}; events before "
            "it are handled, it is tried again after a pause"
        )


class TransactionRefusedError(ProjectionError):
    """A handler's statement would have begun or ended the transaction, or is forbidden there."""

    def __init__(self, statement: str) -> None:
        super().__init__(statement)
        self.statement = statement

    def __str__(self) -> str:
        return (
            f"{self.statement!r} was refused: commit and rollback belong to the projection, so "
            "that effects and position move together; take it out of the handler"
        )


class UnknownEventError(ProjectionError):
    """An event that this projection cannot decode. Never skipped: the position stands at it."""

    grpc_status = "FAILED_PRECONDITION"

    def __init__(
        self, projection: str, slice_: int, offset: int, entity_id: str, seq_nr: int, cause: str
    ) -> None:
        super().__init__(projection, slice_, offset, entity_id, seq_nr, cause)
        self.projection, self.slice, self.offset = projection, slice_, offset
        self.entity_id, self.seq_nr, self.cause = entity_id, seq_nr, cause

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: the event of {self.entity_id} seq_nr {self.seq_nr} "
            f"(slice {self.slice} offset {self.offset}) cannot be decoded: {self.cause}; events "
            "before it are handled; add its type to Projection.events and start again"
        )


class FlushError(ProjectionError):
    """A handler's `flush` raised: the whole transaction was rolled back."""

    def __init__(self, projection: str, cause: str) -> None:
        super().__init__(projection, cause)
        self.projection, self.cause = projection, cause

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: flush raised {self.cause}; nothing of this "
            "transaction was kept, it is tried again after a pause"
        )


class PositionStoreError(ProjectionError):
    """The database of the positions did not do what it should (locked, full, not writable)."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"positions {self.url}: {self.reason}; nothing was kept, it will be tried again"


# --- streams ---


class UnknownStreamError(StreamError):
    """The producer has no stream of this name, or none that this consumer may see."""

    grpc_status = "NOT_FOUND"

    def __init__(self, stream_id: str) -> None:
        super().__init__(stream_id)
        self.stream_id = stream_id

    def __str__(self) -> str:
        return f"no stream is called {self.stream_id!r} here; see Settings.streams"


class WrongFirstMessageError(StreamError):
    """A call must begin with Start, and Start comes once."""

    grpc_status = "INVALID_ARGUMENT"

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return f"a call begins with one Start message, not with {self.found}"


class MalformedMessageError(StreamError):
    """Bytes that are no message of the protocol, or a message whose fields make no sense."""

    grpc_status = "INVALID_ARGUMENT"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what} cannot be read: {self.reason}; do both ends speak thespian_dc.v1?"


class ProtocolVersionError(StreamError):
    """The two ends speak different versions of the protocol."""

    grpc_status = "FAILED_PRECONDITION"

    def __init__(self, asked: int, spoken: int) -> None:
        super().__init__(asked, spoken)
        self.asked, self.spoken = asked, spoken

    def __str__(self) -> str:
        return f"protocol {self.asked} was asked for, this end speaks {self.spoken}; upgrade"


class SliceOutOfRangeError(StreamError):
    """A position names a slice that the entity type does not have, or the same slice twice."""

    grpc_status = "OUT_OF_RANGE"

    def __init__(self, stream_id: str, slice_: int, slices: int) -> None:
        super().__init__(stream_id, slice_, slices)
        self.stream_id, self.slice, self.slices = stream_id, slice_, slices

    def __str__(self) -> str:
        return f"stream {self.stream_id}: slice {self.slice} of 0..{self.slices - 1}, each once"


class StreamGapError(StreamError):
    """A batch does not continue the one before it. The call is closed and resumed."""

    retryable = True
    grpc_status = "DATA_LOSS"

    def __init__(self, where: str, expected: int, found: int) -> None:
        super().__init__(where, expected, found)
        self.where, self.expected, self.found = where, expected, found

    def __str__(self) -> str:
        return (
            f"{self.where}: a batch from offset {self.expected} was expected, {self.found} came; "
            "nothing was skipped, the stream is resumed from the last good one"
        )


class DamagedBatchError(StreamError):
    """A body that arrived does not match its CRC: damaged on the way."""

    retryable = True
    grpc_status = "DATA_LOSS"

    def __init__(self, where: str, offset: int) -> None:
        super().__init__(where, offset)
        self.where, self.offset = where, offset

    def __str__(self) -> str:
        return f"{self.where}: the commit at {self.offset} was damaged on the way; it is read again"


class PeerSilentError(StreamError):
    """Nothing came for three heartbeat intervals: the connection is taken for dead."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    def __init__(self, peer: str, silent_ms: int) -> None:
        super().__init__(peer, silent_ms)
        self.peer, self.silent_ms = peer, silent_ms

    def __str__(self) -> str:
        return f"{self.peer} was silent for {self.silent_ms} ms; the connection is given up"


class PeerUnavailableError(StreamError):
    """The other service cannot be reached or broke off."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(peer, reason)
        self.peer, self.reason = peer, reason

    def __str__(self) -> str:
        return f"{self.peer} is not available: {self.reason}; it will be tried again"


class PeerNotTrustedError(StreamError):
    """The TLS handshake failed: expired, wrong name, unknown authority, or no certificate."""

    retryable = True  # certificates are renewed while we run
    grpc_status = "UNAUTHENTICATED"

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(peer, reason)
        self.peer, self.reason = peer, reason

    def __str__(self) -> str:
        return (
            f"{self.peer}: no TLS session ({self.reason}); check certificate, its dates and names, "
            "and that both sides' Tls.authority signed the other's"
        )


class StreamRefusedError(StreamError):
    """The producer ended the call with a status that is none of our named errors."""

    retryable = True
    grpc_status = "UNKNOWN"

    def __init__(self, peer: str, status: str, details: str) -> None:
        super().__init__(peer, status, details)
        self.peer, self.status, self.details = peer, status, details

    def __str__(self) -> str:
        return f"{self.peer} ended the stream with {self.status}: {self.details}"


class ListenError(StreamError):
    """The producer cannot listen where the settings say."""

    grpc_status = "FAILED_PRECONDITION"

    def __init__(self, listen: str, reason: str) -> None:
        super().__init__(listen, reason)
        self.listen, self.reason = listen, reason

    def __str__(self) -> str:
        return f"cannot listen on {self.listen}: {self.reason}; is another producer running there?"


class TransformError(StreamError):
    """A stream's transform raised, or returned something that the stream does not declare."""

    grpc_status = "FAILED_PRECONDITION"

    def __init__(
        self, stream_id: str, entity_id: str, slice_: int, offset: int, cause: str
    ) -> None:
        super().__init__(stream_id, entity_id, slice_, offset, cause)
        self.stream_id, self.entity_id, self.slice = stream_id, entity_id, slice_
        self.offset, self.cause = offset, cause

    def __str__(self) -> str:
        return (
            f"stream {self.stream_id}: the event of {self.entity_id} at slice {self.slice} offset "
            f"{self.offset} was not transformed: {self.cause}; nothing was skipped; mend it"
        )

"""Errors of what happens around a projection's handler. Pure; see the laws of `errors`."""

from __future__ import annotations

from thespian_dc.model.errors import ProjectionError, with_fields


@with_fields
class HandlerNotStartedError(ProjectionError):
    """A handler's class raised when an object of it was made for a run, or its tables could not be
    made, or its `start` raised. what: which of these."""

    projection: str
    what: str
    cause: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: {self.what} raised {self.cause}; no event was handed "
            "over, it is tried again after a pause"
        )


@with_fields
class HandlerCrashedError(ProjectionError):
    """The process died again and again while one event was handled. It is not handled again."""

    projection: str
    slice: int
    offset: int
    entity_id: str
    seq_nr: int
    crashes: int

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: the process died {self.crashes} times while the "
            f"handler had {self.entity_id} seq_nr {self.seq_nr} (slice {self.slice} offset "
            f"{self.offset}); it is not called for it again; mend it and stop and start the "
            "projection, or skip the event, or set recovery=Recovery('retry-and-park')"
        )


@with_fields
class ParkedFullError(ProjectionError):
    """No more events may be parked. Nothing is lost: the position stands at the event."""

    grpc_status = "RESOURCE_EXHAUSTED"

    projection: str
    what: str
    limit: int
    entity_id: str
    seq_nr: int

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: {self.entity_id} seq_nr {self.seq_nr} was to be "
            f"parked, but there are {self.limit} {self.what} already; retry or skip parked events, "
            f"or raise recovery.parked_{self.what}_max, and start it again"
        )


@with_fields
class UnknownParkedError(ProjectionError):
    """A retry or a skip of a parked event that is not there, or is not the entity's first one.
    seq_nr: 0 where none was named."""

    grpc_status = "NOT_FOUND"

    projection: str
    entity_id: str
    seq_nr: int
    found: str

    def __str__(self) -> str:
        at = f" at seq_nr {self.seq_nr}" if self.seq_nr else ""
        return (
            f"projection {self.projection}: {self.entity_id} is not parked{at} ({self.found}); "
            "list the parked events and say it again"
        )


@with_fields
class GroupError(ProjectionError):
    """A grouped handler raised. Which of its events is to blame is found out one by one."""

    projection: str
    events: int
    cause: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: a group of {self.events} events was not handled: "
            f"{self.cause}; nothing of the group was kept, it is tried again"
        )


@with_fields
class EventLostError(ProjectionError):
    """A handler raised at an event that was passed before it was handed over: at most once."""

    projection: str
    slice: int
    offset: int
    entity_id: str
    seq_nr: int
    cause: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: the handler raised at {self.entity_id} seq_nr "
            f"{self.seq_nr} (slice {self.slice} offset {self.offset}): {self.cause}; the event is "
            "passed already and is not handed over again (delivery='at-most-once')"
        )


@with_fields
class ActorSilentError(ProjectionError):
    """The actor that handles a projection's events did not answer in time."""

    actor: str
    timeout_s: float

    def __str__(self) -> str:
        return f"actor {self.actor} did not answer within {self.timeout_s:g} s; is it running?"


@with_fields
class ActorRefusedError(ProjectionError):
    """The actor that handles a projection's events said that it could not."""

    actor: str
    cause: str

    def __str__(self) -> str:
        return f"actor {self.actor} could not handle the events: {self.cause}"


@with_fields
class HandlingStoppedError(ProjectionError):
    """The projection is stopped while its handler waited for an actor; nothing was kept."""

    retryable = True

    projection: str

    def __str__(self) -> str:
        return f"projection {self.projection} is being stopped"


@with_fields
class SinkError(ProjectionError):
    """What a handler asked of its sink cannot be done."""

    grpc_status = "INVALID_ARGUMENT"

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be written: {self.reason}"


@with_fields
class ConsumerSchemaError(ProjectionError):
    """A consumer's database on a server has not the tables that this version needs."""

    grpc_status = "FAILED_PRECONDITION"

    url: str
    found: int
    needed: int

    def __str__(self) -> str:
        found = f"schema {self.found}" if self.found else "no schema"
        return (
            f"positions {self.url}: {found}, version {self.needed} is needed; run "
            "`thespian-dc schema apply --positions URL`"
        )

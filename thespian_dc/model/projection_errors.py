"""Errors of looking after projections: wishes, workers, filters, parked entities. Pure."""

from __future__ import annotations

from thespian_dc.model.errors import ProjectionError, with_fields
from thespian_dc.model.stream_errors import PositionStoreError


@with_fields
class UnknownProjectionError(ProjectionError):
    """No projection of this name ever used the database."""

    grpc_status = "NOT_FOUND"

    projection: str
    url: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return f"no projection is called {self.projection!r} in {self.url}; there are: {known}"


@with_fields
class NoPositionsError(ProjectionError):
    """No projection ever ran in this database, or there is none: looking makes nothing."""

    grpc_status = "NOT_FOUND"

    url: str

    def __str__(self) -> str:
        return f"there are no positions in {self.url}; the first run of a projection makes them"


class ChangeUnknownError(PositionStoreError):
    """The database did not say whether it made a change, and cannot be asked, or does not show it
    yet: it may still come about."""

    def __str__(self) -> str:
        return (
            f"positions {self.url}: {self.reason}; it is not known whether the change was made: "
            "look before you wish it again"
        )


@with_fields
class WishRefusedError(ProjectionError):
    """What was wished cannot be done as things stand; nothing was changed."""

    grpc_status = "FAILED_PRECONDITION"

    projection: str
    wish: str
    reason: str

    def __str__(self) -> str:
        return f"projection {self.projection}: {self.wish} was refused: {self.reason}"


@with_fields
class WishWithdrawnError(ProjectionError):
    """Workers run, but none did it in time; it was withdrawn and will not be done."""

    retryable = True
    grpc_status = "DEADLINE_EXCEEDED"

    projection: str
    wish: str
    waited_s: float
    why: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: {self.wish} was not done within {self.waited_s:g} s: "
            f"{self.why}; nothing was changed and nothing will be, wish it again"
        )


@with_fields
class NotSeenError(ProjectionError):
    """The wish is stored and stays, but not every worker has acted upon it yet."""

    retryable = True
    grpc_status = "DEADLINE_EXCEEDED"

    projection: str
    wish: str
    waited_s: float
    workers: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: {self.wish} is stored, but after {self.waited_s:g} s "
            f"these workers have not acted upon it: {', '.join(self.workers)}; they do when their "
            "handlers return"
        )


@with_fields
class NoWorkerError(ProjectionError):
    """Only a running worker can do this, and none runs."""

    grpc_status = "FAILED_PRECONDITION"

    projection: str
    wish: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: {self.wish} is done by a worker, since only it has "
            "the handler, and none runs; start the projection and wish it again"
        )


@with_fields
class WishesFullError(ProjectionError):
    """So many wishes of one projection wait that no more are taken."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"

    projection: str
    most: int

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: {self.most} wishes wait already; let the workers do "
            "them first, or stop what makes them"
        )


@with_fields
class ControlChangedError(ProjectionError):
    """Somebody else changed what is wished in between."""

    retryable = True
    grpc_status = "ABORTED"

    projection: str
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: its wishes have version {self.found}, not "
            f"{self.expected}; look again, then decide"
        )


@with_fields
class RebuildUnsupportedError(ProjectionError):
    """The handler does not say how what it wrote is taken away."""

    grpc_status = "FAILED_PRECONDITION"

    projection: str

    @property
    def reason(self) -> str:
        """For the one who wished it."""
        return (
            "the handler does not define rebuild(), which deletes what the projection wrote; "
            "without it every effect would be there twice"
        )

    def __str__(self) -> str:
        return f"projection {self.projection} cannot be rebuilt: {self.reason}"


@with_fields
class FilterChangedError(ProjectionError):
    """Somebody else changed the projection's filter in between."""

    retryable = True
    grpc_status = "ABORTED"

    projection: str
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: its filter has version {self.found}, not "
            f"{self.expected}; look at it again, then change it"
        )


@with_fields
class HistoryLostError(ProjectionError):
    """Events that are owed to an entity cannot be looked up: they were trimmed, or worse."""

    grpc_status = "OUT_OF_RANGE"

    projection: str
    entity_id: str
    slice: int
    from_seq_nr: int
    cause: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection}: {self.entity_id} (slice {self.slice}) is to be brought "
            f"up to date from seq_nr {self.from_seq_nr}, which its producer refuses: {self.cause}; "
            "nothing was skipped; to begin with a later event of it, include its id with "
            "from_seq_nr"
        )

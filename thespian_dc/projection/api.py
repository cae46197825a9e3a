"""The contracts of the projection room: what a source yields, what a handler is, what a position
store keeps."""

# ruff: noqa: PLC0414  for type checkers, a name imported under itself is one of the module

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from thespian_dc.model.criteria import FilterInForce as FilterInForce
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.lazy import lazily
from thespian_dc.model.position import Position
from thespian_dc.model.settings import Local, Projection
from thespian_dc.projection.actors import Answer as Answer
from thespian_dc.projection.actors import Courier as Courier
from thespian_dc.projection.consumers import CONSUMER_DAYS as CONSUMER_DAYS
from thespian_dc.projection.consumers import DAY_US as DAY_US
from thespian_dc.projection.consumers import Consumer as Consumer
from thespian_dc.projection.consumers import Held as Held
from thespian_dc.projection.consumers import Trimmed as Trimmed
from thespian_dc.projection.consumers import forget_consumer as forget_consumer
from thespian_dc.projection.consumers import held_by as held_by
from thespian_dc.projection.consumers import lowest as lowest
from thespian_dc.projection.consumers import note_consumer as note_consumer
from thespian_dc.projection.consumers import noted_consumers as noted_consumers
from thespian_dc.projection.consumers import waited_for as waited_for
from thespian_dc.projection.entity_reading import EntityReading as EntityReading
from thespian_dc.projection.handlers import CassandraProjectionHandler as CassandraProjectionHandler
from thespian_dc.projection.handlers import CassandraUpsertHandler as CassandraUpsertHandler
from thespian_dc.projection.handlers import GroupedHandler as GroupedHandler
from thespian_dc.projection.handlers import GroupedSqlHandler as GroupedSqlHandler
from thespian_dc.projection.handlers import Partition as Partition
from thespian_dc.projection.handlers import ProjectionHandler as ProjectionHandler
from thespian_dc.projection.handlers import SqlProjectionHandler as SqlProjectionHandler
from thespian_dc.projection.handlers import Transaction as Transaction
from thespian_dc.projection.handlers import Upserts as Upserts
from thespian_dc.projection.history import Chosen as Chosen
from thespian_dc.projection.history import Judge as Judge
from thespian_dc.projection.history import Placed as Placed
from thespian_dc.projection.history import Restored as Restored
from thespian_dc.projection.history import SliceHistory as SliceHistory
from thespian_dc.projection.history import pack_placed as pack_placed
from thespian_dc.projection.history import state_for_lookup as state_for_lookup
from thespian_dc.projection.listening import Listener as Listener
from thespian_dc.projection.protocol import EventsHandled as EventsHandled
from thespian_dc.projection.protocol import EventsRefused as EventsRefused
from thespian_dc.projection.protocol import ProjectedEvents as ProjectedEvents
from thespian_dc.projection.selecting import ID as ID
from thespian_dc.projection.selecting import TAGS as TAGS
from thespian_dc.projection.selecting import Facts as Facts
from thespian_dc.projection.selecting import FactsCache as FactsCache
from thespian_dc.projection.selecting import Selector as Selector
from thespian_dc.projection.selecting import append_empty as append_empty
from thespian_dc.projection.selecting import body_of as body_of
from thespian_dc.projection.selecting import spans_of as spans_of
from thespian_dc.projection.views import CommitView as CommitView
from thespian_dc.projection.views import LookedUp as LookedUp
from thespian_dc.projection.views import Lookup as Lookup
from thespian_dc.projection.views import SourceBatch as SourceBatch

if TYPE_CHECKING:
    from thespian_dc.projection.core import Move
    from thespian_dc.projection.handling import records_in as records_in
    from thespian_dc.projection.kinds import check_handler as check_handler
    from thespian_dc.projection.local import LocalSource as LocalSource
    from thespian_dc.projection.management import Projections as Projections
    from thespian_dc.projection.management import positions_in as positions_in
    from thespian_dc.projection.observe import Progress as Progress
    from thespian_dc.projection.observe import ProjectionView as ProjectionView
    from thespian_dc.projection.observe import progress as progress


HEADS_S = 2.0
"""How often a source whose batches are not all handled looks how much there is behind them."""
LOOK_UP_BYTES_MAX = 1 << 20
LOOK_UP_EVENTS_MAX = 2_000
"""Bounds of one answer to a lookup."""


class LookUpFailed(NamedTuple):
    """A lookup got no answer. error.retryable: it is asked again."""

    lookup: Lookup
    error: Exception


class JournalPositions(NamedTuple):
    """A position of every slice of the source's entity type."""

    journal_id: str
    positions: Mapping[int, Position]


class SourceDescription(NamedTuple):
    """Of the source's journal; known once it started."""

    journal_id: str
    entity_type: str
    slices: int


class SourceEvents(NamedTuple):
    """What a source calls, on a thread of its own, in the order of the stream. They must only hand
    over (a queue and a wake-up).

    failed ends the run; the projection decides whether to start again. heads: of some slices, as
    now known; at the start, and while batches wait (no more often than a status is worth).
    """

    started: Callable[[SourceDescription], None]
    batch: Callable[[SourceBatch], None]
    filter_in_force: Callable[[FilterInForce], None]
    failed: Callable[[Exception], None]
    heads: Callable[[Mapping[int, int]], None] = lambda _: None


class Source(Protocol):
    """Where batches come from. A projection cannot tell a local source from a remote one."""

    def start(
        self,
        journal_id: str,
        positions: Mapping[int, Position],
        filter_: VersionedFilter,
        slices: Sequence[int] | None,
        events: SourceEvents,
    ) -> None:
        """Begin at the given positions (a slice not named: from 0). journal_id: "" or of the stored
        positions. slices: the ones wanted, None for all.

        With a filter, `filter_in_force` comes before the first batch, again after each reconnect.
        A source reconnects by itself on transient failures, from the last batch it handed over.
        """

    def change_filter(self, filter_: VersionedFilter) -> None:
        """Evaluate under this filter from the next batch on; `filter_in_force` says from where."""

    def look_up(self, lookup: Lookup, on_answer: Callable[[LookedUp | LookUpFailed], None]) -> None:
        """Read events of one entity. on_answer is called once, from the source's thread, unless the
        source is stopped before. Calls do not wait for each other; the asker bounds their number.

        The answer holds at least one event where there is one, and about LOOK_UP_BYTES_MAX at most.
        """

    @property
    def trouble(self) -> str:
        """Why nothing comes at present (the peer or the journal does not answer), though the source
        keeps trying; "" while all is well. From any thread."""

    def heads(self) -> JournalPositions:
        """The position behind the last record of every slice, now. Blocks; only before `start`."""

    def positions_at(self, time_us: int) -> JournalPositions:
        """Of every slice, the position before the first record written at time_us or later. Blocks;
        only before `start`."""

    def handled(self, batch: SourceBatch) -> None:
        """The batch's position is durable: its credit may be given back."""

    def stop(self) -> None:
        """Stop and release; no callback is called after this returns. Idempotent."""


class StoredPosition(NamedTuple):
    """A projection's row for one slice. epoch: the consumer that may move it."""

    epoch: int
    position: Position


@dataclass(frozen=True, slots=True)
class StoredPositions:
    """All rows of a projection. journal_id: "" where it never ran."""

    journal_id: str
    slices: Mapping[int, StoredPosition]


class PositionStore(Protocol):
    """Positions of projections in the consumer's database. Every write compares (epoch, expected
    offset)."""

    def load(self, projection: str) -> StoredPositions: ...

    def claim(self, projection: str, slices: Sequence[int], journal_id: str) -> StoredPositions:
        """Raise the epoch of each slice by one and return the rows: former consumers cannot move
        them any more.

        JournalDivergedError where rows of another journal_id are stored.
        """

    def place(
        self, projection: str, journal_id: str, positions: Mapping[int, Position], *, moves: bool
    ) -> None:
        """Begin slices at these positions, in one transaction; what was remembered of entities
        there is forgotten. moves: also slices that have a position, under a higher epoch; else they
        are left alone."""

    def check(self, projection: str, slice_: int, epoch: int, offset: int) -> None:
        """PositionConflictError unless the row is as said."""

    def move(self, projection: str, moves: Sequence[Move]) -> None:
        """In the open transaction; PositionConflictError where a row is not as expected: then
        nothing of the transaction is kept."""


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """What a projection is doing, as plain values that pickle.

    phase: "starting" | "running" | "paused" | "idle" (other workers serve all slices) | "waiting"
    (before a restart) | "halted" (an error that no restart mends) | "stopped". events: offsets
    passed since this process began. lag: events known to be waiting, over all slices served here.
    positions: stored offset by slice served. error: what keeps the source from getting anything
    now, else of the last failed run, else "". worker: its name among the workers of the projection.
    busy_since_us: wall clock since when there was always something to handle, 0 where nothing
    waits. lag_s: by slice
    served, the age of the last handled commit, 0.0 where nothing is known to wait. workers_wished:
    per node, None where nobody changed what the settings say. skipped: events left out since this
    process began. parked: events that wait, of slices served here.
    """

    name: str
    phase: str
    events: int
    lag: int
    positions: Mapping[int, int]
    restarts: int
    error: str
    worker: str = ""
    busy_since_us: int = 0
    lag_s: Mapping[int, float] = field(default_factory=dict)
    workers_wished: int | None = None
    skipped: int = 0
    parked: int = 0


class RunningProjection(Protocol):
    """A projection on its own thread in this process."""

    def status(self) -> ProjectionStatus: ...

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End after the transaction at hand; False where a handler did not return in time."""


def start_projection(
    projection: Projection,
    make_source: Callable[[], Source],
    worker: str = "",
    courier: Courier | None = None,
) -> RunningProjection:
    """Run `projection` on a thread of this process until it is stopped, restarting it as its policy
    says. All that run it over the same database share its slices.

    make_source builds a source for each run: `local_source(...)`, or one that reads a stream.
    worker: a name that its successor after a crash has too, and nobody else; "": a new one.
    courier: brings events to actors, for a handler ToActor.
    """
    from thespian_dc.projection.runner import ProjectionRunner

    runner = ProjectionRunner(projection, make_source, worker, courier)
    runner.start()
    return runner


def apply_positions_schema(url: str) -> tuple[int, str]:
    """Make a consumer's tables on a server: (version found before, home data centre)."""
    from thespian_dc.projection.databases import on_a_server

    made: tuple[int, str] = on_a_server(url).apply_schema(url)
    return made


def check_positions_schema(url: str) -> None:
    """ConsumerSchemaError or HomeDataCentreError where they do not fit."""
    from thespian_dc.projection.databases import on_a_server

    on_a_server(url).check_schema(url)


def local_source(local: Local, journal_url: str, name: str = "") -> LocalSource:
    """A source over a journal that this process opens; journal_url: the node's own, if local has
    none. name: of the projection, noted in that journal."""
    from thespian_dc.projection.local import LocalSource

    return LocalSource(local.entity_type, local.journal or journal_url, local.history, name)


_WHERE = {
    "LocalSource": "projection.local",
    "Progress": "projection.observe",
    "ProjectionView": "projection.observe",
    "Projections": "projection.management",
    "check_handler": "projection.kinds",
    "positions_in": "projection.management",
    "progress": "projection.observe",
    "records_in": "projection.handling",
}
__getattr__ = lazily(__name__, _WHERE)

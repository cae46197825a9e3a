"""What a link reads from: one source over a peer's replica stream, or several that share its
slices, each over a call and a window of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Protocol

from thespian_dc.model.criteria import FilterInForce, VersionedFilter
from thespian_dc.model.position import Position
from thespian_dc.model.replication_handshake import Known
from thespian_dc.projection.api import (
    JournalPositions,
    LookedUp,
    Lookup,
    LookUpFailed,
    Source,
    SourceBatch,
    SourceDescription,
    SourceEvents,
)
from thespian_dc.wire.lookups import EntityIds, EntityState


class ReplicaSource(Source, Protocol):
    """See stream.client.RemoteSource."""

    def send_known(self, known: Known) -> None: ...
    def entity_state(
        self, entity_id: str, fresh: bool, on_answer: Callable[[EntityState | LookUpFailed], None]
    ) -> None: ...
    def entity_ids(
        self, slice_: int, after: str, on_answer: Callable[[EntityIds | LookUpFailed], None]
    ) -> None: ...


class SharedSource:
    """As one source. workers: at most so many; as long as the peer's slices are not known (no
    positions) there is one. make: a source, not started."""

    def __init__(self, workers: int, make: Callable[[], ReplicaSource]) -> None:
        self._workers, self._make = workers, make
        self._sources = [make()]
        self._lock = Lock()
        self._described = False
        self._in_force: dict[int, FilterInForce] = {}

    def start(
        self,
        journal_id: str,
        positions: Mapping[int, Position],
        filter_: VersionedFilter,
        slices: Sequence[int] | None,
        events: SourceEvents,
    ) -> None:
        """See Source.start."""
        self._events = events
        known = sorted(positions) if slices is None else sorted(slices)
        workers = max(1, min(self._workers, len(positions)))
        self._sources += [self._make() for _ in range(1, workers)]
        for nr, source in enumerate(self._sources):
            mine = known[nr::workers] if positions else slices
            heard = events._replace(
                started=self._on_started, filter_in_force=self._on_in_force_at(nr)
            )
            at = positions if mine is None else {n: positions[n] for n in mine if n in positions}
            source.start(journal_id, at, filter_, mine, heard)

    def stop(self) -> None:
        """See Source.stop."""
        for source in self._sources:
            source.stop()

    def handled(self, batch: SourceBatch) -> None:
        """See Source.handled."""
        self._of(batch.slice).handled(batch)

    def change_filter(self, filter_: VersionedFilter) -> None:
        """See Source.change_filter."""
        for source in self._sources:
            source.change_filter(filter_)

    def send_known(self, known: Known) -> None:
        """See RemoteSource.send_known."""
        for source in self._sources:
            source.send_known(known)

    def look_up(self, lookup: Lookup, on_answer: Callable[[LookedUp | LookUpFailed], None]) -> None:
        """See Source.look_up."""
        self._of(lookup.slice).look_up(lookup, on_answer)

    def entity_state(
        self, entity_id: str, fresh: bool, on_answer: Callable[[EntityState | LookUpFailed], None]
    ) -> None:
        """See RemoteSource.entity_state."""
        self._sources[0].entity_state(entity_id, fresh, on_answer)

    def entity_ids(
        self, slice_: int, after: str, on_answer: Callable[[EntityIds | LookUpFailed], None]
    ) -> None:
        """See RemoteSource.entity_ids."""
        self._sources[0].entity_ids(slice_, after, on_answer)

    def heads(self) -> JournalPositions:
        """See Source.heads."""
        return self._sources[0].heads()

    def positions_at(self, time_us: int) -> JournalPositions:
        """See Source.positions_at."""
        return self._sources[0].positions_at(time_us)

    @property
    def trouble(self) -> str:
        """Of the first that has any."""
        return next((one.trouble for one in self._sources if one.trouble), "")

    def _of(self, slice_: int) -> ReplicaSource:
        return self._sources[slice_ % len(self._sources)]

    # --- from the sources' threads ---

    def _on_started(self, of: SourceDescription) -> None:
        with self._lock:  # what the others bring comes after it
            if not self._described:
                self._described = True
                self._events.started(of)

    def _on_in_force_at(self, nr: int) -> Callable[[FilterInForce], None]:
        def on_in_force(said: FilterInForce) -> None:
            """A version counts when all evaluate under it."""
            with self._lock:
                self._in_force[nr] = said
                versions = {one.version for one in self._in_force.values()}
                if len(self._in_force) < len(self._sources) or len(versions) > 1:
                    return
                starts = {n: at for one in self._in_force.values() for n, at in one.starts.items()}
            self._events.filter_in_force(FilterInForce(said.version, starts))

        return on_in_force

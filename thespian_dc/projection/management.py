"""Look after projections from any process, through the consumer's database.

    Projections("sqlite:///popularity.db").pause("popularity")

Nothing of the projection's own code is needed here, nor a connection to its processes. What is
wished is a row; a running worker does it between two transactions and writes what came of it. Where
no worker runs, positions are changed here, under a higher epoch: a worker that starts meanwhile
either comes after the change or cannot move what it read before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from thespian_dc.model.criteria import Filter, VersionedFilter
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.projection_errors import (
    FilterChangedError,
    NotSeenError,
    NoWorkerError,
    UnknownProjectionError,
    WishRefusedError,
    WishWithdrawnError,
)
from thespian_dc.model.setting_checks import check_workers
from thespian_dc.projection.control import OPEN, POSITION, REBUILD, REFUSED, SKIP, WITHDRAWN, Wish
from thespian_dc.projection.databases import Stores, check_url, open_existing
from thespian_dc.projection.observe import ProjectionView, view_of, view_of_worker
from thespian_dc.projection.parking import RETRY, ParkedEntity, ParkedEvent
from thespian_dc.projection.parking import SKIP as SKIP_PARKED
from thespian_dc.projection.store import ControlStore
from thespian_dc.projection.worker import seen_lives
from thespian_dc.shell.clock import now_us

TIMEOUT_S = 10.0


class Projections:
    """The projections of one consumer database. From any process and thread; holds nothing open.

    url: as Projection.positions. Every method raises NoPositionsError where no projection ever
    ran, UnknownProjectionError for a name that never ran there, PositionStoreError where the
    database does not answer. timeout_s: how long to wait for the workers, in seconds; 0.0 does not
    wait for what stays (pause, resume, rescale).
    """

    def __init__(self, url: str) -> None:
        self._url = url
        check_url(url)

    # --- looking ---

    def names(self) -> list[str]:
        """Of all that ever ran here, sorted."""
        with self._opened() as stores:
            return stores.control.projections()

    def status(self, projection: str) -> ProjectionView:
        """What it does and where it stands, as its workers last wrote it."""
        with self._known(projection) as stores:
            return self._view(stores.control, projection)

    def positions(self, projection: str) -> Mapping[int, int]:
        """The stored offset of each slice."""
        return self.status(projection).positions

    # --- what stays until it is wished otherwise ---

    def pause(
        self, projection: str, timeout_s: float = TIMEOUT_S, expected: int | None = None
    ) -> ProjectionView:
        """Handle nothing more, also after restarts, until `resume`. Returns once no worker has an
        event in its hands; NotSeenError: it is stored, but not all have come to it.

        expected: a version of the wishes (ProjectionView.version); ControlChangedError if another.
        """
        return self._stays(
            projection, "pause", timeout_s, lambda s: s.pause(projection, True, expected)
        )

    def resume(
        self, projection: str, timeout_s: float = TIMEOUT_S, expected: int | None = None
    ) -> ProjectionView:
        """Go on from the stored positions."""
        return self._stays(
            projection, "resume", timeout_s, lambda s: s.pause(projection, False, expected)
        )

    def rescale(
        self, projection: str, workers: int | None, timeout_s: float = 0.0,
        expected: int | None = None,
    ) -> ProjectionView:  # fmt: skip
        """Run so many workers in each node of the projection; None: as its settings say.

        It is the nodes that start and end processes; they need a second or two. Slices move between
        transactions.
        """
        if workers is not None:
            check_workers(projection, workers)
        return self._stays(
            projection, "rescale", timeout_s, lambda s: s.rescale(projection, workers, expected)
        )

    # --- what is done once ---

    def set_position(
        self, projection: str, slice_: int, offset: int, expected: int | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:  # fmt: skip
        """Let the slice go on at `offset`, back (events are handled again) or ahead (they never
        are). expected: WishRefusedError unless it stands there now; also where a worker runs that
        knows of nothing there.

        WishWithdrawnError: workers run, but none did it in time, and now none will.
        """
        if offset < 0:
            raise SettingsError(f"an offset is 0 or more, not {offset}")
        what = f"position {offset} for slice {slice_}"
        self._once(projection, what, timeout_s, (POSITION, slice_, offset, expected))

    def skip(self, projection: str, slice_: int, offset: int, timeout_s: float = TIMEOUT_S) -> None:
        """Leave out the event at this offset, at which the slice must stand now."""
        what = f"skipping the event at offset {offset} of slice {slice_}"
        self._once(projection, what, timeout_s, (SKIP, slice_, offset, offset))

    def rebuild(self, projection: str, timeout_s: float = TIMEOUT_S) -> ProjectionView:
        """Delete what the projection wrote (its handler's `rebuild`) and handle all events again.

        Returns when it has begun: `status` shows how far it is. All slices are gathered at one
        worker for it. NoWorkerError where none runs, since only a worker has the handler.
        """
        self._once(projection, "a rebuild", timeout_s, (REBUILD, -1, 0, None))
        return self.status(projection)

    # --- which events it wants ---

    def filter(self, projection: str) -> VersionedFilter:
        """What is wanted, with its version; version 0: everything, and nobody ever said else."""
        with self._known(projection) as stores:
            return stores.filters.read(projection)

    def set_filter(
        self, projection: str, wanted: Filter, expected: int | None = None
    ) -> VersionedFilter:
        """Want this and nothing else, from the next batch of each slice on. What is included later
        is brought up to date first (docs/filters.md). It outlives all processes. Includes without
        any exclude let through only what they include.

        expected: the version it must have now; FilterChangedError if another.
        """
        return self._change_filter(projection, lambda _: wanted.spelled_out(), expected)

    def add_criteria(
        self, projection: str, criteria: Filter, expected: int | None = None
    ) -> VersionedFilter:
        """Exclude and include these too: `Include.entity_ids("c-1")`, `Exclude.tags("small")`."""
        return self._change_filter(projection, lambda present: present + criteria, expected)

    def remove_criteria(
        self, projection: str, criteria: Filter, expected: int | None = None
    ) -> VersionedFilter:
        """Exclude and include these no more; those that are not there change nothing."""
        return self._change_filter(projection, lambda present: present - criteria, expected)

    # --- what waits because its handler raised ---

    def parked(self, projection: str, after: str = "", limit: int = 100) -> Sequence[ParkedEntity]:
        """Parked entities in the order of their ids, those after `after`, at most `limit`."""
        with self._known(projection) as stores:
            return stores.parked.entities(projection, after, limit)

    def parked_events(
        self, projection: str, entity_id: str, after_seq_nr: int = 0, limit: int = 100
    ) -> Sequence[ParkedEvent]:
        """The stored events of one of them, in order."""
        with self._known(projection) as stores:
            return stores.parked.events(projection, entity_id, after_seq_nr, limit)

    def retry_parked(self, projection: str, entity_id: str, seq_nr: int | None = None) -> None:
        """Hand its events over again, in order; the entity is free when all were handled. One that
        raises again stays the first. UnknownParkedError; seq_nr: unless that is the first."""
        self._wish_parked(projection, RETRY, entity_id, seq_nr)

    def skip_parked(self, projection: str, entity_id: str, seq_nr: int | None = None) -> None:
        """Leave out its first event for good, and hand over the others."""
        self._wish_parked(projection, SKIP_PARKED, entity_id, seq_nr)

    # --- inside ---

    def _wish_parked(self, projection: str, what: str, entity_id: str, seq_nr: int | None) -> None:
        with self._known(projection) as stores:
            stores.parked.wish(projection, what, entity_id, seq_nr)
            stores.control.stir(projection)

    def _change_filter(
        self, projection: str, change: Callable[[Filter], Filter], expected: int | None
    ) -> VersionedFilter:
        with self._known(projection) as stores:
            filters = stores.filters
            while True:
                present = filters.read(projection)
                try:
                    changed = filters.change(
                        projection, present.version if expected is None else expected,
                        change(present.filter),
                    )  # fmt: skip
                except FilterChangedError:  # by somebody at the same time: look again, and add
                    if expected is not None:
                        raise
                    continue
                stores.control.stir(projection)  # one that failed by its filter looks at once
                return changed

    @contextmanager
    def _opened(self) -> Iterator[Stores]:
        stores = open_existing(self._url)
        try:
            yield stores
        finally:
            stores.database.close()

    @contextmanager
    def _known(self, projection: str) -> Iterator[Stores]:
        with self._opened() as stores:
            names = stores.control.projections()
            if projection not in names:
                raise UnknownProjectionError(projection, self._url, tuple(names))
            yield stores

    def _view(self, store: ControlStore, projection: str) -> ProjectionView:
        control, (rows, holders) = store.control(projection), store.workers(projection)
        alive, now = seen_lives(rows), now_us()
        workers = [view_of_worker(row, holders, alive[row.worker], now) for row in rows]
        return view_of(
            projection, control, store.offsets(projection), workers, store.rebuild_to(projection)
        )

    def _stays(
        self, projection: str, what: str, timeout_s: float, change: Callable[[ControlStore], int]
    ) -> ProjectionView:
        until = time.monotonic() + timeout_s
        with self._known(projection) as stores:
            store = stores.control
            version = change(store)
            while True:
                view = self._view(store, projection)
                rows, _ = store.workers(projection)
                behind = {row.worker for row in rows if row.seen < version}
                behind &= {one.worker for one in view.workers if one.lives}
                if not behind or timeout_s <= 0:
                    return view
                if time.monotonic() > until:
                    raise NotSeenError(projection, what, timeout_s, tuple(sorted(behind)))
                time.sleep(store.look_s / 2)

    def _once(
        self, projection: str, what: str, timeout_s: float,
        wanted: tuple[str, int, int, int | None],
    ) -> None:  # fmt: skip
        until = time.monotonic() + timeout_s
        with self._known(projection) as stores:
            store = stores.control
            offsets, slice_ = store.offsets(projection), wanted[1]
            if slice_ >= 0 and slice_ not in offsets:
                there = ", ".join(map(str, offsets)) or "none"
                raise WishRefusedError(projection, what, f"there are positions of slices {there}")
            wish = store.wish(projection, *wanted)
            while wish.state == OPEN:
                view = self._view(store, projection)
                if not view.lives:
                    wish = self._without_worker(store, projection, what, wish)
                elif time.monotonic() > until:
                    wish = store.withdraw(projection, wish.nr)
                else:
                    time.sleep(store.look_s / 2)
                    wish = store.wish_of(projection, wish.nr)
            if wish.state == REFUSED:
                raise WishRefusedError(projection, what, wish.said)
            if wish.state == WITHDRAWN:
                raise WishWithdrawnError(projection, what, timeout_s, _why(view))

    def _without_worker(self, store: ControlStore, projection: str, what: str, wish: Wish) -> Wish:
        if wish.kind != REBUILD:
            return store.perform(projection, wish.nr)
        withdrawn = store.withdraw(projection, wish.nr)
        if withdrawn.state == WITHDRAWN:
            raise NoWorkerError(projection, what)
        return withdrawn


def _why(view: ProjectionView) -> str:
    said = [
        f"{one.worker} (pid {one.pid}) is {one.health}"
        + (f", at one transaction for {one.handling_s:.1f} s" if one.handling_s else "")
        for one in view.workers
        if one.lives
    ]
    return "; ".join(said)


def positions_in(projections: Mapping[str, str]) -> dict[str, Mapping[int, int]]:
    """Where projections are now. projections: "service/name" -> the URL of their positions."""
    return {
        name: Projections(url).positions(name.rpartition("/")[2])
        for name, url in projections.items()
    }

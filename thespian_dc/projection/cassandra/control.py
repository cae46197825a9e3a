"""What is wished of projections and who works on them, in a consumer's keyspace.

Three kinds of cells, each changed by compare-and-set on its version: "control" (all that is
wished), "holds" (who holds which slice) and one per worker, whose version is its beat. What a wish
does to positions: performing.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from thespian_dc.model.projection_errors import ControlChangedError, WishesFullError
from thespian_dc.projection.cassandra.cells import TRIES_MAX, Cells
from thespian_dc.projection.cassandra.database import LOOK_S, CassandraDatabase
from thespian_dc.projection.cassandra.performing import Performing
from thespian_dc.projection.cassandra.positions import CassandraPositions
from thespian_dc.projection.control import (
    DONE,
    OPEN,
    REBUILD,
    REFUSED,
    WISHES_MAX,
    WITHDRAWN,
    Control,
    Wish,
)
from thespian_dc.projection.workers import WorkerRow

_CONTROL, _HOLDS, _WORKER = "control", "holds", "worker/"
_SAID_MAX = 1_000


class _Stored(NamedTuple):
    """The control cell. nr: of the last wish. wishes: rows of Wish, those that ended too. begun:
    wishes that can be withdrawn no more, since they may be half done. until: see rebuild_to, as
    pairs. by: tells writers of the same apart."""

    version: int = 0
    paused: bool = False
    workers: int | None = None
    slices: int = 0
    nr: int = 0
    wishes: Sequence[Any] = ()
    begun: Sequence[int] = ()
    until: Sequence[Any] = ()
    by: bytes = b""

    def of(self, nr: int) -> Wish:
        return {row[0]: Wish(*row) for row in self.wishes}[nr]

    @property
    def open(self) -> tuple[Wish, ...]:
        return tuple(Wish(*row) for row in self.wishes if Wish(*row).state == OPEN)


def _stored(value: Any) -> _Stored:
    return _Stored(*value) if value else _Stored()


class CassandraControl:
    """Implements projection.store.ControlStore. Opens no transaction inside another."""

    look_s = LOOK_S

    def __init__(self, database: CassandraDatabase) -> None:
        self._database, self._cells = database, Cells(database)
        self._positions, self._performing = CassandraPositions(database), Performing(database)
        self._beats: dict[tuple[str, str], int] = {}  # of this connection's worker, as last written

    def close(self) -> None:
        self._database.close()

    # --- what is wished ---

    def projections(self) -> list[str]:
        """See ControlStore."""
        rows = self._database.rows("with_cells") + self._database.rows("with_names")
        return sorted({name for (name,) in rows})

    def stirred(self, projection: str) -> int:
        """See ControlStore: one small read."""
        return self._cells.versions(projection, [_CONTROL, _HOLDS])

    def stir(self, projection: str) -> None:
        """See ControlStore."""
        self._change_holds(projection, lambda holds: holds)

    def control(self, projection: str) -> Control:
        """See ControlStore."""
        stored = _stored(self._cells.look(projection, _CONTROL))
        return Control(*stored[:4], stored.open)

    def pause(self, projection: str, paused: bool, expected: int | None = None) -> int:
        """See ControlStore."""
        return self._set(projection, {"paused": paused}, expected)

    def rescale(self, projection: str, workers: int | None, expected: int | None = None) -> int:
        """See ControlStore."""
        return self._set(projection, {"workers": workers}, expected)

    def know(self, projection: str, slices: int) -> None:
        """See ControlStore."""
        self._change(
            projection, lambda s: None if s.slices == slices else s._replace(slices=slices)
        )

    def wish(
        self, projection: str, kind: str, slice_: int, offset: int, expected: int | None
    ) -> Wish:
        """See ControlStore."""

        def add(stored: _Stored) -> _Stored:
            if len(stored.open) >= WISHES_MAX:
                raise WishesFullError(projection, WISHES_MAX)
            nr = stored.nr + 1
            kept = [row for row in stored.wishes if row[0] > nr - WISHES_MAX or _is_open(row)]
            rows = [*kept, list(Wish(nr, kind, slice_, offset, expected))]
            return stored._replace(nr=nr, wishes=rows, version=stored.version + 1)

        stored = self._change(projection, add)
        return stored.of(stored.nr)

    def wish_of(self, projection: str, nr: int) -> Wish:
        """See ControlStore."""
        return _stored(self._cells.look(projection, _CONTROL)).of(nr)

    def withdraw(self, projection: str, nr: int) -> Wish:
        """See ControlStore. One that is being done stays open until it is done."""
        return self._end(projection, nr, WITHDRAWN, "", begun=False)

    def refuse(self, projection: str, nr: int, reason: str) -> Wish:
        """See ControlStore."""
        return self._end(projection, nr, REFUSED, reason)

    def perform(self, projection: str, nr: int, also: Callable[[], None] | None = None) -> Wish:
        """See ControlStore: slice by slice, each with the outcome of the wish there, so that
        whoever finds it half done goes on. `also` is done first."""
        wish = _stored(self._cells.read(projection, _CONTROL)[1]).of(nr)
        if wish.state != OPEN:
            return wish
        if also is not None:
            also()
        until = self._positions.offsets(projection) if wish.kind == REBUILD else {}
        stored = self._change(projection, lambda s: _begin(s, nr, until))
        if stored.of(nr).state != OPEN:
            return stored.of(nr)
        if wish.kind == REBUILD:
            self._performing.rebuild(projection, wish)
            return self._end(projection, nr, DONE, "")
        for earlier in stored.open:  # its outcome stands in the slice, where ours will stand
            if earlier.nr in stored.begun and earlier.slice == wish.slice and earlier.nr < nr:
                self._end(projection, earlier.nr, *self._performing.at_slice(projection, earlier))
        return self._end(projection, nr, *self._performing.at_slice(projection, wish))

    def offsets(self, projection: str) -> dict[int, int]:
        """See ControlStore."""
        return self._positions.offsets(projection)

    def rebuild_to(self, projection: str) -> dict[int, int]:
        """See ControlStore."""
        return dict(_stored(self._cells.look(projection, _CONTROL)).until)

    # --- who works on it ---

    def beat(self, projection: str, row: WorkerRow) -> None:
        """See ControlStore."""
        name, place = _WORKER + row.worker, (projection, row.worker)
        known = self._beats.pop(place, 0)
        for _ in range(TRIES_MAX):
            if self._cells.put_next(projection, name, known, list(row[2:])):
                break
            known = self._cells.read(projection, name)[0]
        else:
            raise self._cells.busy(name)
        self._beats[place] = known + 1
        if not known:
            self.stir(projection)

    def workers(self, projection: str) -> tuple[list[WorkerRow], dict[int, str]]:
        """See ControlStore."""
        # In this order a holder that is there has a row, unless it left in between.
        holds = dict(self._cells.look(projection, _HOLDS) or ())
        rows = [
            WorkerRow(name.removeprefix(_WORKER), beat, *facts)
            for name, beat, facts in self._cells.beginning(projection, _WORKER)
        ]
        return rows, holds

    def hold(self, projection: str, worker: str, slices: Mapping[int, str]) -> None:
        """See ControlStore."""

        def take(holds: dict[int, str]) -> dict[int, str]:
            free = {s for s, holder in slices.items() if holds.get(s, "") == holder}
            return holds | dict.fromkeys(free, worker)

        self._change_holds(projection, take)

    def release(self, projection: str, worker: str, slices: Sequence[int]) -> None:
        """See ControlStore."""
        back = {(slice_, worker) for slice_ in slices}
        self._change_holds(
            projection, lambda holds: {s: w for s, w in holds.items() if (s, w) not in back}
        )

    def leave(self, projection: str, worker: str, *, forget: bool) -> None:
        """See ControlStore."""
        name = _WORKER + worker
        self._beats.pop((projection, worker), None)
        if forget:
            self._cells.remove(projection, name)
        else:
            self._cells.change(projection, name, _leaving)
        self._change_holds(
            projection, lambda holds: {s: w for s, w in holds.items() if w != worker}
        )

    # --- inside ---

    def _change(self, projection: str, change: Callable[[_Stored], _Stored | None]) -> _Stored:
        by = os.urandom(8)

        def changed(value: Any) -> Any:
            made = change(_stored(value))
            return None if made is None else list(made._replace(by=by))

        return _stored(self._cells.change(projection, _CONTROL, changed))

    def _change_holds(
        self, projection: str, change: Callable[[dict[int, str]], dict[int, str]]
    ) -> None:
        """Also where nothing changes: whoever looks sees another version."""
        self._cells.change(
            projection, _HOLDS,
            lambda pairs: [list(pair) for pair in sorted(change(dict(pairs or ())).items())],
        )  # fmt: skip

    def _set(self, projection: str, fields: dict[str, Any], expected: int | None) -> int:
        def changed(stored: _Stored) -> _Stored:
            if expected not in (None, stored.version):
                raise ControlChangedError(projection, expected or 0, stored.version)
            return stored._replace(version=stored.version + 1, **fields)

        return self._change(projection, changed).version

    def _end(self, projection: str, nr: int, state: str, said: str, begun: bool = True) -> Wish:
        """begun: also where somebody has begun to do it."""

        def end(stored: _Stored) -> _Stored | None:
            wish = stored.of(nr)
            if wish.state != OPEN or (nr in stored.begun and not begun):
                return None
            ended = list(wish._replace(state=state, said=said[:_SAID_MAX]))
            rows = [ended if row[0] == nr else row for row in stored.wishes]
            still = [one for one in stored.begun if one != nr]
            return stored._replace(version=stored.version + 1, wishes=rows, begun=still)

        return self._change(projection, end).of(nr)


def _begin(stored: _Stored, nr: int, until: Mapping[int, int]) -> _Stored | None:
    wish = stored.of(nr)
    if wish.state != OPEN or nr in stored.begun:
        return None
    pairs = [list(pair) for pair in until.items()] if wish.kind == REBUILD else stored.until
    return stored._replace(begun=[*stored.begun, nr], until=pairs)


def _is_open(row: Sequence[Any]) -> bool:
    return Wish(*row).state == OPEN


def _leaving(facts: Any) -> Any:
    """Of a worker's row, if it is there."""
    return facts and list(WorkerRow("", 0, *facts)._replace(leaving=True)[2:])

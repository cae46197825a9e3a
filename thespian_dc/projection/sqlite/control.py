"""What is wished of projections and who works on them, in a consumer's SQLite database.

Each change is one short `begin immediate` transaction; `control.decide` says what a wish does to
the positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from thespian_dc.model.projection_errors import ControlChangedError, WishesFullError
from thespian_dc.projection.committing import own_transaction
from thespian_dc.projection.control import (
    DONE,
    OPEN,
    REBUILD,
    REFUSED,
    SKIP,
    WISHES_MAX,
    WITHDRAWN,
    Control,
    Refusal,
    Wish,
    decide,
)
from thespian_dc.projection.sqlite.database import SqliteDatabase
from thespian_dc.projection.sqlite.marks import SqliteMarks
from thespian_dc.projection.sqlite.parked import SqliteParked
from thespian_dc.projection.sqlite.positions import SqlitePositions
from thespian_dc.projection.workers import WorkerRow

_SCHEMA = """
create table if not exists thespian_dc_control(
    projection text primary key, version integer not null, paused integer not null,
    workers integer, slices integer not null, wishes integer not null,
    stirred integer not null) without rowid;
create table if not exists thespian_dc_wishes(
    projection text not null, nr integer not null, kind text not null, slice integer not null,
    offset integer not null, expected integer, state text not null, said text not null,
    primary key (projection, nr)) without rowid;
create table if not exists thespian_dc_workers(
    projection text not null, worker text not null, beat integer not null, machine text not null,
    pid integer not null, leaving integer not null, seen integer not null,
    beat_us integer not null, facts text not null, primary key (projection, worker)) without rowid;
create table if not exists thespian_dc_rebuilds(
    projection text not null, slice integer not null, until integer not null,
    primary key (projection, slice)) without rowid;
create table if not exists thespian_dc_holds(
    projection text not null, slice integer not null, worker text not null,
    primary key (projection, slice)) without rowid;
"""
_PUT = (
    "update thespian_dc_positions set epoch = epoch + 1, offset = ?, write_id = ? "
    "where projection = ? and slice = ?"
)
_REBUILD_TO = (
    "insert or replace into thespian_dc_rebuilds "
    "select projection, slice, offset from thespian_dc_positions where projection = ?"
)
_WISH = "nr, kind, slice, offset, expected, state, said from thespian_dc_wishes"
_WORKER = "worker, beat, machine, pid, leaving, seen, beat_us, facts from thespian_dc_workers"


class SqliteControl:
    """Implements projection.store.ControlStore. Opens no transaction inside another."""

    look_s = 0.05

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = self._database = database
        self._execute = database.execute
        with database.named():
            database.run_script(_SCHEMA)
        self._positions, self._marks = SqlitePositions(database), SqliteMarks(database)
        self._parked = SqliteParked(database)

    def close(self) -> None:
        self._database.close()

    # --- what is wished ---

    def projections(self) -> list[str]:
        """See ControlStore."""
        sql = (
            "select projection from thespian_dc_control union "
            "select projection from thespian_dc_positions order by 1"
        )
        return [name for (name,) in self._select(sql)]

    def stirred(self, projection: str) -> int:
        """See ControlStore."""
        rows = self._select(
            "select stirred from thespian_dc_control where projection = ?", projection
        )
        return int(rows[0][0]) if rows else 0

    def control(self, projection: str) -> Control:
        """See ControlStore."""
        return self._control(projection)

    def pause(self, projection: str, paused: bool, expected: int | None = None) -> int:
        """See ControlStore."""
        return self._change(projection, "paused", paused, expected)

    def rescale(self, projection: str, workers: int | None, expected: int | None = None) -> int:
        """See ControlStore."""
        return self._change(projection, "workers", workers, expected)

    def know(self, projection: str, slices: int) -> None:
        """See ControlStore."""
        with self._transaction():
            self._ensure(projection)
            self._execute(
                "update thespian_dc_control set slices = ?, stirred = stirred + 1 "
                "where projection = ? and slices <> ?",
                (slices, projection, slices),
            )

    def wish(
        self, projection: str, kind: str, slice_: int, offset: int, expected: int | None
    ) -> Wish:
        """See ControlStore."""
        with self._transaction():
            if len(self._control(projection).open) >= WISHES_MAX:
                raise WishesFullError(projection, WISHES_MAX)
            self._ensure(projection)
            self._execute(
                "update thespian_dc_control set wishes = wishes + 1, version = version + 1, "
                "stirred = stirred + 1 where projection = ?",
                (projection,),
            )
            ((nr,),) = self._execute(
                "select wishes from thespian_dc_control where projection = ?", (projection,)
            ).fetchall()
            wish = Wish(nr, kind, slice_, offset, expected)
            self._execute(
                "insert into thespian_dc_wishes values (?, ?, ?, ?, ?, ?, ?, ?)",
                (projection, *wish),
            )
            self._execute(
                "delete from thespian_dc_wishes where projection = ? and nr <= ? and state <> ?",
                (projection, nr - WISHES_MAX, OPEN),
            )
            return wish

    def wish_of(self, projection: str, nr: int) -> Wish:
        """See ControlStore."""
        sql = f"select {_WISH} where projection = ? and nr = ?"
        return Wish(*self._select(sql, projection, nr)[0])

    def withdraw(self, projection: str, nr: int) -> Wish:
        """See ControlStore."""
        with self._transaction():
            return self._end(projection, nr, WITHDRAWN, "")

    def perform(self, projection: str, nr: int, also: Callable[[], None] | None = None) -> Wish:
        """See ControlStore."""
        with self._transaction():
            wish = self.wish_of(projection, nr)
            if wish.state != OPEN:
                return wish
            decided = decide(wish, self._positions.load(projection).slices, self._owing(projection))
            if isinstance(decided, Refusal):
                return self._end(projection, nr, REFUSED, decided.reason)
            if wish.kind == REBUILD:
                self._execute(_REBUILD_TO, (projection,))
            if wish.kind == SKIP:
                self._marks.skip(projection, wish.slice, wish.offset)
            for slice_, (offset, write_id) in decided:
                self._execute(_PUT, (offset, write_id, projection, slice_))
                if wish.kind != SKIP:
                    self._marks.forget(projection, slice_, offset)
                    self._parked.forget(projection, slice_)
            if also is not None:
                also()
            return self._end(projection, nr, DONE, "")

    def refuse(self, projection: str, nr: int, reason: str) -> Wish:
        """See ControlStore."""
        with self._transaction():
            return self._end(projection, nr, REFUSED, reason)

    def offsets(self, projection: str) -> dict[int, int]:
        """See ControlStore."""
        sql = "select slice, offset from thespian_dc_positions where projection = ? order by slice"
        return dict(self._select(sql, projection))

    def rebuild_to(self, projection: str) -> dict[int, int]:
        """See ControlStore."""
        sql = "select slice, until from thespian_dc_rebuilds where projection = ? order by slice"
        return dict(self._select(sql, projection))

    def stir(self, projection: str) -> None:
        """See ControlStore."""
        with self._transaction():
            self._stir(projection)

    # --- who works on it ---

    def beat(self, projection: str, row: WorkerRow) -> None:
        """See ControlStore."""
        with self._transaction():
            known = "select 1 from thespian_dc_workers where projection = ? and worker = ?"
            if not self._select(known, projection, row.worker):
                self._ensure(projection)
                self._stir(projection)
            self._execute(
                "insert into thespian_dc_workers values (?, ?, 1, ?, ?, ?, ?, ?, ?) "
                "on conflict (projection, worker) do update set beat = beat + 1, "
                "machine = excluded.machine, pid = excluded.pid, leaving = excluded.leaving, "
                "seen = excluded.seen, beat_us = excluded.beat_us, facts = excluded.facts",
                (projection, row.worker, *row[2:]),
            )

    def workers(self, projection: str) -> tuple[list[WorkerRow], dict[int, str]]:
        """See ControlStore."""
        # In this order a holder that is there has a row, unless it left in between.
        holds = self._select(
            "select slice, worker from thespian_dc_holds where projection = ?", projection
        )
        found = self._select(f"select {_WORKER} where projection = ?", projection)
        rows = [WorkerRow(*row)._replace(leaving=bool(row[4])) for row in found]
        return rows, dict(holds)

    def hold(self, projection: str, worker: str, slices: Mapping[int, str]) -> None:
        """See ControlStore."""
        with self._transaction():
            for slice_, holder in slices.items():
                self._execute(
                    "insert into thespian_dc_holds values (?, ?, ?) on conflict "
                    "(projection, slice) do update set worker = excluded.worker where worker = ?",
                    (projection, slice_, worker, holder),
                )
            self._stir(projection)

    def release(self, projection: str, worker: str, slices: Sequence[int]) -> None:
        """See ControlStore."""
        with self._transaction():
            for slice_ in slices:
                self._execute(
                    "delete from thespian_dc_holds where projection = ? and slice = ? "
                    "and worker = ?",
                    (projection, slice_, worker),
                )
            self._stir(projection)

    def leave(self, projection: str, worker: str, *, forget: bool) -> None:
        """See ControlStore."""
        gone = (projection, worker)
        with self._transaction():
            self._stir(projection)
            self._execute("delete from thespian_dc_holds where projection = ? and worker = ?", gone)
            if forget:
                self._execute(
                    "delete from thespian_dc_workers where projection = ? and worker = ?", gone
                )
            else:
                self._execute(
                    "update thespian_dc_workers set leaving = 1 "
                    "where projection = ? and worker = ?",
                    gone,
                )

    # --- inside ---

    def _change(self, projection: str, field: str, value: Any, expected: int | None) -> int:
        with self._transaction():
            found = self._control(projection).version
            if expected is not None and found != expected:
                raise ControlChangedError(projection, expected, found)
            self._ensure(projection)
            self._execute(
                f"update thespian_dc_control set {field} = ?, version = version + 1, "
                "stirred = stirred + 1 where projection = ?",
                (value, projection),
            )
            return found + 1

    def _ensure(self, projection: str) -> None:
        self._execute(
            "insert or ignore into thespian_dc_control values (?, 0, 0, null, 0, 0, 0)",
            (projection,),
        )

    def _control(self, projection: str) -> Control:
        found = self._select(
            "select version, paused, workers, slices from thespian_dc_control where projection = ?",
            projection,
        )
        if not found:
            return Control()
        version, paused, workers, slices = found[0]
        sql = f"select {_WISH} where projection = ? and state = ? order by nr"
        wishes = tuple(Wish(*row) for row in self._select(sql, projection, OPEN))
        return Control(version, bool(paused), workers, slices, wishes)

    def _end(self, projection: str, nr: int, state: str, said: str) -> Wish:
        self._execute(
            "update thespian_dc_wishes set state = ?, said = ? "
            "where projection = ? and nr = ? and state = ?",
            (state, said, projection, nr, OPEN),
        )
        self._execute(
            "update thespian_dc_control set version = version + 1 where projection = ?",
            (projection,),
        )
        self._stir(projection)
        return self.wish_of(projection, nr)

    def _owing(self, projection: str) -> set[int]:
        sql = "select distinct slice from thespian_dc_debts where projection = ?"
        return {slice_ for (slice_,) in self._select(sql, projection)}

    def _stir(self, projection: str) -> None:
        self._execute(
            "update thespian_dc_control set stirred = stirred + 1 where projection = ?",
            (projection,),
        )

    def _select(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._database.named():
            found: list[tuple[Any, ...]] = self._execute(sql, parameters).fetchall()
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with own_transaction(self._database), self._database.named():
            yield

"""Parked events, what is wished of them, and the marks of tries, in a consumer's SQLite database.

What a projection has parked in all stands in a row of its own: counting 10,000 rows at each would
make parking slow where much is parked. Wishes come from any process, in short transactions of
their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from thespian_dc.model.handler_errors import ParkedFullError, UnknownParkedError
from thespian_dc.projection.attempts import Attempt
from thespian_dc.projection.committing import own_transaction
from thespian_dc.projection.parking import (
    ParkedEntity,
    ParkedEvent,
    ParkedMost,
    ParkedWish,
)
from thespian_dc.projection.sqlite.database import SqliteDatabase

_SCHEMA = """
create table if not exists thespian_dc_parked(
    projection text not null, entity_id text not null, seq_nr integer not null,
    slice integer not null, offset integer not null, time_us integer not null,
    record blob not null, cause text not null, attempts integer not null,
    parked_us integer not null, primary key (projection, entity_id, seq_nr)) without rowid;
create table if not exists thespian_dc_parked_total(
    projection text primary key, events integer not null, size_bytes integer not null)
    without rowid;
create table if not exists thespian_dc_parked_wishes(
    projection text not null, entity_id text not null, slice integer not null,
    seq_nr integer not null, what text not null, primary key (projection, entity_id))
    without rowid;
"""
_ATTEMPTS = """
create table if not exists thespian_dc_attempts(
    projection text not null, slice integer not null, run integer not null,
    offset integer not null, until integer not null, tries integer not null,
    primary key (projection, slice))
    without rowid;
create table if not exists thespian_dc_attempts_owed(
    projection text not null, slice integer not null,
    offset integer not null, until integer not null, tries integer not null,
    primary key (projection, slice))
    without rowid;
"""  # run: the epoch of the run that has the slice; 0 after one that ended by itself
_FOUND = """
select slice, a.run, a.offset, a.until, a.tries,
       coalesce(o.offset, 0), coalesce(o.until, 0), coalesce(o.tries, 0)
from thespian_dc_attempts a left join thespian_dc_attempts_owed o using (projection, slice)
where projection = ?
"""
_EVENT = (
    "slice, offset, entity_id, seq_nr, time_us, record, cause, attempts, parked_us "
    "from thespian_dc_parked where projection = ? and entity_id = ?"
)
_TOTAL = (
    "insert into thespian_dc_parked_total values (?, ?, ?) on conflict (projection) do update "
    "set events = events + excluded.events, size_bytes = size_bytes + excluded.size_bytes "
    "returning events, size_bytes"
)
_ENTITIES = """
select p.entity_id, f.slice, f.seq_nr, f.cause, f.attempts, f.parked_us, p.events, p.size_bytes,
       coalesce(rtrim(w.what, '!'), '')
from (select entity_id, min(seq_nr) as seq_nr, count(*) as events,
             sum(length(record)) as size_bytes
      from thespian_dc_parked where projection = ?1 and entity_id > ?2
      group by entity_id order by entity_id limit ?3) p
join thespian_dc_parked f
     on f.projection = ?1 and f.entity_id = p.entity_id and f.seq_nr = p.seq_nr
left join thespian_dc_parked_wishes w on w.projection = ?1 and w.entity_id = p.entity_id
order by p.entity_id
"""


class SqliteParked:
    """Implements projection.parking.ParkedStore over the database's one connection."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database, self._execute = database, database.execute
        with database.named():
            database.run_script(_SCHEMA)

    # --- a run ---

    def held(self, projection: str, slices: Sequence[int]) -> dict[str, int]:
        """See ParkedStore."""
        rows = self._select(
            "select entity_id, slice, count(*) from thespian_dc_parked where projection = ? "
            "group by entity_id",
            projection,
        )
        mine = set(slices)
        return {entity_id: count for entity_id, slice_, count in rows if slice_ in mine}

    def total(self, projection: str) -> ParkedMost:
        """See ParkedStore."""
        sql = "select events, size_bytes from thespian_dc_parked_total where projection = ?"
        rows = self._select(sql, projection)
        return ParkedMost(*rows[0]) if rows else ParkedMost(0, 0)

    def park(self, projection: str, event: ParkedEvent, most: ParkedMost) -> None:
        """See ParkedStore."""
        with self._in_transaction():
            stored = self._execute(
                "insert into thespian_dc_parked (projection, slice, offset, entity_id, seq_nr, "
                "time_us, record, cause, attempts, parked_us) values (?,?,?,?,?,?,?,?,?,?) "
                "on conflict (projection, entity_id, seq_nr) do nothing",
                (projection, *event),
            )
            if not stored.rowcount:
                return
            total = self._execute(_TOTAL, (projection, 1, len(event.record))).fetchone()
        for what, found, limit in zip(("events", "bytes"), total, most, strict=True):
            if found > limit:
                where = (event.entity_id, event.seq_nr)
                raise ParkedFullError(projection, what, limit, *where)

    def tried(self, projection: str, event: ParkedEvent) -> None:
        """See ParkedStore."""
        with self._in_transaction():
            self._execute(
                "update thespian_dc_parked set cause = ?, attempts = ? "
                "where projection = ? and entity_id = ? and seq_nr = ?",
                (event.cause, event.attempts, projection, event.entity_id, event.seq_nr),
            )

    def remove(self, projection: str, event: ParkedEvent) -> None:
        """See ParkedStore."""
        with self._in_transaction():
            self._execute(
                "delete from thespian_dc_parked "
                "where projection = ? and entity_id = ? and seq_nr = ?",
                (projection, event.entity_id, event.seq_nr),
            )
            self._execute(_TOTAL, (projection, -1, -len(event.record))).fetchone()

    def forget(self, projection: str, slice_: int) -> None:
        """See ParkedStore."""
        with self._in_transaction():
            gone = self._execute(
                "delete from thespian_dc_parked where projection = ? and slice = ? "
                "returning length(record)",
                (projection, slice_),
            ).fetchall()
            size = sum(length for (length,) in gone)
            self._execute(_TOTAL, (projection, -len(gone), -size)).fetchone()

    # --- any process ---

    def entities(self, projection: str, after: str = "", limit: int = 100) -> list[ParkedEntity]:
        """See ParkedStore."""
        return [ParkedEntity(*row) for row in self._select(_ENTITIES, projection, after, limit)]

    def events(
        self, projection: str, entity_id: str, after_seq_nr: int = 0, limit: int = 100
    ) -> list[ParkedEvent]:
        """See ParkedStore."""
        sql = f"select {_EVENT} and seq_nr > ? order by seq_nr limit ?"
        rows = self._select(sql, projection, entity_id, after_seq_nr, limit)
        return [ParkedEvent(*row) for row in rows]

    def wish(self, projection: str, what: str, entity_id: str, seq_nr: int | None = None) -> None:
        """See ParkedStore."""
        with own_transaction(self._database):
            first = next(iter(self.events(projection, entity_id, limit=1)), None)
            if first is None or seq_nr not in (None, first.seq_nr):
                found = f"its first one is {first.seq_nr}" if first else "nothing of it is parked"
                raise UnknownParkedError(projection, entity_id, seq_nr or 0, found)
            with self._database.named():
                self._execute(
                    "insert or replace into thespian_dc_parked_wishes values (?, ?, ?, ?, ?)",
                    (projection, entity_id, first.slice, first.seq_nr, what),
                )

    def wishes(self, projection: str, slices: Sequence[int]) -> list[ParkedWish]:
        """See ParkedStore."""
        rows = self._select(
            "select entity_id, slice, seq_nr, what from thespian_dc_parked_wishes "
            "where projection = ?",
            projection,
        )
        mine = set(slices)
        return [wish for row in rows if (wish := ParkedWish(*row)).slice in mine]

    def change_wish(self, projection: str, wish: ParkedWish, following: ParkedWish | None) -> None:
        """See ParkedStore."""
        where = "where projection = ? and entity_id = ? and slice = ? and seq_nr = ? and what = ?"
        here = (projection, *wish)
        with self._in_transaction():
            if following is None:
                self._execute(f"delete from thespian_dc_parked_wishes {where}", here)
            else:
                self._execute(
                    f"update thespian_dc_parked_wishes set seq_nr = ?, what = ? {where}",
                    (following.seq_nr, following.what, *here),
                )

    @contextmanager
    def _in_transaction(self) -> Iterator[None]:
        self._database.lock()
        with self._database.named():
            yield

    def _select(self, sql: str, *parameters: Any) -> list[Any]:
        with self._database.named():
            rows: list[Any] = self._execute(sql, parameters).fetchall()
            return rows


class SqliteAttempts:
    """Implements projection.attempts.AttemptStore."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database, self._execute = database, database.execute
        with database.named():
            database.run_script(_ATTEMPTS)

    def began(self, projection: str, epochs: Mapping[int, int]) -> Mapping[int, Attempt]:
        """See AttemptStore."""
        with own_transaction(self._database), self._database.named():
            rows = self._execute(_FOUND, (projection,)).fetchall()
            self._database.executemany(
                "insert into thespian_dc_attempts values (?, ?, ?, 0, 0, 0) "
                "on conflict (projection, slice) do update set run = excluded.run",
                [(projection, slice_, epoch) for slice_, epoch in epochs.items()],
            )
        return {
            slice_: Attempt(bool(run), offset, until, tries, (*owed,))
            for slice_, run, offset, until, tries, *owed in rows
            if slice_ in epochs
        }

    def trying(
        self, projection: str, slice_: int, offset: int, until: int, tries: int, *, owed: bool
    ) -> None:
        """See AttemptStore."""
        with self._database.named():
            if owed:
                self._execute(
                    "insert or replace into thespian_dc_attempts_owed values (?, ?, ?, ?, ?)",
                    (projection, slice_, offset, until, tries),
                )
                return
            self._execute(
                "update thespian_dc_attempts set offset = ?, until = ?, tries = ? "
                "where projection = ? and slice = ?",
                (offset, until, tries, projection, slice_),
            )

    def ended(self, projection: str, epochs: Mapping[int, int], *, forget: bool) -> None:
        """See AttemptStore."""
        tries = ", tries = 0" if forget else ""
        ended = [(projection, slice_, epoch) for slice_, epoch in epochs.items()]
        with own_transaction(self._database), self._database.named():
            if forget:
                self._database.executemany(
                    "delete from thespian_dc_attempts_owed where (projection, slice) in "
                    "(select projection, slice from thespian_dc_attempts "
                    "where projection = ? and slice = ? and run = ?)",
                    ended,
                )
            self._database.executemany(
                f"update thespian_dc_attempts set run = 0{tries} "
                "where projection = ? and slice = ? and run = ?",
                ended,
            )

"""The filter that is wanted for each projection, in a consumer's SQLite database.

Any process may change it, by compare-and-set on its version, while consumers run or while none
does; running ones take note of it within a moment (`SqliteDatabase.data_version`).
"""

from __future__ import annotations

import json

from thespian_dc.model.criteria import UNFILTERED, Filter, VersionedFilter, filter_from, plain_of
from thespian_dc.model.projection_errors import FilterChangedError
from thespian_dc.projection.committing import own_transaction
from thespian_dc.projection.sqlite.database import SqliteDatabase

_SCHEMA = """
create table if not exists thespian_dc_filters(
    projection text primary key, version integer not null, filter text not null,
    initial text not null) without rowid;
"""
_READ = "select version, filter, initial from thespian_dc_filters where projection = ?"


class SqliteFilters:
    """Implements projection.store.FilterStore. Opens transactions of its own."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database, self._execute = database, database.execute
        with database.named():
            database.run_script(_SCHEMA)

    def read(self, projection: str) -> VersionedFilter:
        """See FilterStore."""
        with self._database.named():
            row = self._execute(_READ, (projection,)).fetchone()
        return _filter_of(row)

    def begin(self, projection: str, initial: Filter) -> VersionedFilter:
        """See FilterStore."""
        text = _text(initial)
        with self._database.named():
            row = self._execute(_READ, (projection,)).fetchone()
        known = row[2] if row is not None else _text(Filter())
        return _filter_of(row) if known == text else self._put(projection, None, initial, text)

    def change(self, projection: str, expected: int, wanted: Filter) -> VersionedFilter:
        """See FilterStore."""
        return self._put(projection, expected, wanted, None)

    def _put(
        self, projection: str, expected: int | None, wanted: Filter, initial: str | None
    ) -> VersionedFilter:
        """Store the next version. initial: of the settings, None: as it was."""
        with own_transaction(self._database), self._database.named():
            row = self._execute(_READ, (projection,)).fetchone() or (0, "{}", "{}")
            if expected is not None and row[0] != expected:
                raise FilterChangedError(projection, expected, row[0])
            if initial is None or row[2] != initial:
                row = row[0] + 1, _text(wanted), row[2] if initial is None else initial
                self._execute(
                    "insert or replace into thespian_dc_filters values (?, ?, ?, ?)",
                    (projection, *row),
                )
        return _filter_of(row)


def _filter_of(row: tuple[int, str, str] | None) -> VersionedFilter:
    return UNFILTERED if row is None else VersionedFilter(row[0], filter_from(json.loads(row[1])))


def _text(filter_: Filter) -> str:
    return json.dumps(plain_of(filter_), sort_keys=True)

"""Read what a CassandraProjectionHandler wrote, from any process."""

from __future__ import annotations

from typing import Any

import msgpack

from thespian_dc.projection.cassandra.database import CassandraDatabase
from thespian_dc.projection.cassandra.transaction import SINK

PAGE = 1_000


class SinkReader:
    """Of one keyspace. Each slice's rows agree with its position; slices are read one by one."""

    def __init__(self, url: str) -> None:
        self._database = CassandraDatabase(url)

    def row(self, projection: str, key: str) -> dict[int, Any]:
        """The values of this key by slice."""
        return {
            slice_: msgpack.unpackb(rows[0][0])
            for slice_ in self._slices(projection)
            if (rows := self._database.rows("row", projection, slice_, SINK, key))
        }

    def rows(self, projection: str) -> dict[tuple[int, str], Any]:
        """All rows by (slice, key)."""
        found: dict[tuple[int, str], Any] = {}
        for slice_ in self._slices(projection):
            after, more = "", True
            while more:
                page = self._database.rows("rows_from", projection, slice_, SINK, after, PAGE)
                found |= {(slice_, key): msgpack.unpackb(value) for key, value in page}
                more = len(page) == PAGE
                after = page[-1][0] if page else after
        return found

    def close(self) -> None:
        self._database.close()

    def _slices(self, projection: str) -> list[int]:
        return [slice_ for (slice_,) in self._database.rows("names", projection)]

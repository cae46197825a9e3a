"""Small values of a projection that any process changes, each by compare-and-set on its version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack

from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.cassandra.database import CassandraDatabase

TRIES_MAX = 20


class Cells:
    """Of any number of projections; a name is unique in its projection."""

    def __init__(self, database: CassandraDatabase) -> None:
        self._database = database

    def read(self, projection: str, name: str) -> tuple[int, Any]:
        """(version, value); (0, None) where there is none."""
        found = self._database.deciding("cell", projection, name)
        return (found[0][0], msgpack.unpackb(found[0][1])) if found else (0, None)

    def all(self, projection: str, prefix: str) -> Iterator[tuple[str, Any]]:
        """(name, value) of those whose name begins so."""
        for name, _, value in self._database.rows("cells", projection):
            if name.startswith(prefix):
                yield name, msgpack.unpackb(value)

    def put_next(self, projection: str, name: str, version: int, value: Any) -> bool:
        """Write it as the version behind this one; False: that is not the present one. An unknown
        outcome is read back: PositionStoreError where that fails too."""
        packed, following = msgpack.packb(value), version + 1
        try:
            if version == 0:
                return self._database.compare_and_set(
                    "cell_first", projection, name, following, packed
                )
            return self._database.compare_and_set(
                "cell_next", following, packed, projection, name, version
            )
        except PositionStoreError:
            if self.read(projection, name) == (following, value):
                return True
            raise

    def put(self, projection: str, name: str, value: Any) -> None:
        """Write it whatever stands there."""
        for _ in range(TRIES_MAX):
            version, _ = self.read(projection, name)
            if self.put_next(projection, name, version, value):
                return
        raise PositionStoreError(self._database.url, f"{name} is changed all the time")

    def replace(self, projection: str, name: str, known: Any, value: Any) -> None:
        """Write it, or remove it (None), where `known` stands; else leave it."""
        version, found = self.read(projection, name)
        if found != known:
            return
        if value is None:
            self._database.compare_and_set("cell_gone", projection, name, version)
        else:
            self.put_next(projection, name, version, value)

"""Small values of a projection that any process changes, each by compare-and-set on its version."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgpack

from thespian_dc.model.projection_errors import ChangeUnknownError
from thespian_dc.model.stream_errors import PositionStoreError
from thespian_dc.projection.cassandra.database import CassandraDatabase

TRIES_MAX = 20
PAUSE_S = 0.02
"""At most so long, times the tries before, until what others changed meanwhile is tried again."""
_LAST = "\U0010ffff"  # above all that a name begins with


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
        return ((name, value) for name, _, value in self.beginning(projection, prefix))

    def beginning(self, projection: str, prefix: str) -> Iterator[tuple[str, int, Any]]:
        """(name, version, value) of those whose name begins so, as acknowledged; reads no more."""
        for name, version, value in self._database.rows(
            "cells", projection, prefix, prefix + _LAST
        ):
            yield name, version, msgpack.unpackb(value)

    def look(self, projection: str, name: str) -> Any:
        """The value as acknowledged; None where there is none. Cheaper than `read`, which also
        ends what is under way."""
        found = self._database.rows("cell", projection, name)
        return msgpack.unpackb(found[0][1]) if found else None

    def versions(self, projection: str, names: Sequence[str]) -> int:
        """The sum of their versions: another number after any of them was written."""
        rows = self._database.rows("cell_versions", projection, list(names))
        return sum(version for (version,) in rows)

    def change(self, projection: str, name: str, change: Callable[[Any], Any]) -> Any:
        """Write what `change` makes of the value (None: there is none), again from the new one
        where somebody was faster; where it makes None leave it. Returns what stands there then.

        ChangeUnknownError: see put_next; PositionStoreError: others always are faster.
        """
        for tries in range(TRIES_MAX):
            version, known = self.read(projection, name)
            value = change(known)
            if value is None:
                return known
            if self.put_next(projection, name, version, value):
                return value
            time.sleep(random.random() * PAUSE_S * (tries + 1))
        raise self.busy(name)

    def remove(self, projection: str, name: str) -> None:
        """Whatever stands there."""
        for _ in range(TRIES_MAX):
            version, _ = self.read(projection, name)
            if not version:
                return
            if self._database.settle("cell_gone", projection, name, version):
                return
        raise self.busy(name)

    def put_next(self, projection: str, name: str, version: int, value: Any) -> bool:
        """Write it as the version behind this one; False: that is not the present one. An unknown
        outcome is read back: ChangeUnknownError where that does not tell either."""
        packed, following = msgpack.packb(value), version + 1
        try:
            if version == 0:
                return self._database.compare_and_set(
                    "cell_first", projection, name, following, packed
                )
            return self._database.compare_and_set(
                "cell_next", following, packed, projection, name, version
            )
        except PositionStoreError as error:
            if self._database.never(error):
                raise
            try:
                found = self.read(projection, name)
            except PositionStoreError:
                found = (version, None)
            if found[0] == following:  # by this write, or by one that it can follow no more
                return bool(found[1] == msgpack.unpackb(packed))
            raise ChangeUnknownError(self._database.url, error.reason) from error

    def put(self, projection: str, name: str, value: Any) -> None:
        """Write it whatever stands there."""
        self.change(projection, name, lambda _: value)

    def busy(self, name: str) -> PositionStoreError:
        """Others were always faster."""
        return PositionStoreError(self._database.url, f"{name} is changed all the time")

    def replace(self, projection: str, name: str, known: Any, value: Any) -> None:
        """Write it, or remove it (None), where `known` stands; else leave it."""
        version, found = self.read(projection, name)
        if found != known:
            return
        if value is None:
            self._database.compare_and_set("cell_gone", projection, name, version)
        else:
            self.put_next(projection, name, version, value)

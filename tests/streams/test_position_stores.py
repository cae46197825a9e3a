"""What a projection keeps in its consumer's database keeps its contract, on SQLite and on a real
Cassandra."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from thespian_dc.projection.databases import Stores, open_stores
from thespian_dc.testkit.position_kit import PositionConformance


@contextlib.contextmanager
def opening(url: str) -> Iterator[Callable[[], Stores]]:
    opened: list[Stores] = []

    def one() -> Stores:
        opened.append(open_stores(url))
        return opened[-1]

    yield one
    for stores in opened:
        stores.database.close()


class TestSqliteStores(PositionConformance):
    @pytest.fixture
    def open_stores(self, tmp_path: Path) -> Iterator[Callable[[], Stores]]:
        with opening(f"sqlite:///{tmp_path}/read.db") as one:
            yield one


@pytest.fixture(scope="module")
def url(cassandra: Any) -> str:
    """A keyspace for this file; tests use it one after another, emptied."""
    pytest.importorskip("cassandra")
    from thespian_dc.projection.cassandra.schema import apply_schema

    url: str = cassandra.url(f"p_{uuid.uuid4().hex[:12]}")
    apply_schema(url)
    return url


@pytest.mark.cassandra
@pytest.mark.timeout(400)
class TestCassandraStores(PositionConformance):
    @pytest.fixture
    def open_stores(self, url: str) -> Iterator[Callable[[], Stores]]:
        with opening(url) as one:
            access: Any = one().database
            for table in ("projection_slices", "projection_cells", "projection_names"):
                access.access.define(f"truncate {access.access.keyspace}.{table}")
            yield one

"""All stores of a consumer's keyspace over one connection. Opened in the process that uses it."""

from __future__ import annotations

from thespian_dc.projection.cassandra.control import CassandraControl
from thespian_dc.projection.cassandra.database import CassandraDatabase
from thespian_dc.projection.cassandra.marks import CassandraFilters, CassandraMarks
from thespian_dc.projection.cassandra.parked import CassandraAttempts, CassandraParked
from thespian_dc.projection.cassandra.positions import CassandraPositions
from thespian_dc.projection.databases import Stores


def open_cassandra(url: str) -> Stores:
    """ConsumerSchemaError, HomeDataCentreError, JournalUrlError, PositionStoreError."""
    database = CassandraDatabase(url)
    return Stores(
        database, CassandraPositions(database), CassandraParked(database),
        CassandraAttempts(database), CassandraMarks(database), CassandraFilters(database),
        CassandraControl(database),
    )  # fmt: skip

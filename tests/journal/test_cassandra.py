"""The journal in Cassandra keeps the contract, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("cassandra")

from tests.journal.cassandra_storage import (
    SEGMENT_RECORDS,
    CassandraKeyspace,
    CassandraUnderTest,
)
from thespian_dc.testkit.journal_kit import JournalConformance

pytestmark = pytest.mark.cassandra


@pytest.fixture(scope="module")
def keyspace(cassandra: Any) -> Iterator[CassandraKeyspace]:
    """Tables for all tests of this file; segments of 8 records, so that everything crosses them."""
    import uuid

    keyspace = CassandraKeyspace(cassandra.url(f"k_{uuid.uuid4().hex[:12]}"))
    yield keyspace
    keyspace.close()


class TestCassandraJournal(JournalConformance):
    segment_records = SEGMENT_RECORDS

    @pytest.fixture
    def journal_factory(self, keyspace: CassandraKeyspace) -> CassandraUnderTest:
        keyspace.empty()
        return CassandraUnderTest(keyspace)

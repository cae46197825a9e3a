"""The journal keeps its contract on Cassandra 4.1 too, by the same schema: the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("cassandra")

from tests.journal.cassandra_storage import (
    SEGMENT_RECORDS,
    CassandraKeyspace,
    CassandraUnderTest,
)
from tests.servers import own_cassandra
from thespian_dc.testkit.journal_kit import JournalConformance

pytestmark = [pytest.mark.cassandra, pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def keyspace() -> Iterator[CassandraKeyspace]:
    with own_cassandra(version="4.1.10", heap_mb=768) as server:
        keyspace = CassandraKeyspace(server.url("kit"))
        row = keyspace.session.execute("select release_version from system.local").one()
        assert row["release_version"] == "4.1.10"
        yield keyspace
        keyspace.close()


class TestCassandraJournal41(JournalConformance):
    segment_records = SEGMENT_RECORDS
    flips = 120
    twin_examples = 8

    @pytest.fixture
    def journal_factory(self, keyspace: CassandraKeyspace) -> CassandraUnderTest:
        keyspace.empty()
        return CassandraUnderTest(keyspace)

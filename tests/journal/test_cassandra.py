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
from thespian_dc.testkit.journal_cases.damage import DamageCases
from thespian_dc.testkit.journal_kit import JournalConformance

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def keyspace(cassandra: Any) -> Iterator[CassandraKeyspace]:
    """Tables for all tests of this file; segments of 8 records, so that everything crosses them."""
    import uuid

    keyspace = CassandraKeyspace(cassandra.url(f"k_{uuid.uuid4().hex[:12]}"))
    yield keyspace
    keyspace.close()


class TestCassandraJournal(JournalConformance):
    segment_records = SEGMENT_RECORDS
    flips = 120  # each reads everything from a server: a thousand are in the soak below
    twin_examples = 8  # each opens two sessions
    race_deadline_s = 240.0  # 60 to 180 s on a busy machine: every step is synced to disk

    @pytest.fixture
    def journal_factory(self, keyspace: CassandraKeyspace) -> CassandraUnderTest:
        keyspace.empty()
        return CassandraUnderTest(keyspace)


@pytest.mark.soak
@pytest.mark.timeout(1800)
class TestCassandraJournalAtLength(DamageCases):
    """The full count of flips."""

    flips = 1_000

    @pytest.fixture
    def journal_factory(self, keyspace: CassandraKeyspace) -> CassandraUnderTest:
        keyspace.empty()
        return CassandraUnderTest(keyspace)

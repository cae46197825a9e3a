"""The journal in Cassandra keeps the contract, on a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import count, product
from typing import Any

import pytest

pytest.importorskip("cassandra")

from tests.journal.cassandra_storage import (
    SEGMENT_RECORDS,
    CassandraKeyspace,
    CassandraUnderTest,
)
from thespian_dc.journal.api import open_journal
from thespian_dc.journal.cassandra.open import connect
from thespian_dc.journal.cassandra.url import parse_url
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.journal_cases.damage import DamageCases
from thespian_dc.testkit.journal_cases.storage import Writer
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

    @pytest.fixture
    def journal_factory(self, keyspace: CassandraKeyspace) -> CassandraUnderTest:
        keyspace.empty()
        return CassandraUnderTest(keyspace)


def test_nothing_waits_in_a_socket_for_what_was_sent_before(keyspace: CassandraKeyspace) -> None:
    """Else one append in ten waits 40 ms: for the acknowledgement of another one."""
    link = connect(parse_url(keyspace.url), 10.0)
    try:
        pools = link.session.get_pools()
        sockets = [one._socket for pool in pools for one in pool.get_connections()]
        assert sockets
        for one in sockets:
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        link.close()


def test_another_trims_between_any_two_statements_of_ours(
    keyspace: CassandraKeyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less or more than we do: neither fails by it, and what both wanted deleted is gone."""
    keyspace.empty()
    with closing(open_journal(keyspace.url)) as ours, closing(open_journal(keyspace.url)) as theirs:
        statements: Any = ours._rows  # type: ignore[attr-defined]
        met = 0
        for number, (at, other) in enumerate(product(range(1, 8), (2, 6))):
            key, calls = SliceKey("cart", number), count(1)
            writer = Writer(ours, key).take_over()
            commits = [writer.write("a", "b") for _ in range(3)]
            ours.advance_index(key, 6)

            def meets(*statement: Any) -> Any:
                if next(calls) == at:  # noqa: B023
                    theirs.trim(key, other)  # noqa: B023
                return statements(*statement)

            with monkeypatch.context() as patched:
                patched.setattr(ours, "_rows", meets)
                assert ours.trim(key, 4) >= 4
            if next(calls) > at:
                met += 1
            else:
                theirs.trim(key, other)
            assert theirs.read(key, max(4, other)) == commits[max(4, other) // 2 :]
            with pytest.raises(TrimmedError):
                theirs.read(key, max(4, other) - 1)
        assert met > 6
        assert ours.verify() == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
class TestCassandraJournalAtLength(DamageCases):
    """The full count of flips."""

    flips = 1_000

    @pytest.fixture
    def journal_factory(self, keyspace: CassandraKeyspace) -> CassandraUnderTest:
        keyspace.empty()
        return CassandraUnderTest(keyspace)

"""Three nodes, three replicas: the log's promises, a race, and nodes that die under writers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

pytest.importorskip("cassandra")

from tests.journal.appender import Appenders
from tests.journal.cassandra_storage import (
    SEGMENT_RECORDS,
    CassandraKeyspace,
    CassandraUnderTest,
)
from tests.servers import own_cassandra
from thespian_dc.journal.api import Outcome
from thespian_dc.journal.cassandra.open import apply_schema
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra
from thespian_dc.testkit.eventually import eventually
from thespian_dc.testkit.journal_cases.log import LogCases
from thespian_dc.testkit.journal_cases.race import RaceCases

pytestmark = [pytest.mark.cassandra, pytest.mark.soak, pytest.mark.timeout(1800)]
Ring = Sequence[EmbeddedCassandra]


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    """Started one after another; 127.0.0.1 is the seed."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(own_cassandra(heap_mb=512))]
        for number in (2, 3):
            node = own_cassandra(heap_mb=512, host=f"127.0.0.{number}", seed=nodes[0])
            nodes.append(stack.enter_context(node))
        yield nodes


def url_of(ring: Ring, keyspace: str) -> str:
    hosts = ",".join(node.host for node in ring)
    return f"cassandra://{hosts}:{ring[0].port}/{keyspace}"


@pytest.fixture(scope="module")
def keyspace(ring: Ring) -> Iterator[CassandraKeyspace]:
    keyspace = CassandraKeyspace(url_of(ring, "kit"))
    replication = keyspace.session.execute(
        "select replication from system_schema.keyspaces where keyspace_name = 'kit'"
    ).one()["replication"]
    assert replication["datacenter1"] == "3"
    yield keyspace
    keyspace.close()


class TestRing(LogCases, RaceCases):
    """A conditional write takes ten times as long as on one node: the race is shorter."""

    segment_records = SEGMENT_RECORDS
    race_goal = 1_000
    race_deadline_s = 280.0

    @pytest.fixture
    def journal_factory(self, keyspace: CassandraKeyspace) -> CassandraUnderTest:
        keyspace.empty()
        return CassandraUnderTest(keyspace)


def test_appends_go_on_when_a_node_dies(ring: Ring) -> None:
    """Each node once, also the one that a client's session asks first: two of three are a quorum.
    What the dead one was asked is unknown and is resolved; nothing is lost or doubled."""
    url = url_of(ring, "one_down")
    apply_schema(url)
    appenders = Appenders(url, "one")
    for node in ring:
        appenders.progress(20, within_s=60)
        node.kill()
        appenders.progress(20, within_s=60)
        node.restart()
    print(f"{len(ring)} nodes killed, {appenders.finish(60)} commits acknowledged")


def test_without_a_quorum_nothing_is_done_and_everything_is_named(ring: Ring) -> None:
    """Two of three down: no append is acknowledged, none is lost; it goes on when they are back."""
    url = url_of(ring, "two_down")
    apply_schema(url)
    appenders = Appenders(url, "two")
    appenders.progress(20, within_s=60)
    for node in ring[1:]:
        node.kill()
    eventually(appenders.stuck, deadline_s=60)
    answers = [one.last for one in appenders.all if one.last is not None]
    assert {answer.outcome for answer in answers} <= {Outcome.UNKNOWN, Outcome.REFUSED}
    assert all(answer.reason for answer in answers)
    print(Counter((answer.outcome.name, answer.reason[:90]) for answer in answers))
    with pytest.raises(JournalUnavailableError):
        appenders.journal.find_head(appenders.all[0].key)
    acknowledged = [len(one.done) for one in appenders.all]
    for _ in range(3):  # seconds each, until the server's time is over
        assert not any(one.settle() for one in appenders.all[:2])
    assert [len(one.done) for one in appenders.all] == acknowledged
    for node in ring[1:]:
        node.restart()
    appenders.progress(20, within_s=120)
    print(f"{appenders.finish(60)} commits acknowledged")

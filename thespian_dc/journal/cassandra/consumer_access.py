"""A checked connection for others who keep their own tables in a Cassandra: consumers of streams.

The same rules as the journal's: explicit consistency, conditional writes sent once, a safe paxos
variant, time limits above the server's. What tables there are is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from thespian_dc.journal.api import Outcome
from thespian_dc.journal.cassandra.limits import TIMEOUT_S_DEFAULT
from thespian_dc.journal.cassandra.link import CONDITIONAL, DECIDING, PLAIN, Link
from thespian_dc.journal.cassandra.open import connect, connected_dc, limits_found
from thespian_dc.journal.cassandra.outcome import outcome_of, reason_of
from thespian_dc.journal.cassandra.url import parse_url
from thespian_dc.model.errors import JournalUnavailableError

_SCHEMA_TIMEOUT_S = 30.0


class Access(NamedTuple):
    """link: see journal.cassandra.link. mutation_bytes_max: of one conditional batch.
    batch_bytes_max: of a logged batch, below where the server warns."""

    link: Link
    keyspace: str
    data_centre: str
    mutation_bytes_max: int
    batch_bytes_max: int

    def prepare(self, cql: str) -> Any:
        """{ks} in it is the keyspace."""
        return self.link.session.prepare(cql.format(ks=self.keyspace))

    def decide(self, statement: Any) -> dict[str, Any]:
        """A conditional write, sent once: its one row. JournalUnavailableError: see `refused`."""
        return self.link.decide(statement)

    def deciding(self, statement: Any) -> list[Any]:
        """A read that ends what is under way in the partition."""
        return self.link.rows(statement, DECIDING)

    def rows(self, statement: Any) -> list[Any]:
        return self.link.rows(statement, PLAIN)

    def all(self, statements: Any, *, deciding: bool = False) -> list[Any]:
        """Rows of each, some at a time."""
        return self.link.all(statements, DECIDING if deciding else PLAIN)

    def define(self, statement: str) -> None:
        """A change of the schema; by `thespian-dc schema apply` alone."""
        try:
            self.link.session.execute(statement, execution_profile=CONDITIONAL, timeout=60.0)
        except Exception as error:  # the driver raises what it likes; it is told what was refused
            raise JournalUnavailableError(self.link.url, reason_of(error)) from error


def refused(error: BaseException) -> bool:
    """Whether the conditional write that ended in this error certainly never takes effect."""
    return error.__cause__ is not None and outcome_of(error.__cause__) is Outcome.REFUSED


@contextmanager
def for_schema(url: str) -> Iterator[tuple[Access, int]]:
    """A connection that may be to an empty cluster, and the replication factor for it."""
    parsed = parse_url(url)
    link = connect(parsed, _SCHEMA_TIMEOUT_S)
    try:
        centre = connected_dc(link)
        nodes = sum(1 for host in link.cluster.metadata.all_hosts() if host.datacenter == centre)
        replication = parsed.replication or min(3, max(1, nodes))
        yield Access(link, parsed.keyspace, centre, 0, 0), replication
    finally:
        link.close()


def open_access(url: str) -> Access:
    """Connect and check the servers. JournalUrlError, MissingExtraError, JournalUnavailableError,
    UnsafeServerError."""
    parsed = parse_url(url)
    link = connect(parsed, parsed.timeout_s or TIMEOUT_S_DEFAULT)
    try:
        limits = limits_found(link, parsed)
        link.set_timeout(limits.timeout_s)
        return Access(
            link, parsed.keyspace, connected_dc(link), limits.mutation_bytes_max,
            limits.batch_bytes_max,
        )  # fmt: skip
    except BaseException:
        link.close()
        raise

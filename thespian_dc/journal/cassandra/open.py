"""Turn a URL into an open journal: connect, and refuse a server or schema that would not be safe.

The driver is imported here, when a Cassandra journal is opened, and not before.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thespian_dc.journal.cassandra.credentials import hint_of, password_of, refusal_of, tls_of
from thespian_dc.journal.cassandra.limits import TIMEOUT_S_DEFAULT, limits_of
from thespian_dc.journal.cassandra.url import CassandraUrl, parse_url
from thespian_dc.model.errors import (
    HomeDataCentreError,
    JournalError,
    JournalUnavailableError,
    MissingExtraError,
)

if TYPE_CHECKING:
    from thespian_dc.journal.cassandra.journal import CassandraJournal
    from thespian_dc.journal.cassandra.limits import ServerLimits
    from thespian_dc.journal.cassandra.link import Link
    from thespian_dc.journal.cassandra.schema import Applied, Meta

log = logging.getLogger(__name__)

_SCHEMA_TIMEOUT_S = 30.0
_RING_WAIT_S = 5.0
_AT_ONCE = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""The driver's sockets would hold an append back while an earlier one is not acknowledged, and a
server that has nothing to say yet acknowledges after 40 ms: one append in ten took that long."""


def open_cassandra(url: str) -> CassandraJournal:
    """Connect and check: schema, home data centre, paxos variant, limits. Never changes the schema.

    Raises JournalUrlError, SettingsError, MissingExtraError, JournalUnavailableError,
    JournalAccessError, SchemaError, HomeDataCentreError, UnsafeServerError.
    """
    parsed = parse_url(url)
    link = connect(parsed, parsed.timeout_s or TIMEOUT_S_DEFAULT)
    try:
        with _named(parsed):
            from thespian_dc.journal.cassandra import schema
            from thespian_dc.journal.cassandra.journal import CassandraJournal

            meta = schema.check(link, parsed.keyspace)
            _check_home(link, parsed, meta)
            limits = limits_found(link, parsed)
            link.set_timeout(limits.timeout_s)
            return CassandraJournal(link, parsed, meta, limits)
    except BaseException:
        link.close()
        raise


def apply_schema(url: str) -> Applied:
    """Create the keyspace and tables the URL names, as far as they are missing; record the home
    data centre.
    """
    parsed = parse_url(url)
    link = connect(parsed, _SCHEMA_TIMEOUT_S)
    try:
        with _named(parsed):
            from thespian_dc.journal.cassandra import schema

            home_dc = _wanted_dc(link, parsed)
            replication = parsed.replication or min(3, _nodes(link, parsed, home_dc))
            segment_records = parsed.segment_records or schema.SEGMENT_RECORDS_DEFAULT
            return schema.apply(link, parsed.keyspace, home_dc, replication, segment_records)
    finally:
        link.close()


def _nodes(link: Link, parsed: CassandraUrl, home_dc: str) -> int:
    """How many nodes the home data centre has. A node that has just started does not know the
    others yet, and a journal would have one replica for ever: all hosts that are named must be
    known, or how many replicas there are to be is said.
    """
    named, until = len(set(parsed.hosts)), time.monotonic() + _RING_WAIT_S
    while (known := _known_nodes(link, home_dc)) < named and time.monotonic() < until:
        time.sleep(0.5)
        link.cluster.refresh_nodes()
    if known < named:
        raise JournalUnavailableError(
            parsed.url,
            f"it names {named} hosts, and the node that answers knows {known} in {home_dc}; wait"
            " until each knows the others, or set ?replication=…",
        )
    return known


def _known_nodes(link: Link, home_dc: str) -> int:
    return sum(1 for host in link.cluster.metadata.all_hosts() if host.datacenter == home_dc)


def check_schema(url: str) -> Meta:
    """The recorded facts of the journal; SchemaError where it is missing, older or newer."""
    parsed = parse_url(url)
    link = connect(parsed, parsed.timeout_s or TIMEOUT_S_DEFAULT)
    try:
        with _named(parsed):
            from thespian_dc.journal.cassandra import schema

            meta = schema.check(link, parsed.keyspace)
            _check_home(link, parsed, meta)
            return meta
    finally:
        link.close()


@contextmanager
def _named(parsed: CassandraUrl) -> Iterator[None]:
    """Errors of the driver, and what stands behind an unavailable journal, as errors of ours."""
    from cassandra import DriverException

    try:
        yield
    except JournalUnavailableError as error:
        if (refusal := refusal_of(parsed, error)) is not None:
            raise refusal from error
        raise
    except DriverException as error:
        raise _failure(parsed, error) from error


def _failure(parsed: CassandraUrl, error: Exception) -> JournalError:
    """What an error of the driver, met while the journal is opened, is called here."""
    from thespian_dc.journal.cassandra.outcome import reason_of

    reason = reason_of(error) + hint_of(parsed, error)
    return refusal_of(parsed, error) or JournalUnavailableError(parsed.url, reason)


def connect(parsed: CassandraUrl, timeout_s: float) -> Link:
    """A session, with nothing checked.

    MissingExtraError, SettingsError, JournalUnavailableError, JournalAccessError.
    """
    try:
        from cassandra import DriverException
        from cassandra.auth import PlainTextAuthProvider
        from cassandra.cluster import Cluster, NoHostAvailable
        from cassandra.policies import ExponentialReconnectionPolicy
    except ImportError as error:
        raise MissingExtraError("a journal in Cassandra", "cassandra") from error
    from thespian_dc.journal.cassandra.link import PLAIN, Link, profiles

    auth = None
    if parsed.username:
        auth = PlainTextAuthProvider(parsed.username, password_of(parsed))
    kinds = profiles(timeout_s)
    cluster = Cluster(
        list(parsed.hosts),
        port=parsed.port,
        protocol_version=5,  # of Cassandra 4.0 and later
        execution_profiles={**kinds, **profiles_default(kinds[PLAIN])},
        auth_provider=auth,
        ssl_context=tls_of(parsed),
        connect_timeout=parsed.connect_timeout_s,
        reconnection_policy=ExponentialReconnectionPolicy(0.25, 4.0),
        sockopts=[_AT_ONCE],
    )
    try:
        session = cluster.connect()
    except (NoHostAvailable, DriverException, OSError) as error:
        cluster.shutdown()
        raise _failure(parsed, error) from error
    session.default_fetch_size = None  # every statement bounds its rows itself
    session.use_client_timestamp = False  # one clock family with the ballots: the coordinator's
    return Link(parsed.url, cluster, session, timeout_s)


def profiles_default(plain: Any) -> dict[Any, Any]:
    """The driver wants a default profile; nothing here uses it."""
    from cassandra.cluster import EXEC_PROFILE_DEFAULT

    return {EXEC_PROFILE_DEFAULT: plain}


def connected_dc(link: Link) -> str:
    """The data centre of the nodes this session uses: that of the first host the URL names."""
    return str(link.rows("select data_center from system.local")[0][0])


def _wanted_dc(link: Link, parsed: CassandraUrl) -> str:
    """The same, where it is the one that the URL asks for."""
    found = connected_dc(link)
    if parsed.local_dc not in ("", found):
        raise HomeDataCentreError(parsed.url, parsed.local_dc, found)
    return found


def _check_home(link: Link, parsed: CassandraUrl, meta: Meta) -> None:
    """LOCAL_SERIAL in two data centres would be two logs: all work where the journal was made."""
    found = _wanted_dc(link, parsed)
    if found != meta.home_dc:
        raise HomeDataCentreError(parsed.url, meta.home_dc, found)


def limits_found(link: Link, parsed: CassandraUrl) -> ServerLimits:
    """The narrowest of what the nodes of the home data centre say; each of them must be safe."""
    found = [limits_of(parsed.url, settings, parsed.timeout_s) for settings in _settings(link)]
    if not found:
        return limits_of(parsed.url, {}, parsed.timeout_s)
    slowest = max(limits.timeout_s for limits in found)
    return min(found, key=lambda limits: limits.mutation_bytes_max)._replace(timeout_s=slowest)


def _settings(link: Link) -> list[dict[str, str | None]]:
    """system_views.settings of each node that is up; each node answers for itself alone."""
    from cassandra.policies import HostDistance

    query, found = "select name, value from system_views.settings", []
    for host in link.cluster.metadata.all_hosts():
        if host.is_up and link.cluster.profile_manager.distance(host) == HostDistance.LOCAL:
            try:
                found.append(dict(link.rows_of(host, query)))
            except JournalUnavailableError as error:
                facts = {"host": str(host.address), "reason": error.reason}
                log.warning("server_settings_unreadable", extra=facts)
    return found

"""Turn a URL into an open journal: parse, connect, and refuse a server or schema that would not be
safe.

cassandra://host[,host…][:port]/keyspace[?key=value&…]; keys in docs/cassandra.md. Secrets are file
paths. The driver is imported here, when a Cassandra journal is opened, and not before.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from thespian_dc.model.errors import (
    HomeDataCentreError,
    JournalUnavailableError,
    JournalUrlError,
    MissingExtraError,
    UnsafeServerError,
)

if TYPE_CHECKING:
    from thespian_dc.journal.cassandra.journal import CassandraJournal
    from thespian_dc.journal.cassandra.link import Link
    from thespian_dc.journal.cassandra.schema import Applied, Meta

log = logging.getLogger(__name__)

_KEYSPACE = re.compile(r"[a-z][a-z0-9_]{0,47}")
_MARGIN_S = 1.0
_TIMEOUT_S_DEFAULT = 6.0
_FRAME_BYTES = 16 << 20
_ROW_OVERHEAD_BYTES = 64 << 10
_BATCH_WARN_BYTES, _BATCH_FAIL_BYTES, _BATCH_PARTITIONS = 5 << 10, 50 << 10, 10


@dataclass(frozen=True, slots=True)
class CassandraUrl:
    """A parsed URL. replication, segment_records: read by `schema apply` alone (0: its default)."""

    url: str
    hosts: tuple[str, ...]
    port: int
    keyspace: str
    local_dc: str = ""
    consistency: str = "local_quorum"
    username: str = ""
    password_file: str = field(default="", repr=False)
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    timeout_s: float = 0.0
    connect_timeout_s: float = 5.0
    commit_bytes_max: int = 1 << 20
    command_bytes_max: int = 4 << 20
    replication: int = 0
    segment_records: int = 0


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the servers say about themselves; defaults where they do not let us read it."""

    timeout_s: float
    mutation_bytes_max: int
    batch_bytes_max: int
    batch_partitions_max: int


def open_cassandra(url: str) -> CassandraJournal:
    """Connect and check: schema, home data centre, paxos variant, limits. Never changes the schema.

    Raises JournalUrlError, MissingExtraError, JournalUnavailableError, SchemaError,
    HomeDataCentreError, UnsafeServerError.
    """
    parsed = parse_url(url)
    link = _connect(parsed, parsed.timeout_s or _TIMEOUT_S_DEFAULT)
    try:
        from thespian_dc.journal.cassandra import schema
        from thespian_dc.journal.cassandra.journal import CassandraJournal

        meta = schema.check(link, parsed.keyspace)
        _check_home(link, parsed, meta)
        limits = _server_limits(link, parsed)
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
    link = _connect(parsed, 30.0)
    try:
        from thespian_dc.journal.cassandra import schema

        home_dc = parsed.local_dc or _connected_dc(link)
        nodes = sum(1 for host in link.cluster.metadata.all_hosts() if host.datacenter == home_dc)
        replication = parsed.replication or min(3, max(1, nodes))
        segment_records = parsed.segment_records or schema.SEGMENT_RECORDS_DEFAULT
        return schema.apply(link, parsed.keyspace, home_dc, replication, segment_records)
    finally:
        link.close()


def check_schema(url: str) -> Meta:
    """The recorded facts of the journal; SchemaError where it is missing, older or newer."""
    parsed = parse_url(url)
    link = _connect(parsed, parsed.timeout_s or _TIMEOUT_S_DEFAULT)
    try:
        from thespian_dc.journal.cassandra import schema

        meta = schema.check(link, parsed.keyspace)
        _check_home(link, parsed, meta)
        return meta
    finally:
        link.close()


def parse_url(url: str) -> CassandraUrl:
    """JournalUrlError says which part is wrong."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise JournalUrlError(
            _without_user(url), "no user or password in a URL; use ?username=…&password_file=…"
        )
    hosts, port = _hosts(url, parts.netloc)
    keyspace = parts.path.strip("/")
    if not _KEYSPACE.fullmatch(keyspace):
        raise JournalUrlError(url, f"{keyspace!r} is no keyspace; lower-case letters, digits and _")
    found = _parameters(url, parts.query)
    if found.get("consistency", "local_quorum") != "local_quorum":
        raise JournalUrlError(
            url, "consistency is local_quorum: clients that mix levels lose the log's guarantee"
        )
    if bool(found.get("username")) != bool(found.get("password_file")):
        raise JournalUrlError(url, "username and password_file go together")
    if found.get("segment_records", 1) < 0 or found.get("replication", 1) < 0:
        raise JournalUrlError(url, "segment_records and replication are positive")
    return CassandraUrl(url, hosts, port, keyspace, **found)


def _hosts(url: str, netloc: str) -> tuple[tuple[str, ...], int]:
    """host[,host][:port]; one port for all hosts; an IPv6 address in brackets."""
    bare, port = netloc, 9042
    match = re.fullmatch(r"(.*?):(\d+)", netloc)
    if match and not netloc.endswith("]"):
        bare, port = match.group(1), int(match.group(2))
    hosts = tuple(host.strip("[]") for host in bare.split(",") if host)
    if not hosts or not 0 < port < 1 << 16 or any(":" in h and "[" not in bare for h in hosts):
        raise JournalUrlError(url, "needs hosts and one port: cassandra://host,host:9042/keyspace")
    return hosts, port


def _parameters(url: str, query: str) -> dict[str, Any]:
    fixed = {"url", "hosts", "port", "keyspace"}
    kinds = {f.name: f.type for f in fields(CassandraUrl) if f.name not in fixed}
    convert: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
    found: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(kinds)}"
            raise JournalUrlError(url, f"unknown setting {name!r}{hint}")
        try:
            found[name] = convert[str(kinds[name])](text)
        except ValueError as error:
            raise JournalUrlError(url, f"{name}={text!r} is no {kinds[name]}") from error
    return found


def _without_user(url: str) -> str:
    return re.sub(r"//[^/]*@", "//", url)


def _connect(parsed: CassandraUrl, timeout_s: float) -> Link:
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
        password = Path(parsed.password_file).read_text(encoding="utf-8").strip()
        auth = PlainTextAuthProvider(parsed.username, password)
    kinds = profiles(parsed.local_dc, timeout_s)
    cluster = Cluster(
        list(parsed.hosts),
        port=parsed.port,
        protocol_version=5,  # of Cassandra 4.0 and later
        execution_profiles={**kinds, **profiles_default(kinds[PLAIN])},
        auth_provider=auth,
        ssl_context=_tls(parsed),
        connect_timeout=parsed.connect_timeout_s,
        reconnection_policy=ExponentialReconnectionPolicy(0.25, 4.0),
    )
    try:
        session = cluster.connect()
    except (NoHostAvailable, DriverException, OSError) as error:
        cluster.shutdown()
        from thespian_dc.journal.cassandra.outcome import reason_of

        raise JournalUnavailableError(parsed.url, reason_of(error)) from error
    session.default_fetch_size = None  # every statement bounds its rows itself
    session.use_client_timestamp = False  # one clock family with the ballots: the coordinator's
    return Link(parsed.url, cluster, session, timeout_s)


def profiles_default(plain: Any) -> dict[Any, Any]:
    """The driver wants a default profile; nothing here uses it."""
    from cassandra.cluster import EXEC_PROFILE_DEFAULT

    return {EXEC_PROFILE_DEFAULT: plain}


def _tls(parsed: CassandraUrl) -> Any:
    if not parsed.tls_ca:
        return None
    import ssl

    context = ssl.create_default_context(cafile=parsed.tls_ca)
    # The driver connects by address, so the certificate is checked against its authority, not a
    # name.
    context.check_hostname = False
    if parsed.tls_cert:
        context.load_cert_chain(parsed.tls_cert, parsed.tls_key or None)
    return context


def _connected_dc(link: Link) -> str:
    """The data centre of the node that answers this session."""
    return str(link.rows("select data_center from system.local")[0][0])


def _check_home(link: Link, parsed: CassandraUrl, meta: Meta) -> None:
    """LOCAL_SERIAL in two data centres is two logs: everybody works in the one that the journal was
    made in.
    """
    found = parsed.local_dc or _connected_dc(link)
    if found != meta.home_dc:
        raise HomeDataCentreError(parsed.url, meta.home_dc, found)


def _server_limits(link: Link, parsed: CassandraUrl) -> ServerLimits:
    """Read what system_views.settings shows; refuse a server whose conditional writes are not
    linearizable.
    """
    settings = _settings(link)
    variant = settings.get("paxos_variant") or ""
    if "without_linearizable_reads" in variant:
        raise UnsafeServerError(parsed.url, "paxos_variant", variant)
    server_s = _seconds(settings, "write_request_timeout") + _seconds(
        settings, "cas_contention_timeout"
    )
    # A client that stops waiting before the server does makes unknown outcomes by itself.
    timeout_s = parsed.timeout_s or max(_TIMEOUT_S_DEFAULT, server_s + _MARGIN_S)
    if timeout_s <= server_s:
        raise UnsafeServerError(
            parsed.url, "timeout_s", f"{timeout_s} s, not above the server's {server_s} s"
        )
    mutation = (
        _bytes(settings, "max_mutation_size") or _bytes(settings, "commitlog_segment_size") // 2
    )
    mutation_max = min(mutation or _FRAME_BYTES, _FRAME_BYTES) - _ROW_OVERHEAD_BYTES
    partitions = settings.get("unlogged_batch_across_partitions_warn_threshold") or ""
    return ServerLimits(
        timeout_s,
        mutation_max,
        min(
            _bytes(settings, "batch_size_warn_threshold") or _BATCH_WARN_BYTES,
            (_bytes(settings, "batch_size_fail_threshold") or _BATCH_FAIL_BYTES) // 2,
        ),
        int(partitions) if partitions.isdigit() else _BATCH_PARTITIONS,
    )


def _settings(link: Link) -> dict[str, str]:
    try:
        return dict(link.rows("select name, value from system_views.settings"))
    except JournalUnavailableError as error:
        log.warning("server_settings_unreadable", extra={"url": link.url, "reason": error.reason})
        return {}


def _seconds(settings: dict[str, str], name: str) -> float:
    """A duration such as 2000ms or 10s; 0 where it is absent."""
    match = re.fullmatch(r"(\d+)(ms|s|m)?", settings.get(name) or "")
    scale = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 0.001}
    return int(match.group(1)) * scale[match.group(2)] if match else 0.0


def _bytes(settings: dict[str, str], name: str) -> int:
    """A size such as 32MiB or 16384KiB; 0 where it is absent."""
    match = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB)?", settings.get(name) or "")
    scale = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, None: 1}
    return int(match.group(1)) * scale[match.group(2)] if match else 0

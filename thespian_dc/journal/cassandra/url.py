"""What a journal URL of Cassandra says. Pure: text in, a value or a named error out.

cassandra://host[,host…][:port]/keyspace[?key=value&…]; keys in docs/cassandra.md. Secrets are file
paths, never values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from thespian_dc.model.errors import JournalUrlError

_KEYSPACE = re.compile(r"[a-z][a-z0-9_]{0,47}")


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
    cache_bytes: int = 32 << 20
    replication: int = 0
    segment_records: int = 0


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
    if found.get("tls_key") and not found.get("tls_cert"):
        raise JournalUrlError(url, "tls_key is the key of tls_cert, which is missing")
    if found.get("tls_cert") and not found.get("tls_ca"):
        raise JournalUrlError(url, "without tls_ca the connection is not TLS; tls_cert needs it")
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

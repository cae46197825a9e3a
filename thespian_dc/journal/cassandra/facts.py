"""What an operator asks a Cassandra about a journal: its schema, its servers. For the command line.

Nothing here refuses an unsafe server: naming it is the point.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thespian_dc.journal.api import Schema, ServerFacts
from thespian_dc.journal.cassandra.open import apply_schema, check_schema, connect, connected_dc
from thespian_dc.journal.cassandra.url import parse_url
from thespian_dc.model.errors import JournalUnavailableError

CONNECT_TIMEOUT_S = 10.0


def schema_applied(url: str) -> Schema:
    """Make what is missing. SchemaError where a newer version made it."""
    applied = apply_schema(url)
    return _schema(applied.found_version, applied.meta)


def schema_checked(url: str) -> Schema:
    """SchemaError, HomeDataCentreError where it does not fit."""
    meta = check_schema(url)
    return _schema(meta.schema_version, meta)


def facts_of(url: str) -> ServerFacts:
    """Ask each server of the cluster that can be reached. JournalUnavailableError: none can."""
    from thespian_dc.journal.cassandra import schema

    with _linked(url) as (parsed, link):
        meta = schema.read_meta(link, parsed.keyspace)
        hosts = sorted(link.cluster.metadata.all_hosts(), key=lambda host: str(host.address))
        return ServerFacts(
            tuple(
                (
                    str(host.address),
                    str(host.datacenter or ""),
                    str(host.release_version or ""),
                    _paxos_variant(link, host),
                )
                for host in hosts
            ),
            connected_dc(link),
            None if meta is None else _schema(meta.schema_version, meta),
            schema.SCHEMA_VERSION,
        )


@contextmanager
def _linked(url: str) -> Iterator[tuple[Any, Any]]:
    parsed = parse_url(url)
    link = connect(parsed, parsed.timeout_s or CONNECT_TIMEOUT_S)
    try:
        yield parsed, link
    finally:
        link.close()


def _paxos_variant(link: Any, host: Any) -> str:
    """Of this one server: its virtual tables speak of itself alone."""
    query = "select value from system_views.settings where name = 'paxos_variant'"
    try:
        rows = link.rows_of(host, query)
    except JournalUnavailableError:  # down, too old, or not allowed to read it: it does not say
        return ""
    return str(rows[0][0] or "") if rows else ""


def _schema(found: int, meta: Any) -> Schema:
    return Schema(found, meta.schema_version, meta.journal_id, meta.home_dc, meta.segment_records)

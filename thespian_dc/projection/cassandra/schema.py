"""The tables of a consumer's keyspace, made by `thespian-dc schema apply
--positions URL` alone; running consumers never do.

Which rule a table's writes follow; never both on one table:
- conditional only: projection_slices (each write names the epoch), projection_cells (a version)
- plain, written once: projection_names, projection_facts
A slice's rows stand in one partition, so that all that one transaction changes is one conditional
batch. Rows go away only where something parked is released or a handler deletes.
"""

from __future__ import annotations

from typing import Any

from thespian_dc.journal.api import cassandra_access
from thespian_dc.model.errors import HomeDataCentreError, JournalUnavailableError
from thespian_dc.model.handler_errors import ConsumerSchemaError
from thespian_dc.model.stream_errors import PositionStoreError

SCHEMA_VERSION = 1

_TABLES = (
    """
create table if not exists {ks}.projection_slices (
    projection text, slice int,
    epoch bigint static, position bigint static, write_id blob static, journal_id text static,
    claim_token blob static,
    kind text, key text, value blob,
    primary key ((projection, slice), kind, key))""",
    """
create table if not exists {ks}.projection_cells (
    projection text, name text, version bigint, value blob, primary key (projection, name))""",
    """
create table if not exists {ks}.projection_names (
    projection text, slice int, primary key (projection, slice))""",
    """
create table if not exists {ks}.projection_facts (
    name text primary key, value text)""",
)


def apply_schema(url: str) -> tuple[int, str]:
    """Make what is missing, change nothing that is there: (version found before, data centre)."""
    with cassandra_access().for_schema(url) as (access, replication):
        found = _facts(access)
        if int(found.get("schema", 0)) > SCHEMA_VERSION:
            raise ConsumerSchemaError(url, int(found["schema"]), SCHEMA_VERSION)
        centre = access.data_centre
        try:
            access.define(
                f"create keyspace if not exists {access.keyspace} with replication = "
                f"{{'class': 'NetworkTopologyStrategy', '{centre}': {replication}}}"
            )
            for table in _TABLES:
                access.define(table.format(ks=access.keyspace))
            put = access.prepare(
                "insert into {ks}.projection_facts (name, value) values (?, ?) if not exists"
            )
            access.decide(put.bind(("home_dc", centre)))
            access.decide(put.bind(("schema", str(SCHEMA_VERSION))))  # last: now it is complete
        except JournalUnavailableError as error:
            raise PositionStoreError(url, error.reason) from error
        return int(found.get("schema", 0)), found.get("home_dc", centre)


def check_schema(url: str) -> None:
    """The same as `check`, over a connection of its own."""
    with cassandra_access().for_schema(url) as (access, _):
        check(access, url)


def check(access: Any, url: str) -> None:
    """ConsumerSchemaError, HomeDataCentreError where the keyspace is not what is needed."""
    found = _facts(access)
    if found.get("schema") != str(SCHEMA_VERSION):
        raise ConsumerSchemaError(url, int(found.get("schema", 0)), SCHEMA_VERSION)
    if found["home_dc"] != access.data_centre:
        raise HomeDataCentreError(url, found["home_dc"], access.data_centre)


def _facts(access: Any) -> dict[str, str]:
    """Empty where there is no complete schema."""
    from cassandra import InvalidRequest

    try:
        rows = access.rows(f"select name, value from {access.keyspace}.projection_facts")
    except JournalUnavailableError as error:
        if isinstance(error.__cause__, InvalidRequest):  # no such keyspace, or no such table
            return {}
        raise PositionStoreError(access.link.url, error.reason) from error
    return dict(rows)

"""The tables, and the only place that makes them: `thespian-dc schema apply|check`. Running hosts
never do.

Which rule a table's writes follow; never both on one table:
- conditional only (a conditional write's time is its ballot, a plain write's time is a clock;
  mixed, a later plain write can lose to an earlier conditional one): slice_log, owners, cells
- plain, ordered by a write time that comes from the log (`USING TIMESTAMP` offset): entity_index,
  index_marks, trim_marks, states. A late older write never wins.
- plain, the latest wins: members
The one plain write to slice_log is trimming: a range delete of commits below a mark that nothing is
ever written below again.
"""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from cassandra import InvalidRequest

from thespian_dc.journal.cassandra.link import CONDITIONAL, PLAIN, Link
from thespian_dc.journal.cassandra.outcome import reason_of
from thespian_dc.journal.cells import Cell
from thespian_dc.model.errors import CorruptJournalError, JournalUnavailableError, SchemaError

SCHEMA_VERSION = 1
SEGMENT_RECORDS_DEFAULT = 1 << 15

# heads, body: wire bytes (model/record.py). A segment is a partition: records base_offset //
# segment_records.
_SLICE_LOG = """
create table if not exists {ks}.slice_log (
    entity_type text, slice int, segment bigint,
    head bigint static, epoch bigint static, head_crc bigint static,
    base_offset bigint, records int, write_id blob, commit_epoch bigint, time_us bigint,
    size_bytes int, heads blob, body blob, checksum bigint,
    primary key ((entity_type, slice, segment), base_offset))"""

_OWNERS = """
create table if not exists {ks}.owners (
    entity_type text, slice int, epoch bigint, sealed blob,
    primary key (entity_type, slice))"""
_CELLS = """
create table if not exists {ks}.cells (
    kind text, name text, version bigint, value blob, crc bigint, primary key (kind, name))"""
_MEMBERS = """
create table if not exists {ks}.members (
    kind text, name text, version bigint, value blob, crc bigint, primary key (kind, name))"""
_ENTITY_INDEX = """
create table if not exists {ks}.entity_index (
    entity_type text, slice int, entity_id text, first_seq_nr bigint, sealed blob,
    primary key ((entity_type, slice, entity_id), first_seq_nr))"""
_INDEX_MARKS = """
create table if not exists {ks}.index_marks (
    entity_type text, slice int, sealed blob, primary key ((entity_type, slice)))"""
_TRIM_MARKS = """
create table if not exists {ks}.trim_marks (
    entity_type text, slice int, sealed blob, primary key ((entity_type, slice)))"""
_STATES = """
create table if not exists {ks}.states (
    entity_type text, slice int, entity_id text, sealed blob,
    primary key ((entity_type, slice, entity_id)))"""
_TABLES = (
    *(_SLICE_LOG, _OWNERS, _MEMBERS, _ENTITY_INDEX, _INDEX_MARKS, _TRIM_MARKS, _STATES),
    _CELLS,  # last: it says that the schema is there
)


class Meta(NamedTuple):
    """What `schema apply` recorded once and for ever."""

    schema_version: int
    journal_id: str
    home_dc: str
    segment_records: int


class Applied(NamedTuple):
    """What `apply` found and left."""

    found_version: int
    meta: Meta


def apply(
    link: Link, keyspace: str, home_dc: str, replication: int, segment_records: int
) -> Applied:
    """Make what is missing; change nothing that is there. Run it once at a time, from the command
    line.

    Raises SchemaError where a newer version made the schema.
    """
    found = read_meta(link, keyspace)
    if found is not None and found.schema_version > SCHEMA_VERSION:
        raise SchemaError(link.url, found.schema_version, SCHEMA_VERSION)
    _ddl(
        link,
        f"create keyspace if not exists {keyspace} with replication ="
        f" {{'class': 'NetworkTopologyStrategy', '{home_dc}': {replication}}}",
    )
    for table in _TABLES:
        _ddl(link, table.format(ks=keyspace))
    wanted = {
        "journal/id": uuid.uuid4().hex,
        "journal/home_dc": home_dc,
        "journal/segment_records": segment_records,
        "journal/schema": SCHEMA_VERSION,  # last: with it the schema is complete
    }
    insert = link.session.prepare(
        f"insert into {keyspace}.cells (kind, name, version, value, crc)"
        " values ('journal', ?, ?, ?, ?) if not exists"
    )
    for name, content in wanted.items():
        link.decide(insert.bind(tuple(Cell.make(name, 1, content))))
    meta = read_meta(link, keyspace)
    assert meta is not None
    return Applied(found.schema_version if found else 0, meta)


def check(link: Link, keyspace: str) -> Meta:
    """The recorded facts; SchemaError where the schema is missing, incomplete, older or newer."""
    meta = read_meta(link, keyspace)
    if meta is None or meta.schema_version != SCHEMA_VERSION:
        raise SchemaError(link.url, meta.schema_version if meta else 0, SCHEMA_VERSION)
    return meta


def read_meta(link: Link, keyspace: str) -> Meta | None:
    """None where there is no complete schema; CorruptJournalError where a fact is damaged."""
    query = f"select name, version, value, crc from {keyspace}.cells where kind = 'journal'"
    try:
        rows = link.rows(query, PLAIN)
    except JournalUnavailableError as error:
        if isinstance(error.__cause__, InvalidRequest):  # no such keyspace, or no such table
            return None
        raise
    facts: dict[str, Any] = {}
    for cell in (Cell(*row) for row in rows):
        if not cell.sound:
            raise CorruptJournalError(
                link.url, f"registry cell {cell.name!r}", "its checksum does not match"
            )
        facts[cell.name] = cell.content
    if "journal/schema" not in facts:
        return None
    return Meta(
        facts["journal/schema"],
        facts["journal/id"],
        facts["journal/home_dc"],
        facts["journal/segment_records"],
    )


def _ddl(link: Link, statement: str) -> None:
    """Schema changes one after another: the driver waits until all nodes agree."""
    try:
        link.session.execute(statement, execution_profile=CONDITIONAL, timeout=60.0)
    except (
        Exception
    ) as error:  # the driver raises what it likes; the operator wants to know what was refused
        raise JournalUnavailableError(link.url, reason_of(error)) from error

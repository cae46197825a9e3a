"""The tables, their version (the file's `user_version`), and how they come to be.

Every table's rows are guarded: `cell`, `slice` and `state` by a seal, `commits` by the commit's own
checksum, `entity` and `chunk` by a CRC of each run, by each other (the last seq_nr of a row is that
of its last run) and by the log itself.
"""

from __future__ import annotations

import sqlite3
from itertools import groupby, islice

from thespian_dc.journal.api import SQLITE_ID
from thespian_dc.journal.sqlite.entities import RUNS_IN_TAIL, packed_run

SCHEMA_VERSION = 2

# The entity index (entities.py). `last_seq_nr` is the second fence: an append only raises it.
_INDEX = (
    """create table entity(
        slice integer not null, entity_id text not null,
        last_seq_nr integer not null, tail blob not null, primary key(slice, entity_id)
    ) without rowid""",
    """create table chunk(
        slice integer not null, entity_id text not null,
        last_seq_nr integer not null, runs blob not null, primary key(slice, entity_id, last_seq_nr)
    ) without rowid""",
)
TABLES = (
    # The registry's named values (journal/cells.py).
    """create table cell(
        name text primary key, version integer not null, value blob not null, crc integer not null
    ) without rowid""",
    # A slice log: what a compare-and-set compares, the trim mark, and who claimed it last.
    """create table slice(
        id integer primary key, entity_type text not null, slice integer not null,
        head integer not null, epoch integer not null,
        trimmed_to integer not null, trimmed_write_id blob not null,
        claim_epoch integer not null, member_id text not null, token blob not null,
        crc integer not null, unique(entity_type, slice))""",
    # The log. Small columns stand before the body: they are read without its overflow pages.
    """create table commits(
        slice integer not null, base_offset integer not null, count integer not null,
        write_id blob not null, epoch integer not null, time_us integer not null,
        checksum integer not null, heads blob not null, body blob not null,
        primary key(slice, base_offset))""",
    "create index commits_by_time on commits(slice, time_us, base_offset)",
    *_INDEX,
    # Snapshots and latest states.
    """create table state(
        slice integer not null, entity_id text not null, seq_nr integer not null,
        offset integer not null, crc integer not null, body blob not null,
        primary key(slice, entity_id))""",
)


def found_version(connection: sqlite3.Connection) -> int:
    """The schema's version in this file; 0: none yet, -1: the file is another program's."""
    (version,) = connection.execute("pragma user_version").fetchone()
    (application,) = connection.execute("pragma application_id").fetchone()
    if application == SQLITE_ID:
        return int(version)
    (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    return -1 if tables or version else 0


def create_tables(connection: sqlite3.Connection) -> None:
    """Make all tables; inside the caller's transaction, so that a file has all of them or none."""
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"pragma application_id = {SQLITE_ID}")
    connection.execute(f"pragma user_version = {SCHEMA_VERSION}")


def migrate(connection: sqlite3.Connection, found: int) -> None:
    """Bring an older file's tables to this version; inside the caller's transaction."""
    if found == 1:  # an index row for each record
        connection.execute("alter table entity rename to entity_1")
        for statement in _INDEX:
            connection.execute(statement)
        connection.execute(
            "insert into entity select slice, entity_id, last_seq_nr, x'' from entity_1"
        )
        runs = connection.execute(
            "select slice, entity_id, base_offset, max(seq_nr), count(*)"
            " from entity_1 join entry on entry.entity = entity_1.id"
            " group by id, base_offset order by id, max(seq_nr)"
        )
        for name, of_entity in groupby(runs, key=lambda row: row[:2]):
            while some := [row[2:] for row in islice(of_entity, RUNS_IN_TAIL)]:
                chunk = (*name, some[-1][1], b"".join(packed_run(*run) for run in some))
                connection.execute("insert into chunk values (?, ?, ?, ?)", chunk)
        connection.execute("drop table entry")
        connection.execute("drop table entity_1")
    connection.execute(f"pragma user_version = {SCHEMA_VERSION}")

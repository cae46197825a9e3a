"""The tables, their version (the file's `user_version`), and how they come to be.

Every table's rows are guarded: `cell`, `slice` and `state` by a seal, `commits` by the commit's own
checksum, `entity` and `entry` by each other (the entity's last seq_nr is that of its last entry)
and by the log itself.
"""

from __future__ import annotations

import sqlite3

SCHEMA_VERSION = 1
APPLICATION_ID = 0x7464636A  # "tdcj": says to `file` and to us whose file this is

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
    # The entity index. Its primary key is the second fence: one record per (entity, seq_nr).
    """create table entity(
        id integer primary key, slice integer not null, entity_id text not null,
        last_seq_nr integer not null, unique(slice, entity_id))""",
    """create table entry(
        entity integer not null, seq_nr integer not null, base_offset integer not null,
        primary key(entity, seq_nr)) without rowid""",
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
    if application == APPLICATION_ID:
        return int(version)
    (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    return -1 if tables or version else 0


def create_tables(connection: sqlite3.Connection) -> None:
    """Make all tables; inside the caller's transaction, so that a file has all of them or none."""
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute(f"pragma user_version = {SCHEMA_VERSION}")

"""Every statement of the journal, prepared once when it is opened. Columns are named, rows are
bounded.

No statement deletes in, or binds a null to, a hot table; trimming and `delete_state` are what an
operator asks for.
"""

from __future__ import annotations

from typing import Any

from thespian_dc.journal.cassandra.link import Link

_LOG_KEY = "entity_type = ? and slice = ? and segment = ?"
_ENTITY = "entity_type = ? and slice = ? and entity_id = ?"
_ROW = "base_offset, records, write_id, commit_epoch, time_us, size_bytes, heads, body, checksum"
_SET_ROW = (
    "head = ?, epoch = ?, head_crc = ?, records = ?, write_id = ?, commit_epoch = ?, time_us = ?,"
    " size_bytes = ?, heads = ?, body = ?, checksum = ?"
)

_CQL = {
    # --- slice_log: one conditional update sets the segment's head and the row, or nothing ---
    "append": f"update {{ks}}.slice_log set {_SET_ROW}"
    f" where {_LOG_KEY} and base_offset = ? if head = ? and epoch = ?",
    "append_first": f"update {{ks}}.slice_log set {_SET_ROW}"
    f" where {_LOG_KEY} and base_offset = ? if head = null",
    "install": "update {ks}.slice_log set epoch = ?, head_crc = ?"
    f" where {_LOG_KEY} if head = ? and epoch < ?",
    "install_first": "update {ks}.slice_log set head = ?, epoch = ?, head_crc = ?"
    f" where {_LOG_KEY} if head = null",
    "head": "select distinct entity_type, slice, segment, head, epoch, head_crc from {ks}.slice_log"
    f" where {_LOG_KEY}",
    "row": f"select {_ROW} from {{ks}}.slice_log where {_LOG_KEY} and base_offset = ?",
    "rows": f"select {_ROW} from {{ks}}.slice_log where {_LOG_KEY}"
    " and base_offset >= ? and base_offset <= ?",
    "places": "select base_offset, records, size_bytes from {ks}.slice_log"
    f" where {_LOG_KEY} and base_offset >= ? limit ?",
    "covering": "select base_offset, records, size_bytes from {ks}.slice_log"
    f" where {_LOG_KEY} and base_offset <= ? order by base_offset desc limit 1",
    "trim": f"delete from {{ks}}.slice_log where {_LOG_KEY} and base_offset < ?",
    # --- registry ---
    "owner": "select epoch, sealed from {ks}.owners where entity_type = ? and slice = ?",
    "owners": "select slice, epoch, sealed from {ks}.owners where entity_type = ?",
    "claim": "update {ks}.owners set epoch = ?, sealed = ?"
    " where entity_type = ? and slice = ? if epoch = ?",
    "claim_first": "insert into {ks}.owners (entity_type, slice, epoch, sealed) values (?, ?, ?, ?)"
    " if not exists",
    "cell": "select name, version, value, crc from {ks}.cells where kind = ? and name = ?",
    "cells": "select name, version, value, crc from {ks}.cells where kind = ?",
    "all_cells": "select kind, name, version, value, crc from {ks}.cells",
    "all_members": "select kind, name, version, value, crc from {ks}.members",
    "put_cell": "update {ks}.cells set version = ?, value = ?, crc = ?"
    " where kind = ? and name = ? if version = ?",
    "put_cell_first": "insert into {ks}.cells (kind, name, version, value, crc)"
    " values (?, ?, ?, ?, ?) if not exists",
    "remove_cell": "delete from {ks}.cells where kind = ? and name = ? if exists",
    "announce": "insert into {ks}.members (kind, name, version, value, crc) values (?, ?, ?, ?, ?)",
    "member": "select name, version, value, crc from {ks}.members where kind = ? and name = ?",
    "members": "select name, version, value, crc from {ks}.members where kind = ?",
    "forget": "delete from {ks}.members where kind = ? and name = ?",
    # --- derived: the write time is an offset ---
    "index_row": "insert into {ks}.entity_index"
    " (entity_type, slice, entity_id, first_seq_nr, sealed)"
    " values (?, ?, ?, ?, ?) using timestamp ?",
    "index_from": "select first_seq_nr, sealed, writetime(sealed) from {ks}.entity_index"
    f" where {_ENTITY} and first_seq_nr > ? limit ?",
    "index_at": "select first_seq_nr, sealed, writetime(sealed) from {ks}.entity_index"
    f" where {_ENTITY} and first_seq_nr <= ? order by first_seq_nr desc limit 1",
    # --- whole tables, in the order of the partitions' tokens ---
    "entities": "select distinct entity_type, slice, entity_id from {ks}.entity_index limit ?",
    "entities_on": "select distinct entity_type, slice, entity_id from {ks}.entity_index"
    " where token(entity_type, slice, entity_id) >= token(?, ?, ?) limit ?",
    "stated": "select distinct entity_type, slice, entity_id from {ks}.states limit ?",
    "stated_on": "select distinct entity_type, slice, entity_id from {ks}.states"
    " where token(entity_type, slice, entity_id) >= token(?, ?, ?) limit ?",
    "marked": "select distinct entity_type, slice from {ks}.index_marks limit ?",
    "marked_on": "select distinct entity_type, slice from {ks}.index_marks"
    " where token(entity_type, slice) >= token(?, ?) limit ?",
    "trimmed": "select distinct entity_type, slice from {ks}.trim_marks limit ?",
    "trimmed_on": "select distinct entity_type, slice from {ks}.trim_marks"
    " where token(entity_type, slice) >= token(?, ?) limit ?",
    "owned": "select distinct entity_type from {ks}.owners limit ?",
    "owned_on": "select distinct entity_type from {ks}.owners"
    " where token(entity_type) >= token(?) limit ?",
    "segments": "select distinct entity_type, slice, segment from {ks}.slice_log limit ?",
    "segments_on": "select distinct entity_type, slice, segment from {ks}.slice_log"
    " where token(entity_type, slice, segment) >= token(?, ?, ?) limit ?",
    "index_mark": "select sealed from {ks}.index_marks where entity_type = ? and slice = ?",
    "raise_index_mark": "insert into {ks}.index_marks (entity_type, slice, sealed)"
    " values (?, ?, ?) using timestamp ?",
    "trim_mark": "select sealed from {ks}.trim_marks where entity_type = ? and slice = ?",
    "raise_trim_mark": "insert into {ks}.trim_marks (entity_type, slice, sealed)"
    " values (?, ?, ?) using timestamp ?",
    "state": f"select sealed, writetime(sealed) from {{ks}}.states where {_ENTITY}",
    "write_state": "insert into {ks}.states (entity_type, slice, entity_id, sealed)"
    " values (?, ?, ?, ?) using timestamp ?",
    "delete_state": f"delete from {{ks}}.states using timestamp ? where {_ENTITY}",
}


class Statements:
    """`statements.bind("append", …)` gives a bound statement to send."""

    def __init__(self, link: Link, keyspace: str) -> None:
        self._prepared = {
            name: link.session.prepare(cql.format(ks=keyspace)) for name, cql in _CQL.items()
        }

    def bind(self, name: str, *values: Any) -> Any:
        return self._prepared[name].bind(values)

    def __getitem__(self, name: str) -> Any:
        return self._prepared[name]

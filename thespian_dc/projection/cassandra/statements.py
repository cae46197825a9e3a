"""Every statement on a consumer's keyspace, but those of upserts into the user's own tables."""

from __future__ import annotations

_PLACE = "projection = ? and slice = ?"

CQL = {
    # --- projection_slices: conditional only ---
    "slice": "select epoch, position, write_id, journal_id, claim_token from {ks}.projection_slices"
    f" where {_PLACE} limit 1",
    "claim_first": "update {ks}.projection_slices"
    " set epoch = ?, position = ?, write_id = ?, journal_id = ?, claim_token = ?"
    f" where {_PLACE} if epoch = null",
    "claim": f"update {{ks}}.projection_slices set epoch = ?, claim_token = ? where {_PLACE}"
    " if epoch = ?",
    "replace": "update {ks}.projection_slices"
    " set epoch = ?, position = ?, write_id = ?, claim_token = ?"
    f" where {_PLACE} if epoch = ?",
    "perform": "update {ks}.projection_slices"
    " set epoch = ?, position = ?, write_id = ?, claim_token = ?"
    f" where {_PLACE} if epoch = ? and position = ?",
    "move": f"update {{ks}}.projection_slices set position = ?, write_id = ? where {_PLACE}"
    " if epoch = ? and position = ?",
    "confirm": f"update {{ks}}.projection_slices set epoch = ? where {_PLACE}"
    " if epoch = ? and position = ?",
    "put": "insert into {ks}.projection_slices (projection, slice, kind, key, value)"
    " values (?, ?, ?, ?, ?)",
    "delete": f"delete from {{ks}}.projection_slices where {_PLACE} and kind = ? and key = ?",
    "drop": f"delete from {{ks}}.projection_slices where {_PLACE} and kind = ?",
    "put_own": f"update {{ks}}.projection_slices set value = ? where {_PLACE}"
    " and kind = ? and key = ? if epoch = ?",
    "row": f"select value from {{ks}}.projection_slices where {_PLACE} and kind = ? and key = ?",
    "rows_from": f"select key, value from {{ks}}.projection_slices where {_PLACE}"
    " and kind = ? and key > ? limit ?",
    "keys": f"select key from {{ks}}.projection_slices where {_PLACE} and kind = ?",
    # --- projection_cells: conditional only ---
    "cell": "select version, value from {ks}.projection_cells where projection = ? and name = ?",
    "cells": "select name, version, value from {ks}.projection_cells"
    " where projection = ? and name >= ? and name < ?",
    "cell_versions": "select version from {ks}.projection_cells where projection = ? and name in ?",
    "with_cells": "select distinct projection from {ks}.projection_cells",
    "cell_first": "insert into {ks}.projection_cells (projection, name, version, value)"
    " values (?, ?, ?, ?) if not exists",
    "cell_next": "update {ks}.projection_cells set version = ?, value = ?"
    " where projection = ? and name = ? if version = ?",
    "cell_gone": "delete from {ks}.projection_cells where projection = ? and name = ?"
    " if version = ?",
    # --- projection_names: plain ---
    "name": "insert into {ks}.projection_names (projection, slice) values (?, ?)",
    "names": "select slice from {ks}.projection_names where projection = ?",
    "with_names": "select distinct projection from {ks}.projection_names",
}

"""Claims of slices, slice counts, entries and members.

Claims and cells are written conditionally and only so (cells: one partition per kind); members,
which announce themselves all the time and may be a little old, are written plainly and only so.
"""

from __future__ import annotations

from typing import Any

from thespian_dc.journal.api import Owner
from thespian_dc.journal.cassandra.link import DECIDING
from thespian_dc.journal.cassandra.reader import Parts
from thespian_dc.journal.cassandra.sealed import unwrap, unwrap_or_raise, wrap
from thespian_dc.journal.cells import Cell, CellRegistry
from thespian_dc.journal.reading import damage_of
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.ids import SliceKey

_KINDS = ("journal", "slices", "entry")
_MEMBER = "member"
_TRIES_MAX = 100


class Registry(CellRegistry, Parts):
    """The registry part of the contract; the rest of it is CellRegistry's."""

    # --- cells ---
    def _cell(self, name: str) -> Cell | None:
        kind = name.split("/", 1)[0]
        if kind == _MEMBER:
            rows = self._rows("member", kind, name)
        else:
            rows = self._link.rows(self._statements.bind("cell", kind, name), DECIDING)
        return Cell(*rows[0]) if rows else None

    def _cells(self, prefix: str) -> list[Cell]:
        kind = prefix.split("/", 1)[0]
        if not kind:
            return self._all_cells()
        rows = self._rows("members" if kind == _MEMBER else "cells", kind)
        return [cell for row in rows if (cell := Cell(*row)).name.startswith(prefix)]

    def _all_cells(self) -> list[Cell]:
        """Both tables, every partition; a cell in the partition of another kind is made unsound."""
        found: list[Cell] = []
        for table, kinds in (("all_cells", _KINDS), ("all_members", (_MEMBER,))):
            for kind, *row in self._rows(table):
                cell = Cell(*row)
                at_home = kind in kinds and cell.name.startswith(f"{kind}/")
                found.append(cell if at_home else cell._replace(crc=-1))
        return found

    def _put_cell(self, cell: Cell, expected_version: int | None) -> bool:
        kind = cell.name.split("/", 1)[0]
        if kind == _MEMBER:
            self._rows("announce", kind, *cell)
            return True
        assert expected_version is not None, "registry cells other than members are compared"
        if expected_version == 0:
            statement = self._statements.bind("put_cell_first", kind, *cell)
        else:
            name, version, value, crc = cell
            statement = self._statements.bind(
                "put_cell", version, value, crc, kind, name, expected_version
            )
        return bool(self._link.decide(statement)["[applied]"])

    def _remove_cell(self, name: str) -> None:
        kind = name.split("/", 1)[0]
        if kind == _MEMBER:
            self._rows("forget", kind, name)
        else:
            self._link.decide(self._statements.bind("remove_cell", kind, name))

    def _has_logs(self, entity_type: str) -> bool:
        return bool(self._rows("owners", entity_type))

    # --- claims ---
    def claim(
        self, key: SliceKey, member_id: str, token: bytes, seen_epoch: int | None = None
    ) -> Owner:
        last = self.owner(key)
        for _ in range(_TRIES_MAX):
            epoch = last.epoch if last else 0
            if last is not None and seen_epoch is not None and seen_epoch != epoch:
                return last
            mine = Owner(epoch + 1, member_id, token)
            if self._claim(key, mine, epoch):
                return mine
            last = self.owner(key)
            if last is not None and last.token == token:
                return last
        raise JournalUnavailableError(self.url, f"{key}: others claim it all the time")

    def _claim(self, key: SliceKey, mine: Owner, epoch: int) -> bool:
        """Whether the claim stands; an unknown answer is read back once: the token is unique."""
        cell = wrap("claim", key, tuple(mine))
        if epoch == 0:
            statement = self._statements.bind("claim_first", *key, mine.epoch, cell)
        else:
            statement = self._statements.bind("claim", mine.epoch, cell, *key, epoch)
        try:
            return bool(self._link.decide(statement)["[applied]"])
        except JournalUnavailableError:
            stands = self.owner(key)
            if stands is not None and stands.token == mine.token:
                return True
            raise

    def owner(self, key: SliceKey) -> Owner | None:
        rows = self._link.rows(self._statements.bind("owner", *key), DECIDING)
        return self._owner_of(key, *rows[0]) if rows else None

    def owners(self, entity_type: str) -> dict[int, Owner]:
        found: dict[int, Owner] = {}
        for slice_, epoch, cell in self._rows("owners", entity_type):
            stored = unwrap("claim", SliceKey(entity_type, slice_), cell)
            if stored is not None and stored[0] == epoch:
                found[slice_] = Owner(*stored)
        return found

    def _owner_of(self, key: SliceKey, epoch: Any, cell: bytes | None) -> Owner:
        stored = unwrap_or_raise("claim", key, cell)
        if stored[0] != epoch:
            raise damage_of(key, 0, "", "its epoch is not that of its claim")
        return Owner(*stored)

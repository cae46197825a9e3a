"""The registry as cells: named values with a version. What embedded journals share.

A backend brings four small operations (`Cells`); slice counts, members and entries are written
once, here. Cell names: `slices/<entity type>`, `member/<member id>`, `entry/<name>`. A cell's value
is msgpack; its crc is seal(name, version, value). Claims of slices are not cells: they live beside
the heads they guard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack

from thespian_dc.journal.api import Entry, Member
from thespian_dc.journal.seal import seal
from thespian_dc.model.errors import CorruptJournalError, SliceCountDiffersError
from thespian_dc.model.ids import check_name, check_slices


class Cell(NamedTuple):
    """One stored cell, unchecked. `value` is msgpack bytes."""

    name: str
    version: int
    value: bytes
    crc: int

    @classmethod
    def make(cls, name: str, version: int, content: Any) -> Cell:
        value: bytes = msgpack.packb(content)
        return cls(name, version, value, seal(name, version, value))

    @property
    def sound(self) -> bool:
        return self.crc == seal(self.name, self.version, self.value)

    @property
    def content(self) -> Any:
        return msgpack.unpackb(self.value, use_list=True)


class CellRegistry:
    """The registry part of `Journal` over four operations that a backend brings."""

    url: str

    def _cell(self, name: str) -> Cell | None:
        """The stored cell, unchecked."""
        raise NotImplementedError

    def _cells(self, prefix: str) -> list[Cell]:
        """All stored cells whose name starts with `prefix`, by name, unchecked."""
        raise NotImplementedError

    def _put_cell(self, cell: Cell, expected_version: int | None) -> bool:
        """Store iff the stored version is `expected_version` (0: absent, None: whatever it is)."""
        raise NotImplementedError

    def _put_lightly(self, cell: Cell, expected_version: int | None) -> bool:
        """The same, of what may be lost with the machine's power; see `Journal.put_entry`."""
        return self._put_cell(cell, expected_version)

    def _remove_cell(self, name: str) -> None:
        """Remove the cell if it is there."""
        raise NotImplementedError

    def _put_slices(self, cell: Cell, entity_type: str, wanted: int) -> None:
        """Store the type's slice count where there is none yet."""
        self._put_cell(cell, 0)

    def _has_logs(self, entity_type: str) -> bool:
        """True where slice logs of this type exist, whatever the registry says."""
        raise NotImplementedError

    def _checked(self, cell: Cell) -> Cell:
        if not cell.sound:
            raise CorruptJournalError(
                self.url, f"registry cell {cell.name!r}", "its checksum does not match"
            )
        return cell

    def slices(self, entity_type: str, wanted: int) -> int:
        check_name("entity type", entity_type)
        check_slices(wanted)
        name = f"slices/{entity_type}"
        cell = self._cell(name)
        if cell is None and self._has_logs(entity_type):
            cell = self._cell(name)  # logs come with their cell: was somebody just quicker?
            if cell is None:
                reason = "it is missing, though the type has slice logs"
                raise CorruptJournalError(self.url, f"registry cell {name!r}", reason)
        if cell is None:
            self._put_slices(Cell.make(name, 1, wanted), entity_type, wanted)
            # What counts is what stands there: another process may have been quicker.
            cell = self._cell(name)
            assert cell is not None
        recorded: int = self._checked(cell).content
        if recorded != wanted:
            raise SliceCountDiffersError(entity_type, recorded, wanted)
        return recorded

    def slice_counts(self) -> dict[str, int]:
        return {
            c.name.removeprefix("slices/"): self._checked(c).content for c in self._cells("slices/")
        }

    def announce(self, member: Member) -> None:
        # Of a member that beats nobody needs to know after a loss of power: it is gone too.
        cell = Cell.make(f"member/{member.member_id}", member.beat, tuple(member))
        self._put_lightly(cell, None)

    def members(self) -> list[Member]:
        """A damaged row is left out: its member announces itself again soon and so repairs it."""
        return [_member(cell) for cell in self._cells("member/") if cell.sound]

    def forget(self, member_id: str) -> None:
        self._remove_cell(f"member/{member_id}")

    def entry(self, name: str) -> Entry:
        cell = self._cell(f"entry/{name}")
        return Entry(0, None) if cell is None else Entry(self._checked(cell).version, cell.content)

    def put_entry(
        self, name: str, expected_version: int, value: Any, lightly: bool = False
    ) -> bool:
        put = self._put_lightly if lightly else self._put_cell
        return put(Cell.make(f"entry/{name}", expected_version + 1, value), expected_version)

    def _verify_cells(self) -> Iterator[Exception]:
        for cell in self._cells(""):
            try:
                self._checked(cell)
            except CorruptJournalError as damage:
                yield damage
            if not cell.name.startswith(("slices/", "member/", "entry/", "journal/")):
                yield CorruptJournalError(
                    self.url, f"registry cell {cell.name!r}", "no cell is called so"
                )


def _member(cell: Cell) -> Member:
    member_id, address, node, entity_types, beat, leaving = cell.content
    return Member(member_id, address, node, tuple(entity_types), beat, leaving)

"""A state row's body: a state with the command ids that led to it. Pure; this is the stored
format: a msgpack array [1, manifest, payload, [[command_id, seq_nr, reply], …]]."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from thespian_dc.entity.entity_type import Encoded
from thespian_dc.entity.instance import Known
from thespian_dc.journal.api import StateRow
from thespian_dc.model.errors import CorruptPayloadError

FORMAT = 1


class Kept(NamedTuple):
    """A state as it was at seq_nr, encoded then; a row once the offset is known.

    known: the entity's own table, which may have moved on: ids above seq_nr belong to commands that
    may not be durable, and are left out when the row is made.
    """

    entity_id: str
    seq_nr: int
    state: Encoded
    known: Known | None

    def at(self, offset: int) -> StateRow:
        """The row; offset: of the record with this seq_nr."""
        known = self.known or {}
        ids = [(id_, at, reply) for id_, (at, reply) in known.items() if at <= self.seq_nr]
        body = msgpack.packb((FORMAT, *self.state, ids))
        return StateRow(self.entity_id, self.seq_nr, offset, body)


def unpack_row(row: StateRow) -> tuple[Encoded, Known]:
    """(encoded state, known ids) of a row; CorruptPayloadError where it is none."""
    try:
        fields: Any = msgpack.unpackb(row.body)
        format_, manifest, payload, ids = fields
        if format_ != FORMAT or type(manifest) is not str or type(payload) is not bytes:
            raise ValueError(f"format {format_!r} is not known")
        return Encoded(manifest, payload), {id_: (at, reply) for id_, at, reply in ids}
    except Exception as error:
        raise CorruptPayloadError(f"state row of {row.entity_id}", str(error)) from error

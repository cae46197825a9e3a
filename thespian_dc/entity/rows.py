"""From an entity's state to its state row, and back. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from thespian_dc.entity.entity_type import Encoded
from thespian_dc.entity.instance import Known
from thespian_dc.entity.notes import Notes, notes_from
from thespian_dc.journal.api import StateRow
from thespian_dc.model.errors import CorruptPayloadError
from thespian_dc.model.replication import STATE_NOTES, StateMeta, read_state
from thespian_dc.model.state_body import pack_state, unpack_state


class Kept(NamedTuple):
    """A state as it was at seq_nr, encoded then; a row once the offset is known.

    known: the entity's table of that time, to which more may have been added: ids above seq_nr
    belong to commands that may not be durable, and are left out when the row is made. replica:
    `state_meta`, where the entity is replicated.
    """

    entity_id: str
    seq_nr: int
    state: Encoded
    known: Known | None
    replica: list[Any] | None = None

    def at(self, offset: int) -> StateRow:
        """The row; offset: of the record with this seq_nr."""
        known = self.known or {}
        ids = [(id_, at, reply) for id_, (at, reply) in known.items() if at <= self.seq_nr]
        body = pack_state(*self.state, ids, self.replica)
        return StateRow(self.entity_id, self.seq_nr, offset, body)


class Row(NamedTuple):
    """content: what it contains of each replica; None where it was not replicated then. notes: of
    that entity."""

    state: Encoded
    known: Known
    content: StateMeta | None = None
    notes: Notes = ()


def unpack_row(row: StateRow) -> Row:
    """CodecError where it is none."""
    manifest, payload, known, replica = unpack_state(row.entity_id, row.body)
    contains = None if replica is None else read_state(replica)
    try:
        ids = {id_: (at, reply) for id_, at, reply in known}
        notes = notes_from(*(replica or ())[STATE_NOTES])
        return Row(Encoded(manifest, payload), ids, contains, notes)
    except Exception as error:
        raise CorruptPayloadError(f"state row of {row.entity_id}", str(error)) from error

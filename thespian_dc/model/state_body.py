"""The body of a stored state: a state with the command ids that led to it. Pure; this is the
stored format: a msgpack array [1, manifest, payload, [[command_id, seq_nr, reply], …]], or, of a
replicated entity, [2, manifest, payload, [[command_id, seq_nr, reply], …], state_meta]."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from thespian_dc.model.errors import CorruptPayloadError

PLAIN, REPLICATED = 1, 2


class StateBody(NamedTuple):
    """known: [command_id, seq_nr, reply] of the commands remembered with it. replica: what
    `model.replication.state_meta` made; None where the entity was not replicated then."""

    manifest: str
    payload: bytes
    known: list[Any]
    replica: list[Any] | None = None


def pack_state(
    manifest: str, payload: bytes, known: list[Any], replica: list[Any] | None = None
) -> bytes:
    """The stored bytes."""
    fields: tuple[Any, ...] = (PLAIN, manifest, payload, known)
    if replica is not None:
        fields = (REPLICATED, manifest, payload, known, replica)
    packed: bytes = msgpack.packb(fields)
    return packed


def unpack_state(entity_id: str, body: bytes) -> StateBody:
    """CorruptPayloadError where it is none."""
    try:
        fields: Any = msgpack.unpackb(body)
        format_, manifest, payload, known, *more = fields
        known_format = (format_, len(more)) in {(PLAIN, 0), (REPLICATED, 1)}
        if not known_format or type(manifest) is not str or type(payload) is not bytes:
            raise ValueError(f"format {format_!r} is not known")
        return StateBody(manifest, payload, list(known), *more)
    except Exception as error:
        raise CorruptPayloadError(f"state row of {entity_id}", str(error)) from error

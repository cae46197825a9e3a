"""The body of a stored state: a state with the command ids that led to it. Pure; this is the stored
format: a msgpack array [1, manifest, payload, [[command_id, seq_nr, reply], …]]."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from thespian_dc.model.errors import CorruptPayloadError

FORMAT = 1


class StateBody(NamedTuple):
    """known: [command_id, seq_nr, reply] of the commands remembered with it."""

    manifest: str
    payload: bytes
    known: list[Any]


def pack_state(manifest: str, payload: bytes, known: list[Any]) -> bytes:
    """The stored bytes."""
    packed: bytes = msgpack.packb((FORMAT, manifest, payload, known))
    return packed


def unpack_state(entity_id: str, body: bytes) -> StateBody:
    """CorruptPayloadError where it is none."""
    try:
        fields: Any = msgpack.unpackb(body)
        format_, manifest, payload, known = fields
        if format_ != FORMAT or type(manifest) is not str or type(payload) is not bytes:
            raise ValueError(f"format {format_!r} is not known")
        return StateBody(manifest, payload, list(known))
    except Exception as error:
        raise CorruptPayloadError(f"state row of {entity_id}", str(error)) from error

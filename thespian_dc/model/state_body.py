"""The body of a stored state: a state with the command ids that led to it. Pure; this is the
stored format: a msgpack array [1, manifest, payload, [[command_id, seq_nr, reply], …]], or, of a
replicated entity, [2, manifest, payload, [[command_id, seq_nr, reply], …], state_meta].

Of an entity that is written by pushes it is how far each of its sources is, and no state:
[3, [[origin, stream id, entity id there, seq_nr there], …]]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from thespian_dc.model.errors import CorruptPayloadError

PLAIN, REPLICATED, SOURCES = 1, 2, 3

SourceOf = tuple[str, str, str]
"""Whose events were pushed: (origin, stream id, entity id there)."""


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
        if fields[0] == SOURCES:
            raise ValueError("it says what was pushed, and is no state; read with History.FULL")
        format_, manifest, payload, known, *more = fields
        known_format = (format_, len(more)) in {(PLAIN, 0), (REPLICATED, 1)}
        if not known_format or type(manifest) is not str or type(payload) is not bytes:
            raise ValueError(f"format {format_!r} is not known")
        return StateBody(manifest, payload, list(known), *more)
    except Exception as error:
        raise CorruptPayloadError(f"state row of {entity_id}", str(error)) from error


def pack_sources(sources: Mapping[SourceOf, int]) -> bytes:
    """The stored bytes of the last seq_nr of each source."""
    packed: bytes = msgpack.packb([SOURCES, [[*one, sources[one]] for one in sorted(sources)]])
    return packed


def unpack_sources(entity_id: str, body: bytes) -> dict[SourceOf, int]:
    """CorruptPayloadError where it is something else."""
    try:
        format_, *fields = msgpack.unpackb(body)
        if format_ != SOURCES:
            raise ValueError(f"format {format_!r} does not say what was pushed")
        (rows,) = fields
        return {(origin, stream, source): seq_nr for origin, stream, source, seq_nr in rows}
    except Exception as error:
        raise CorruptPayloadError(f"state row of {entity_id}", str(error)) from error

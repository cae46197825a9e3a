"""Values in one cell each, with the CRC-32 of their key and their bytes. Pure.

Cassandra resolves two writes cell by cell. A value in one cell is one write's or the other's, never
a mixture; the CRC covers the key too, so that a cell that turns up under another key is not
believed.
"""

from __future__ import annotations

from typing import Any

import msgpack

from thespian_dc.journal.reading import damage_of
from thespian_dc.journal.seal import seal
from thespian_dc.model.ids import SliceKey

_CRC_BYTES = 4
_STEPS = 1 << 10


def write_time(offset: int) -> int:
    """The write time of what the log says at `offset`: higher offsets win, with room in between."""
    return offset * _STEPS


def offset_at_time(time: int) -> int:
    """The offset that a write time stands for."""
    return time // _STEPS


def wrap(what: str, key: SliceKey, value: Any, *rest: Any) -> bytes:
    """`value` (msgpack-able) as bytes that `unwrap` takes only under the same key."""
    packed: bytes = msgpack.packb((key.slice, value))
    return seal(what, key, rest, packed).to_bytes(_CRC_BYTES, "big") + packed


def unwrap(what: str, key: SliceKey, cell: bytes | None, *rest: Any) -> Any | None:
    """The value, or None where the bytes do not match their CRC. `None` is no value."""
    if cell is None or not _matches(what, key, cell, rest):
        return None
    return msgpack.unpackb(cell[_CRC_BYTES:], use_list=True)[1]


def unwrap_or_raise(
    what: str, key: SliceKey, cell: bytes | None, *rest: Any, entity_id: str = "", offset: int = 0
) -> Any:
    """The value; CorruptRecordError where the bytes do not match, in the slice they belong to."""
    value = unwrap(what, key, cell, *rest)
    if value is None:
        home = _home_of(what, key, cell, rest)
        reason = "does not match its seal" if home == key else f"stands under slice {key.slice}"
        raise damage_of(home, offset, entity_id, f"its {what} {reason}")
    return value


def _home_of(what: str, key: SliceKey, cell: bytes | None, rest: tuple[Any, ...]) -> SliceKey:
    """The slice that a cell under a foreign key belongs to; the key's own, where that is not it."""
    try:
        home = SliceKey(key.entity_type, msgpack.unpackb((cell or b"")[_CRC_BYTES:])[0])
        moved = cell is not None and _matches(what, home, cell, rest)
    except Exception:  # noqa: BLE001 - any damage may raise anything here
        return key
    return home if moved else key


def _matches(what: str, key: SliceKey, cell: bytes, rest: tuple[Any, ...]) -> bool:
    packed = cell[_CRC_BYTES:]
    crc = int.from_bytes(cell[:_CRC_BYTES], "big")
    return bool(packed) and seal(what, key, rest, packed) == crc

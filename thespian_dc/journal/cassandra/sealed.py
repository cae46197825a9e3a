"""Values in one cell each, with the CRC-32 of their key and their bytes. Pure.

Cassandra resolves two writes cell by cell. A value in one cell is one write's or the other's, never
a mixture; the CRC covers the key too, so that a cell that turns up under another key is not
believed.
"""

from __future__ import annotations

from typing import Any

import msgpack

from thespian_dc.journal.seal import seal

_CRC_BYTES = 4


def wrap(key: tuple[Any, ...], value: Any) -> bytes:
    """`value` (msgpack-able) as bytes that `unwrap` takes only under the same `key`."""
    packed: bytes = msgpack.packb(value)
    return seal(key, packed).to_bytes(_CRC_BYTES, "big") + packed


def unwrap(key: tuple[Any, ...], cell: bytes | None) -> Any | None:
    """The value, or None where the bytes do not match their CRC. `None` is no value."""
    if cell is None or len(cell) <= _CRC_BYTES:
        return None
    packed = cell[_CRC_BYTES:]
    if seal(key, packed) != int.from_bytes(cell[:_CRC_BYTES], "big"):
        return None
    return msgpack.unpackb(packed, use_list=True)

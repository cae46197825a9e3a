"""The checksum of small rows: heads, claims, index rows, marks, states, registry cells. Pure.

A commit has its own checksum (model/record.py). Every other stored row that has no second place to
compare it with carries `seal(...)` of all its columns, keys included, so a flipped bit or a row
under a foreign key is noticed.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgpack


def seal(*columns: Any) -> int:
    """CRC-32 of the columns as one msgpack array; text that is no UTF-8 is sealed as it stands."""
    return crc32(msgpack.packb(columns, unicode_errors="surrogateescape"))

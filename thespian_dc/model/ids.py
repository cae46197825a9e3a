"""Names of things: entity types, entity ids, slices. Pure.

slice_of is part of the stored format: the same id must fall into the same slice for ever, in every
language. It is CRC-32 (zlib, IEEE 802.3) of the id's UTF-8 bytes, modulo the slice count.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from zlib import crc32

from thespian_dc.model.errors import SettingsError

SLICES_DEFAULT = 16
SLICES_MAX = 1024
NAME_BYTES_MAX = 255
_SHORT = re.compile(r"[^|\x00-\x1f\x7f\ud800-\udfff]{1,63}")  # within the limit by any characters


class SliceKey(NamedTuple):
    """One slice log: an entity type and 0 <= slice < slices of that type."""

    entity_type: str
    slice: int

    def __str__(self) -> str:
        return f"{self.entity_type}/{self.slice}"


def slice_of(entity_id: str, slices: int) -> int:
    """The slice of `entity_id`, 0 <= result < slices; `slices` is a power of two."""
    return crc32(entity_id.encode()) & (slices - 1)


def check_name(what: str, name: str) -> str:
    """Return `name`, or raise SettingsError: 1..255 UTF-8 bytes, no '|', no control characters."""
    if type(name) is str and _SHORT.fullmatch(name):
        return name
    if not isinstance(name, str) or not name:
        raise SettingsError(f"{what} must be a non-empty string, not {name!r}")
    _check_bytes(what, name)
    if "|" in name or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise SettingsError(f"{what} {name!r} must not hold '|' or control characters")
    return name


def check_command_id(command_id: str) -> str:
    """Return `command_id`, or raise SettingsError: "" for none, or up to 255 UTF-8 bytes. It is
    stored with what the command persists."""
    if type(command_id) is not str:
        raise SettingsError(f"command_id must be a string, not {command_id!r}")
    if command_id:
        _check_bytes("command_id", command_id)
    return command_id


def _check_bytes(what: str, name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise SettingsError(f"{what} {name[:40]!r} is no text that UTF-8 can hold") from error
    if size > NAME_BYTES_MAX:
        raise SettingsError(f"{what} {name[:40]!r}… is longer than {NAME_BYTES_MAX} UTF-8 bytes")


def type_name(entity_type: type | str) -> str:
    """The name of an entity type, given as that or as its class. SettingsError where it has
    none."""
    named: Any = entity_type
    return check_name("entity_type", getattr(named, "entity_type", named))


def check_slices(slices: int) -> int:
    """Return `slices`, or raise SettingsError: a power of two, 1..1024."""
    if not isinstance(slices, int) or not 1 <= slices <= SLICES_MAX or slices & (slices - 1):
        raise SettingsError(f"slices must be a power of two from 1 to {SLICES_MAX}, not {slices!r}")
    return slices

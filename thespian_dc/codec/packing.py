"""The msgpack dialect: every storable value to bytes and back, with its own type, without looking
at type hints.

What msgpack lacks travels as an extension: leaves as text, containers as their packed list,
registered objects as tag and packed plain value. So bytes say by themselves what they are, and a
decoder needs no plan.

Laws: nothing is packed that this file cannot unpack. Hostile bytes end in an exception, never in a
crash or an allocation beyond a small multiple of their length. Safe from several threads.
msgpack.ExtType itself is no storable value: it is the dialect's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import local
from typing import Any, Final

from msgpack import ExtType, OutOfData, Packer, Unpacker, unpackb

from thespian_dc.codec.catalogue import Catalogue
from thespian_dc.codec.leaves import (
    CONTAINER_BY_TYPE,
    CONTAINERS,
    LEAF_BY_TYPE,
    LEAVES,
    OBJECT_CODE,
)
from thespian_dc.codec.shapes import PLAIN

NESTING_MAX: Final = 32
"""Extensions within extensions. Each level of unpacking takes some 50 KiB of the C stack."""

_TRUSTED_BYTES: Final = 2_048
"""Too short to claim much: 500 nested lists of 2,048 items, 8 MiB."""

_LEAF_BY_CODE: Final = {leaf.code: leaf for leaf in LEAVES}
_CONTAINER_BY_CODE: Final = {container.code: container for container in CONTAINERS}


class _Packers(local):
    """A packer per nesting depth and thread: one is busy while its hook runs."""

    def __init__(self, extend: Callable[[int, Any], ExtType]) -> None:
        self._extend = extend
        self._by_depth: list[Callable[[Any], bytes]] = []
        self.pack = self.at(0)

    def at(self, depth: int) -> Callable[[Any], bytes]:
        if depth == len(self._by_depth):  # each depth is first met from the one above it
            hook = partial(self._extend, depth + 1)
            self._by_depth.append(Packer(strict_types=True, default=hook).pack)
        return self._by_depth[depth]


class MsgpackDialect:
    """`packer` and `unpack`; both raise what msgpack or a value raises; callers name it."""

    __slots__ = ("_catalogue", "_packers", "unpack")

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._packers = _Packers(self._extend)
        self.unpack = self._unpacker(0)

    def packer(self, take: Callable[[Any], Any]) -> Callable[[Any], bytes]:
        """A function that packs `take(value)`; TypeError when that holds mutable buffers."""
        packers = self._packers

        def pack(value: Any) -> bytes:
            # The packer goes one level deeper than the unpacker follows; a list around the value
            # evens that.
            packed: bytes = packers.pack([take(value)])[1:]
            # The packer turns mutable buffers into bytes unasked. All three markers of bytes are
            # rare elsewhere, so the costly look happens for payloads with bytes and little else.
            if 0xC4 in packed or 0xC5 in packed or 0xC6 in packed:
                refuse_buffers(take(value), self._catalogue)
            return packed

        return pack

    def _extend(self, depth: int, value: Any) -> ExtType:
        """The packer's hook for what msgpack lacks. depth: of what the extension holds, from 1."""
        if depth > NESTING_MAX:
            raise ValueError(f"nested more than {NESTING_MAX} levels deep")
        cls = type(value)
        leaf = LEAF_BY_TYPE.get(cls)
        if leaf is not None:
            return ExtType(leaf.code, leaf.to_text(value).encode("ascii"))
        container = CONTAINER_BY_TYPE.get(cls)
        if container is not None:
            return ExtType(container.code, self._packers.at(depth)([list(value)])[1:])
        registered = self._catalogue.by_type.get(cls)
        if registered is None:
            raise TypeError(f"{cls.__qualname__} has no stored form")
        tag, shape = registered
        head = tag.encode("ascii")
        body = self._packers.at(depth)([shape.take(value)])[1:]
        return ExtType(OBJECT_CODE, bytes((len(head),)) + head + body)

    def _unpacker(self, depth: int) -> Callable[[bytes], Any]:
        """Unpack at one depth; its hook unpacks at the next, down to the last, which refuses."""
        hook = self._hook(depth)

        def unpack(packed: bytes) -> Any:
            if len(packed) > _TRUSTED_BYTES:
                _refuse_empty_claims(packed)
            # Keys may be of any storable type, not only text.
            return unpackb(packed, strict_map_key=False, ext_hook=hook)

        return unpack

    def _hook(self, depth: int) -> Callable[[int, bytes], Any]:
        if depth == NESTING_MAX:
            return _refuse_depth
        inner = self._unpacker(depth + 1)
        builders = self._catalogue.builders

        def build(code: int, body: bytes) -> Any:
            leaf = _LEAF_BY_CODE.get(code)
            if leaf is not None:
                return leaf.from_text(str(body, "ascii"))
            if code == OBJECT_CODE:
                tag, value = _divided(body)
                builder = builders.get(tag)
                if builder is None:
                    raise self._catalogue.unknown(tag)
                return builder(inner(value))
            container = _CONTAINER_BY_CODE.get(code)
            if container is None:
                raise ValueError(f"unknown msgpack extension {code}")
            return container.restore(inner(body))

        return build


def _refuse_empty_claims(packed: bytes) -> None:
    """ValueError unless every length stated in `packed` is filled.

    The unpacker makes room for a list's items when it reads their number, at each of 1,000 levels:
    1 MiB of bytes could take gigabytes. Skipping makes no room, and whatever it gets to the end of
    holds what it states.
    """
    reader = Unpacker(max_buffer_size=len(packed))
    reader.feed(packed)
    try:
        reader.skip()
    except OutOfData:
        raise ValueError("incomplete input") from None


def _divided(body: bytes) -> tuple[str, bytes]:
    """The tag and the packed value of an object's extension."""
    end = 1 + body[0] if body else 0
    if not 1 < end < len(body):
        raise ValueError("an object without its tag and value")
    return str(body[1:end], "ascii"), body[end:]


def _refuse_depth(code: int, _: bytes) -> Any:
    raise ValueError(f"extension {code} nested more than {NESTING_MAX} levels deep")


def refuse_buffers(value: Any, catalogue: Catalogue) -> None:
    """Raise TypeError if the packed `value` held a bytearray or a memoryview."""
    pending = [value]
    while pending:
        item = pending.pop()
        cls = type(item)
        if cls in {bytearray, memoryview}:
            raise TypeError(f"a {cls.__name__} would come back as bytes")
        if cls is dict:
            pending.extend(item.keys())
            pending.extend(item.values())
        elif cls is list or cls in CONTAINER_BY_TYPE:
            pending.extend(item)
        elif cls in catalogue.by_type and cls not in PLAIN:
            pending.append(catalogue.by_type[cls][1].take(item))

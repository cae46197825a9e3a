"""Damaged and hostile bytes end in a named error: no raw one, no crash, no hang, no full memory."""

from __future__ import annotations

import resource
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.codec_types import Everything, Item, Sku, Told, everything, registry
from thespian_dc.codec.api import Registered, Registry
from thespian_dc.codec.leaves import LEAVES
from thespian_dc.codec.packing import NESTING_MAX
from thespian_dc.model.errors import CodecError, CorruptPayloadError

REGISTRY = registry()
JSON = Registry([Registered(Everything, encoding="json"), Struct, Told])
MANIFESTS = ["Everything/1", "Everything/1+json", "Struct/1+protobuf"]


def _decodes_or_names(decode: Callable[[], Any]) -> None:
    with suppress(CodecError):  # anything else fails the test
        decode()


@given(payload=st.binary(max_size=64), manifest=st.sampled_from(MANIFESTS))
@settings(deadline=None, max_examples=1000)
def test_any_bytes_decode_or_raise_a_codec_error(payload: bytes, manifest: str) -> None:
    """A journal is read by recovery, consumers and tools; none may die of what it holds."""
    _decodes_or_names(lambda: JSON.decode(manifest, payload))
    _decodes_or_names(lambda: REGISTRY.decode_value(payload))


@given(event=everything, at=st.integers(min_value=0), bit=st.integers(0, 7), cut=st.booleans())
@settings(deadline=None)
def test_a_flipped_bit_or_a_cut_decodes_or_raises_a_codec_error(
    event: Everything, at: int, bit: int, cut: bool
) -> None:
    """Nearly right bytes reach further into the decoder than random ones."""
    for codec in (REGISTRY, JSON):
        manifest, payload = codec.encode(event)
        at %= len(payload)
        damaged = bytes([*payload[:at], payload[at] ^ (1 << bit), *payload[at + 1 :]])
        read = payload[:at] if cut else damaged
        _decodes_or_names(partial(codec.decode, manifest, read))


@settings(deadline=None, max_examples=1000)
@given(leaf=st.sampled_from([*LEAVES]), body=st.binary(max_size=30) | st.text(max_size=30))
def test_any_body_of_an_extension_decodes_or_raises_a_codec_error(leaf: Any, body: Any) -> None:
    """Each parser behind an extension is reached directly."""
    raw = body if isinstance(body, bytes) else body.encode()
    _decodes_or_names(
        lambda: REGISTRY.decode_value(b"\xc7" + bytes([len(raw) % 256, leaf.code]) + raw)
    )


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x01\x02",
        b"\xa1\xff",
        b"\x93\x01",
        b"\x81\x91\x01\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xd4\x7fx",
        b"\xd4\x10\xff",
        b"\xc7\x00\x10",
        b"\xd4\x0b\x01",
        b"\x91" * 100_000,
        b"\x81\xc0" * 100_000,
    ],
    ids=lambda payload: payload[:8].hex(),
)
def test_damage_is_told_as_corrupt_with_the_manifest(payload: bytes) -> None:
    """One class to catch, whatever the library beneath says."""
    with pytest.raises(CorruptPayloadError, match="a stored 'Item/1' cannot be read"):
        REGISTRY.decode("Item/1", payload)
    with pytest.raises(CorruptPayloadError):
        REGISTRY.decode_value(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"sku":"x","quantity":{"$int":"zz"}}',
        b'{"sku":"x","quantity":{"$what":1}}',
        b'{"sku":"x","quantity":{"$tuple":"ab"}}',
        b'{"sku":"x","quantity":{"$object":"Item/1"}}',
        b'{"sku":"x","quantity":{"$object":["Item/1"],"value":{}}}',
        b'{"sku":"x","quantity":{"$set":[[1]]}}',
        b'{"sku":"x","quantity":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
    ids=lambda payload: payload[:40].decode("latin-1"),
)
def test_damaged_json_is_told_as_corrupt_with_the_manifest(payload: bytes) -> None:
    """The same for text."""
    with pytest.raises(CorruptPayloadError, match=r"a stored 'Item/1(\+json)?' cannot be read"):
        REGISTRY.decode("Item/1+json", payload)


def _nested_extensions(levels: int, inner: bytes) -> bytes:
    for _ in range(levels):
        inner = b"\xc9" + struct.pack(">I", len(inner) + 1) + b"\x0b\x91" + inner
    return inner


def test_deep_nesting_is_refused_before_the_stack_ends() -> None:
    """Each extension within another unpacks on the C stack, of which a thread may have little."""
    wrong: list[Any] = []

    def work() -> None:
        for levels in (NESTING_MAX - 1, NESTING_MAX, 1_000, 20_000):
            try:
                REGISTRY.decode_value(_nested_extensions(levels, b"\x01"))
            except CorruptPayloadError:
                if levels < NESTING_MAX:
                    wrong.append(levels)
            else:
                if levels > NESTING_MAX:
                    wrong.append(levels)

    former = threading.stack_size(4 * 1024 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(former)
    assert not wrong


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_claimed_lengths_allocate_little() -> None:
    """1 MiB that claims 131,072 items at each of 1,000 levels, and so again in each extension."""
    size = 1 << 20
    claims = (b"\xdd" + struct.pack(">I", size // 8)) * 1_000
    payload = _nested_extensions(1, claims + bytes(size // 2))
    for _ in range(NESTING_MAX - 2):
        payload = _nested_extensions(1, claims + payload)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptPayloadError):
        REGISTRY.decode_value(payload)
    with pytest.raises(CorruptPayloadError):
        REGISTRY.decode("Item/1", claims + bytes(size // 2))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_fields_of_a_wrong_shape_are_corrupt_and_a_class_may_refuse_its_fields() -> None:
    """What the class itself raises is kept as the reason."""
    with pytest.raises(CorruptPayloadError, match="a list is stored, not the fields of Item"):
        REGISTRY.decode("Item/1", b"\x91\x01")
    with pytest.raises(CorruptPayloadError, match="Colour has no member 'BLUE'"):
        REGISTRY.decode("Colour/1", b"\xa4BLUE")
    with pytest.raises(CorruptPayloadError, match="a int is stored, not a dict"):
        REGISTRY.decode("dict/1", b"\x01")
    assert REGISTRY.decode(*REGISTRY.encode(Item(Sku("x"), 1))) == Item(Sku("x"), 1)
    assert REGISTRY.decode(*REGISTRY.encode(Told("x", 1))) == Told("x", 1)

"""Payloads without their classes: what is stored is shown, in one form for both dialects."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thespian_dc.codec.api import Registered, Registry, readable
from thespian_dc.codec.packing import NESTING_MAX


class Colour(Enum):
    RED = 1


@dataclass(frozen=True)
class Inner:
    value: Any


@dataclass(frozen=True)
class Item:
    value: Any


PACKED = Registry([Item, Inner, Colour])
TEXT = Registry([Registered(Item, encoding="json"), Inner, Colour])

leaves = (
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.text()
    | st.binary() | st.decimals() | st.uuids() | st.dates() | st.times() | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.just(UTC)) | st.just(Colour.RED)
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | inner.map(Inner)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=1)
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@example(value=[-(2**63) - 1, -(2**64) + 1, -(2**64), 2**64 - 1, 2**64])
@given(value=values)
def test_both_dialects_are_shown_alike(value: Any) -> None:
    """The json dialect is the definition; msgpack bytes must come out as it writes them."""
    packed = readable(*PACKED.encode(Item(value)))
    text = readable(*TEXT.encode(Item(value)))
    assert json.dumps(packed, allow_nan=False) == json.dumps(text, allow_nan=False)
    assert "$undecodable" not in packed


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\x00\xff", {"$bytes": "AP8="}),
        (Decimal("1.10"), {"$decimal": "1.10"}),
        (2**70, {"$int": "400000000000000000"}),
        (math.inf, {"$float": "inf"}),
        ((1, 2), {"$tuple": [1, 2]}),
        ({1: "a"}, {"$dict": [[1, "a"]]}),
        (UUID(int=1), {"$uuid": "00000000-0000-0000-0000-000000000001"}),
        (date(2026, 1, 2), {"$date": "2026-01-02"}),
        (time(3, 4), {"$time": "03:04:00"}),
        (timedelta(days=1), {"$timedelta": "1 0 0"}),
        (datetime(2026, 1, 2, tzinfo=UTC), {"$datetime": "2026-01-02T00:00:00+00:00"}),
        (Colour.RED, {"$object": "Colour/1", "value": "RED"}),
        (Inner(1), {"$object": "Inner/1", "value": {"value": 1}}),
    ],
)
def test_what_json_lacks_is_tagged(value: Any, shown: Any) -> None:
    """The forms that docs/cli.md names."""
    assert readable(*PACKED.encode(Item(value))) == {"value": shown}


def test_the_deepest_payload_is_shown() -> None:
    """What was accepted for storing can be looked at."""
    value: Any = 1
    for _ in range(NESTING_MAX):
        value = (value,)
    assert "$undecodable" not in readable(*PACKED.encode(Item(value)))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.sampled_from(["A/1", "A/1+json", "A/1+protobuf"]))
def test_any_bytes_are_shown_as_valid_json(payload: bytes, manifest: str) -> None:
    """A damaged or hostile payload must not end the listing it stands in."""
    json.loads(json.dumps(readable(manifest, payload), allow_nan=False))


@pytest.mark.parametrize(
    ("manifest", "payload"),
    [
        ("A/1", b"\xdd\xff\xff\xff\xff"),  # a list of 4 G items, none of them there
        ("A/1", b"\xdd\x00\xff\xff\xff" * 900),
        ("A/1", b"\x91" * 600 + b"\xc0"),
        ("A/1", b""),
        ("A/1+json", b"[" * 100_000),
        ("A/1+json", b"[" * 500 + b"]" * 500),
        ("A/1+json", b"1" * 10_000),
        ("A/1+json", b"\xff"),
    ],
)
def test_hostile_bytes_are_shown_as_what_they_are(manifest: str, payload: bytes) -> None:
    """Neither memory nor stack is spent on lengths that nothing stands behind."""
    assert readable(manifest, payload)["$undecodable"] is not None


def test_a_deletion_has_no_payload() -> None:
    """Its manifest says it all."""
    assert readable("$deleted", b"") is None
    assert readable("$value", PACKED.encode_value({"n": 1})) == {"n": 1}

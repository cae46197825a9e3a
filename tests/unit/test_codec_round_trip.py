"""What is stored comes back: equal, and of the same types all the way down."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.codec_types import (
    Colour,
    Everything,
    Item,
    Mutable,
    Point,
    Sku,
    Told,
    Tree,
    everything,
    registry,
    typed,
    values,
)
from thespian_dc.codec.api import Registered, Registry
from thespian_dc.codec.packing import NESTING_MAX
from thespian_dc.model.errors import RegistrationError, UnencodableError

REGISTRY = registry()
AS_JSON = Registry([Registered(Everything, encoding="json"), Told])


@given(event=everything)
@settings(deadline=None)
def test_msgpack_gives_back_every_field_with_its_type(event: Everything) -> None:
    """Replay must see what the command handler saw, or the state differs after a restart."""
    manifest, payload = REGISTRY.encode(event)
    assert manifest == "Everything/1"
    assert typed(REGISTRY.decode(manifest, payload)) == typed(event)


@given(event=everything)
@settings(deadline=None)
def test_json_gives_back_every_field_with_its_type(event: Everything) -> None:
    """The readable encoding is no less exact than the compact one."""
    manifest, payload = AS_JSON.encode(event)
    assert manifest == "Everything/1+json"
    assert typed(AS_JSON.decode(manifest, payload)) == typed(event)


@given(value=values())
@settings(deadline=None)
def test_untyped_values_come_back_as_they_were(value: Any) -> None:
    """States and replies are plain values with registered objects anywhere within them."""
    assert typed(REGISTRY.decode_value(REGISTRY.encode_value(value))) == typed(value)


@given(value=st.recursive(st.binary() | st.builds(bytearray, st.binary()), st.lists))
def test_a_mutable_buffer_is_refused_however_deep_and_bytes_never_are(value: Any) -> None:
    """The packer alone would make bytes of a bytearray; an in-place state would break at replay."""
    if "bytearray" in repr(value):
        with pytest.raises(UnencodableError, match="bytearray cannot be stored"):
            REGISTRY.encode_value({"state": value})
    else:
        assert REGISTRY.decode_value(REGISTRY.encode_value(value)) == value


def test_json_is_readable() -> None:
    """People choose json to read their journal."""
    assert REGISTRY.encode(Told("a", {"b": (1, Colour.RED)}))[1].decode() == (
        '{"text":"a","inner":{"b":{"$tuple":[1,{"$object":"Colour/1","value":"RED"}]}}}'
    )


def test_json_is_json_whatever_the_numbers() -> None:
    """Other programs read it, and NaN, Infinity and 100-digit integers are not for all of them."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    payload = REGISTRY.encode(Told("x", [float("inf"), float("-inf"), 10**100, 0.1]))[1]
    assert json.loads(payload, parse_constant=refuse)["inner"] == [
        {"$float": "inf"},
        {"$float": "-inf"},
        {"$int": format(10**100, "x")},
        0.1,
    ]
    assert REGISTRY.decode("Told/1+json", payload).inner == [
        float("inf"),
        float("-inf"),
        10**100,
        0.1,
    ]


def test_plain_values_can_be_payloads_when_their_type_is_registered() -> None:
    """A state may be a plain dict."""
    manifest, payload = REGISTRY.encode({"apple": 2, 7: b"x"})
    assert manifest == "dict/1"
    assert REGISTRY.decode(manifest, payload) == {"apple": 2, 7: b"x"}


def test_fields_set_by_post_init_come_back_as_they_were_stored() -> None:
    """A field with init=False may have moved on since the object was made."""
    cart = Mutable({"apple": 2})
    cart.total = 9
    assert REGISTRY.decode(*REGISTRY.encode(cart)) == cart


def test_a_class_with_its_own_init_is_restored_without_calling_it() -> None:
    """Its arguments are not its fields, so there is nothing to call it with."""

    @dataclass
    class Parsed:
        whole: str
        head: str = "none"
        seen: list[int] = field(default_factory=list)

        def __init__(self, line: str) -> None:
            self.whole, self.head, self.seen = line, line[:1], [len(line)]

    own = Registry([Parsed])
    assert own.decode(*own.encode(Parsed("abc"))) == Parsed("abc")
    stored = Registry([dict]).encode({"whole": "x"})[1]
    assert own.decode("Parsed/1", stored).head == "none"


def test_a_protobuf_message_round_trips_alone_and_within_others() -> None:
    """Teams with protobuf schemas keep them."""
    protos = Registry([Timestamp, Struct, Told])
    message = Timestamp(seconds=5, nanos=7)
    manifest, payload = protos.encode(message)
    assert (manifest, payload) == ("Timestamp/1+protobuf", message.SerializeToString())
    assert protos.decode(manifest, payload) == message
    assert protos.decode_value(protos.encode_value([message])) == [message]
    assert protos.decode(*protos.encode(Told("x", message))) == Told("x", message)


def test_a_zone_keeps_its_offset_and_its_reading() -> None:
    """The rules of a zone are not data; the wall time and the instant are."""
    summer = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    back = REGISTRY.decode_value(REGISTRY.encode_value(summer))
    assert typed(back) == typed(summer)
    assert back.astimezone(UTC) == summer.astimezone(UTC)


def test_nesting_is_accepted_exactly_as_far_as_it_can_be_read_back() -> None:
    """Nothing may be written that recovery then cannot read."""
    for levels in range(NESTING_MAX - 3, NESTING_MAX + 4):
        nest: Any = 1
        for _ in range(levels):
            nest = (nest,)
        assert _refused_or_equal(nest) == (levels <= NESTING_MAX)
    for levels in range(NESTING_MAX // 2 - 3, NESTING_MAX // 2 + 4):
        tree = Tree("leaf")
        for _ in range(levels):
            tree = Tree("node", (tree,))  # two levels: the tuple, the object
        _refused_or_equal(tree)
    for levels in range(1015, 1030):
        nested: list[Any] = []
        for _ in range(levels):
            nested = [nested]
        _refused_or_equal(nested)
        _refused_or_equal((nested,))
        _refused_or_equal(Item("x", nested))  # type: ignore[arg-type]


def _refused_or_equal(value: Any) -> bool:
    """Was it accepted?"""
    try:
        payload = REGISTRY.encode_value(value)
    except UnencodableError:
        return False
    # The comparison recurses level by level; the interpreter's limit is beside the point.
    back, limit = REGISTRY.decode_value(payload), sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        assert back == value
    finally:
        sys.setrecursionlimit(limit)
    return True


def test_one_registry_serves_threads_at_once() -> None:
    """A packer's buffer is half full while a hook runs; another thread must not write into it."""
    wrong: list[Any] = []

    def work(number: int) -> None:
        value = {
            "n": number,
            "inner": (number, {Point(number, 1.5)}, [Item(Sku(str(number)), number)]),
        }
        for _ in range(300):
            back = REGISTRY.decode_value(REGISTRY.encode_value(value))
            wrong.extend([back] if back != value else [])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_what_is_no_field_of_an_object_is_refused_at_registration() -> None:
    """An InitVar and the content of a base container would be lost without a word."""

    @dataclass
    class Given:
        x: int
        y: InitVar[int]

    @dataclass
    class Both(dict[str, int]):
        x: int = 0

    with pytest.raises(RegistrationError, match=r"Given\.y cannot be registered: an InitVar"):
        Registry([Given])
    with pytest.raises(RegistrationError, match="Both cannot be registered: it is also a dict"):
        Registry([Both])


def test_bare_closures_do_what_the_registry_does() -> None:
    """Hot loops look up once."""
    item = Item(Sku("apple"), 2)
    assert REGISTRY.encoder(Item)(item) == REGISTRY.encode(item)[1]
    assert REGISTRY.decoder(REGISTRY.manifest(Item))(REGISTRY.encode(item)[1]) == item

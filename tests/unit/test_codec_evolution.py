"""Stored bytes outlive the code that wrote them."""

from __future__ import annotations

import json
from dataclasses import dataclass, make_dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from thespian_dc.codec.api import Registered, Registry, Upcaster
from thespian_dc.model.errors import CorruptPayloadError, UnknownManifestError


@dataclass(frozen=True)
class Added:
    sku: str
    quantity: int = 1
    note: str = ""


@dataclass(frozen=True)
class Held:
    inner: Any


class Pair(NamedTuple):
    a: int
    b: int = 7


def _written_by(name: str, fields: dict[str, Any], *, version: int = 1, json: bool = False) -> Any:
    """(manifest, payload) of another release's class of that name."""
    cls = make_dataclass(name, list(fields))
    declared = Registered(cls, version=version, oldest=version, encoding="json" if json else None)
    return Registry([declared]).encode(cls(**fields))


@pytest.mark.parametrize("as_json", [False, True], ids=["msgpack", "json"])
def test_a_field_added_later_takes_its_default(as_json: bool) -> None:
    """The commonest change of all needs no upcaster."""
    old = _written_by("Added", {"sku": "x"}, json=as_json)
    assert Registry([Added]).decode(*old) == Added("x", 1, "")
    assert Registry([Pair]).decode(*_written_by("Pair", {"a": 1})) == Pair(1, 7)


@pytest.mark.parametrize("as_json", [False, True], ids=["msgpack", "json"])
def test_a_newer_writers_field_does_not_stop_an_older_reader(as_json: bool) -> None:
    """Writers are upgraded one by one, and consumers in other teams later still."""
    new = _written_by("Added", {"sku": "x", "quantity": 2, "gift": True}, json=as_json)
    assert Registry([Added]).decode(*new) == Added("x", 2)
    assert Registry([Pair]).decode(*_written_by("Pair", {"a": 1, "c": 3})) == Pair(1)


def test_a_missing_field_without_default_is_named() -> None:
    """The message is the remedy: default or upcaster."""
    with pytest.raises(CorruptPayloadError, match=r"Added needs sku, .*Upcaster"):
        Registry([Added]).decode(*_written_by("Added", {"quantity": 2}))


def _to_2(fields: dict[str, Any]) -> dict[str, Any]:
    fields["sku"] = fields.pop("name")
    fields["quantity"] += 1
    return fields


def _to_4(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "note": f"{type(fields['at']).__name__}", "quantity": fields["quantity"] * 10}


UPCASTERS = [
    Upcaster("Added", 1, 2, _to_2),
    Upcaster("Added", 3, 4, _to_4),
    Upcaster("Added", 2, 4, _to_4),
]


@pytest.mark.parametrize("as_json", [False, True], ids=["msgpack", "json"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_upcasters_are_chained_to_the_current_version(version: int, as_json: bool) -> None:
    """In order: (2 + 1) * 10, not 2 * 10 + 1. Steps see decoded values and may skip versions."""
    current = Registry([Registered(Added, version=4)], upcasters=UPCASTERS)
    name = "name" if version == 1 else "sku"
    fields = {name: "x", "quantity": 2, "at": datetime(2024, 1, 1, tzinfo=UTC)}
    old = _written_by("Added", fields, version=version, json=as_json)
    assert current.decode(*old) == Added("x", 30 if version == 1 else 20, "datetime")
    assert current.manifest(Added) == "Added/4"


def test_objects_within_others_are_brought_up_too() -> None:
    """A nested object has its own version; the outer one's upcasters need not know."""
    old_added = make_dataclass("Added", ["name", "quantity", "at"])
    old = Registry([Held, old_added])
    payload = old.encode_value([Held({1: old_added("x", 2, "now")})])
    current = Registry([Held, Registered(Added, version=4)], upcasters=UPCASTERS)
    assert current.decode_value(payload) == [Held({1: Added("x", 30, "str")})]


def test_versions_below_oldest_need_no_way_up_and_are_named_when_met() -> None:
    """Trimmed journals let old upcasters go; a mistake about that is told as such."""
    current = Registry(
        [Registered(Added, version=4, oldest=3)], upcasters=[Upcaster("Added", 3, 4, _to_4)]
    )
    with pytest.raises(UnknownManifestError, match="lower `oldest` of Added"):
        current.decode("Added/2", b"\x80")


def test_a_renamed_class_reads_its_former_names() -> None:
    """Renaming a class in code must not orphan its records."""
    former = _written_by("ItemAdded", {"sku": "x"})
    renamed = Registry([Registered(Added, aliases=("ItemAdded",)), Held])
    assert renamed.decode(*former) == Added("x")
    assert renamed.encode(Added("x"))[0] == "Added/1"
    held = Registry([Held, make_dataclass("ItemAdded", ["sku"])])
    payload = held.encode_value(Held(held.types[-1]("x")))
    assert renamed.decode_value(payload) == Held(Added("x"))


def test_a_change_of_encoding_keeps_old_records_readable() -> None:
    """The manifest of each record says how that one was written."""
    as_json = Registry([Registered(Added, encoding="json")])
    as_msgpack = Registry([Added])
    assert as_msgpack.decode(*as_json.encode(Added("x"))) == Added("x")
    assert as_json.decode(*as_msgpack.encode(Added("x"))) == Added("x")


@pytest.mark.parametrize(
    ("manifest", "remedy"),
    [
        ("Removed/1", "register the class"),
        ("Added/9", "newer code, this process knows Added up to 1; upgrade"),
        ("Added/1+protobuf", "check the encoding"),
        ("Added", "not of the form"),
        ("", "register the class"),
    ],
)
def test_an_unknown_manifest_says_what_is_known_and_what_to_do(manifest: str, remedy: str) -> None:
    """Recovery stops at such an event; the operator reads only this message."""
    known = Registry([Added, Held])
    with pytest.raises(UnknownManifestError) as caught:
        known.decode(manifest, b"\x80")
    assert remedy in str(caught.value)
    assert "Known: Added/1, Held/1" in str(caught.value)
    with pytest.raises(UnknownManifestError):
        known.decoder(manifest)


def test_an_unknown_type_within_a_value_is_an_unknown_manifest() -> None:
    """Not corrupt: the bytes are fine, the reader lacks the class."""
    payload = Registry([Added, Held]).encode_value([Held(Added("x"))])
    with pytest.raises(UnknownManifestError, match="Added/1"):
        Registry([Held]).decode_value(payload)
    text = Registry([Added, Registered(Held, encoding="json")]).encode(Held(Added("x")))
    with pytest.raises(UnknownManifestError, match="Added/1"):
        Registry([Held]).decode(*text)


@pytest.mark.parametrize(
    ("fn", "match"),
    [
        (lambda fields: fields["gone"], "its Upcaster 1 -> 2 raised KeyError: 'gone'"),
        (lambda _: None, "its Upcaster 1 -> 2 returned a NoneType"),
        (lambda _: {"quantity": 1}, "Added needs sku"),
    ],
)
def test_a_failing_upcaster_is_named(fn: Any, match: str) -> None:
    """It is code that runs years after it was written."""
    current = Registry([Registered(Added, version=2)], upcasters=[Upcaster("Added", 1, 2, fn)])
    with pytest.raises(CorruptPayloadError, match=match):
        current.decode(*_written_by("Added", {"sku": "x"}))


def test_the_stored_forms_do_not_change() -> None:
    """Bytes written by this release: a later one must read them, and must not write others."""
    kept = Registry([Held, Registered(Added, encoding="json")])
    value = Held([1, 2**70, (b"x", None), Added("s"), datetime(2024, 1, 1, tzinfo=UTC)])
    payload = kept.encode(value)[1]
    assert payload.hex() == (
        "81a5696e6e6572"
        "95" "01" "c71201" + b"400000000000000000".hex() + "c7050b" "92c40178c0"
        "c71f" "10" "07" + b"Added/1".hex() + "83"
        "a3736b75a173" "a87175616e7469747901" "a46e6f7465a0"
        "c71902" + b"2024-01-01T00:00:00+00:00".hex()
    )  # fmt: skip
    assert kept.decode("Held/1", payload) == value
    assert json.loads(kept.encode(Added("s"))[1]) == {"sku": "s", "quantity": 1, "note": ""}

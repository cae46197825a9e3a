"""The door of the codec room: a registry of payload types turns objects into bytes and back.

    registry = Registry([ItemAdded, Registered(CheckedOut, version=2)], upcasters=[...])
    manifest, payload = registry.encode(ItemAdded("apple", 2))       # "ItemAdded/1", msgpack
    registry.decode(manifest, payload) == ItemAdded("apple", 2)
    registry.decode_value(registry.encode_value({"apple": 2}))   # untyped: states, replies
    readable("ItemAdded/1", payload) == {"sku": "apple", "quantity": 2}   # without the class: tools

Values that can be stored, in fields and inside containers, each restored with its own type:
None, bool, int (any size), float, str, bytes, list, dict (any storable, hashable key), tuple, set,
frozenset, datetime, date, time, timedelta, Decimal, UUID, members of enums, dataclasses, named
tuples, protobuf messages, classes with `to_stored()` and `from_stored(value)`. An aware datetime
keeps its wall time and its offset, not the rules of its zone: store the zone's name in a field of
its own where it matters.
Anything else (bytearray, subclasses of the above such as defaultdict, floats in numpy's types, …)
is refused: at registration where a type hint shows it, otherwise by `encode`, naming the field.
Type hints are not enforced on values: what a field holds is what comes back.

Reading what other versions wrote: a field that the stored bytes lack takes its default; a field
that the class does not have (a newer writer's) is dropped; everything else is an Upcaster's work.
"""

from __future__ import annotations

from thespian_dc.codec.declare import Registered, Upcaster
from thespian_dc.codec.readable import readable, readable_value
from thespian_dc.codec.registry import Registry

__all__ = ["Registered", "Registry", "Upcaster", "readable", "readable_value"]

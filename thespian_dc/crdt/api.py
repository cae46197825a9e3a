"""The door of the replicated data types: immutable values whose changes are operations.

    cart: OrSet[str] = OrSet()
    operation = cart.add("apple", replica="eu")   # at the origin, in a command handler: persist it
    cart = cart.apply(operation)                  # at every replica, in apply_event

All of an entity's operations reach each replica once and in causal order; then values that have
applied the same ones are equal. See docs/crdt.md for which type to choose, and its costs.
CRDT_TYPES: every type of this room that can stand in an event or a state, for `events`.
"""

from __future__ import annotations

from typing import Final

from thespian_dc.crdt.lww import LwwRegister, LwwTime
from thespian_dc.crdt.lww_map import LwwMap
from thespian_dc.crdt.mv_register import MvRegister
from thespian_dc.crdt.operations import (
    AllCleared,
    Counted,
    KeysRemoved,
    LwwAssigned,
    MapPut,
    MapUpdated,
    MvAssigned,
    SetAdded,
)
from thespian_dc.crdt.or_map import OrMap
from thespian_dc.crdt.or_set import OrSet
from thespian_dc.crdt.pn_counter import PnCounter

__all__ = [
    "CRDT_TYPES", "AllCleared", "Counted", "KeysRemoved", "LwwAssigned", "LwwMap", "LwwRegister",
    "LwwTime", "MapPut", "MapUpdated", "MvAssigned", "MvRegister", "OrMap", "OrSet", "PnCounter",
    "SetAdded",
]  # fmt: skip

CRDT_TYPES: Final[tuple[type, ...]] = (
    PnCounter, LwwRegister, MvRegister, OrSet, LwwMap, OrMap,
    Counted, LwwAssigned, MvAssigned, SetAdded, MapPut, MapUpdated, KeysRemoved, AllCleared,
)  # fmt: skip

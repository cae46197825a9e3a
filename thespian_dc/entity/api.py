"""The door to entities: what users write, and what clients and nodes use.

Names are imported when they are first used: a client needs the router, not a host and its journal.
Actor shells (`*actor.py`) are named by nodes, which start them.
"""

# ruff: noqa: PLC0414  for type checkers, a name imported under itself is one of the module

from __future__ import annotations

from typing import TYPE_CHECKING

from thespian_dc.model.lazy import lazily

if TYPE_CHECKING:
    from thespian_dc.entity.actor import DurableStateActor as DurableStateActor
    from thespian_dc.entity.actor import EventSourcedActor as EventSourcedActor
    from thespian_dc.entity.alone import Begin as Begin
    from thespian_dc.entity.entity_type import EntityType as EntityType
    from thespian_dc.entity.handing import FrameSender as FrameSender
    from thespian_dc.entity.protocol import Absorbed as Absorbed
    from thespian_dc.entity.protocol import Command as Command
    from thespian_dc.entity.protocol import CommandFrame as CommandFrame
    from thespian_dc.entity.protocol import EntityRef as EntityRef
    from thespian_dc.entity.protocol import RemoteEvent as RemoteEvent
    from thespian_dc.entity.protocol import Replicated as Replicated
    from thespian_dc.entity.protocol import ReplicatedState as ReplicatedState
    from thespian_dc.entity.protocol import ReplyAddress as ReplyAddress
    from thespian_dc.entity.protocol import ReplyFrame as ReplyFrame
    from thespian_dc.entity.protocol import Status as Status
    from thespian_dc.entity.protocol import ToEntity as ToEntity
    from thespian_dc.entity.replicated import (
        ReplicatedEventSourcedActor as ReplicatedEventSourcedActor,
    )
    from thespian_dc.entity.role_registry import FAILED_MAX as FAILED_MAX
    from thespian_dc.entity.role_registry import WHY_MAX as WHY_MAX
    from thespian_dc.entity.role_registry import Failed as Failed
    from thespian_dc.entity.role_registry import Listing as Listing
    from thespian_dc.entity.role_registry import Seen as Seen
    from thespian_dc.entity.role_registry import add_listed as add_listed
    from thespian_dc.entity.role_registry import begin_roles as begin_roles
    from thespian_dc.entity.role_registry import change_roles as change_roles
    from thespian_dc.entity.role_registry import diverged_at as diverged_at
    from thespian_dc.entity.role_registry import known_roles as known_roles
    from thespian_dc.entity.role_registry import listing as listing
    from thespian_dc.entity.role_registry import note_checked as note_checked
    from thespian_dc.entity.role_registry import note_diverged as note_diverged
    from thespian_dc.entity.role_registry import note_seen as note_seen
    from thespian_dc.entity.role_registry import replicated_types as replicated_types
    from thespian_dc.entity.role_registry import seen_by as seen_by
    from thespian_dc.entity.role_registry import store_failed as store_failed
    from thespian_dc.entity.role_registry import stored_failed as stored_failed
    from thespian_dc.entity.role_registry import stored_roles as stored_roles
    from thespian_dc.entity.role_registry import want_states as want_states
    from thespian_dc.entity.router import Router as Router
    from thespian_dc.entity.router import command_id_of as command_id_of
    from thespian_dc.entity.router_core import Deliver as Deliver
    from thespian_dc.entity.router_core import Outgoing as Outgoing

_WHERE = {
    "Absorbed": "entity.protocol",
    "Begin": "entity.alone",
    "Command": "entity.protocol",
    "CommandFrame": "entity.protocol",
    "Deliver": "entity.router_core",
    "DurableStateActor": "entity.actor",
    "EntityRef": "entity.protocol",
    "EntityType": "entity.entity_type",
    "EventSourcedActor": "entity.actor",
    "FAILED_MAX": "entity.role_registry",
    "Failed": "entity.role_registry",
    "FrameSender": "entity.handing",
    "Listing": "entity.role_registry",
    "Outgoing": "entity.router_core",
    "RemoteEvent": "entity.protocol",
    "Replicated": "entity.protocol",
    "ReplicatedEventSourcedActor": "entity.replicated",
    "ReplicatedState": "entity.protocol",
    "ReplyAddress": "entity.protocol",
    "ReplyFrame": "entity.protocol",
    "Router": "entity.router",
    "Seen": "entity.role_registry",
    "Status": "entity.protocol",
    "ToEntity": "entity.protocol",
    "WHY_MAX": "entity.role_registry",
    "add_listed": "entity.role_registry",
    "begin_roles": "entity.role_registry",
    "change_roles": "entity.role_registry",
    "command_id_of": "entity.router",
    "diverged_at": "entity.role_registry",
    "known_roles": "entity.role_registry",
    "listing": "entity.role_registry",
    "note_checked": "entity.role_registry",
    "note_diverged": "entity.role_registry",
    "note_seen": "entity.role_registry",
    "replicated_types": "entity.role_registry",
    "seen_by": "entity.role_registry",
    "store_failed": "entity.role_registry",
    "stored_failed": "entity.role_registry",
    "stored_roles": "entity.role_registry",
    "want_states": "entity.role_registry",
}

__all__ = [*_WHERE]  # noqa: PLE0604  names are strings
__getattr__ = lazily(__name__, _WHERE)

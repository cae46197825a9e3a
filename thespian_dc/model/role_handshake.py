"""What a replica knows of its group, as it is told at meetings. Pure.

Told and heard are the same: what one side puts into its messages the other side reads out of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from thespian_dc.model.replication_handshake import (
    Known,
    OriginFacts,
    ReplicaStart,
    ReplicaStarted,
    Retiring,
    RetiringStage,
)
from thespian_dc.model.roles import Origin, Roles, Stage, met


class ToldWhileOpen(NamedTuple):
    """The fields of Known that are not positions."""

    epoch: int
    active: str
    retiring: tuple[Retiring, ...]
    retired: tuple[str, ...]


def told_while_open(roles: Roles) -> ToldWhileOpen:
    """What a receiver repeats while a stream is open, always whole."""
    retiring = tuple(
        Retiring(replica, tuple(RetiringStage(at, *stage) for at, stage in sorted(rows.items())))
        for replica, rows in sorted(roles.retiring.items())
    )
    epoch, active = (roles.epoch, roles.active) if roles.one_active else (0, "")
    return ToldWhileOpen(epoch, active, retiring, tuple(sorted(roles.retired)))


def told(roles: Roles, entity_type: str, group: Collection[str]) -> Mapping[str, Any]:
    """The fields that ReplicaStart and ReplicaStarted share. group: all ids of the settings."""
    origins = tuple(OriginFacts(id_, *origin) for id_, origin in sorted(roles.origins.items()))
    return {
        "replica_id": roles.replica_id,
        "entity_type": entity_type,
        "replicas": tuple(sorted({*group, roles.replica_id} - roles.retired)),
        "generation": roles.generation,
        "origins": origins,
        **told_while_open(roles)._asdict(),
    }


def roles_of(said: ReplicaStart | ReplicaStarted) -> Roles:
    """What the one who said it knows; for `check_peer`, `denies` and `met`."""
    return Roles(
        said.replica_id,
        said.generation,
        False,
        said.epoch > 0,
        said.epoch,
        said.active,
        False,
        _retiring(said.retiring),
        frozenset(said.retired),
        {one.replica: Origin(*one[1:]) for one in said.origins if one.journal_id and one.slices},
    )


def heard(own: Roles, said: ReplicaStart | ReplicaStarted | Known, group: Collection[str]) -> Roles:
    """What is known after hearing it. `check_peer` has let its speaker in. group: all ids of the
    own settings."""
    if isinstance(said, Known):
        said = ReplicaStart("", "", (), said.epoch, said.active, 0, (), (), *said[3:])
    return met(own, believed(own, roles_of(said), group))


def believed(own: Roles, peer: Roles, group: Collection[str]) -> Roles:
    """The part of what a peer knows that counts by its word alone.

    That a replica leaves does where its retirement was wished here too, or where the settings do
    not name it (any more); so no peer shuts out a replica that the people here count on. How far
    this replica is with it nobody else knows, nor which journal one writes that was met.
    """
    me = own.replica_id
    kept = {*group, me} - own.fenced
    retiring = {
        replica: {at: stage for at, stage in stages.items() if at != me}
        for replica, stages in peer.retiring.items()
        if replica not in kept
    }
    origins = {
        replica: origin
        for replica, origin in peer.origins.items()
        if replica == peer.replica_id
        or replica not in own.origins
        or origin.generation > own.origins[replica].generation
    }
    return replace(peer, retiring=retiring, retired=peer.retired - kept, origins=origins)


def leaving(said: ReplicaStarted) -> frozenset[str]:
    """Who leaves, or has left, by the word of who said it."""
    return frozenset(said.retired).union(one.replica for one in said.retiring)


def _retiring(said: Collection[Retiring]) -> dict[str, dict[str, Stage]]:
    return {
        one.replica: {s.at: Stage(s.generation, s.round, s.heads) for s in one.stages}
        for one in said
    }

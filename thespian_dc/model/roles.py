"""Who is active in a group of replicas, who has left it, and which journal each of them writes:
what one replica knows of it, and how it changes. Pure: (before, input) -> after.

The stored entry of a replica's journal (entity/role_registry.py) and what replicas tell each other
whenever they meet are the same `Roles`.

Laws (tests/unit/test_roles.py): epochs and generations only grow; meeting is commutative,
associative and idempotent, so that replicas agree whatever the order in which they meet; who was
retired never comes back; a lower epoch never demotes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from thespian_dc.model.replication import Role
from thespian_dc.model.replication_handshake import REPLICAS_MAX
from thespian_dc.model.role_errors import (
    AllActiveError,
    AlreadyRetiredError,
    GroupModeDiffersError,
    InvalidRolesError,
    NotActiveError,
    OriginChangedError,
    OwnReplicaIdError,
    ReplicaIdChangedError,
    RetiredReplicaError,
    RetireSelfError,
    TooManyReplicasError,
    UnknownReplicaError,
)


class Origin(NamedTuple):
    """The journal that a replica writes. generation: how often it was restored from an older
    copy."""

    journal_id: str
    slices: int
    generation: int = 0


class Stage(NamedTuple):
    """How far a replica is with the retirement of another one: see `retirement.py`.

    round: so many times it has read all it can from its peers since it takes nothing from the
    retiring one any more. heads: of its own log, by slice, when it had done so.
    """

    generation: int
    round: int
    heads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Roles:
    """What a replica knows of its group.

    epoch: of being active, raised by each promotion; 0: all replicas are active. active: the one
    that takes commands; "" with an epoch above 0: nobody does. recovering: this replica fetches
    what its journal lost. retiring: by replica, how far the others are with it. origins: by
    replica, the own one among them. wish: the number of the last wish here that raised the epoch;
    one raises it once, whoever performs it again.
    """

    replica_id: str
    generation: int = 0
    recovering: bool = False
    one_active: bool = False
    epoch: int = 0
    active: str = ""
    promoting: bool = False
    retiring: Mapping[str, Mapping[str, Stage]] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()
    origins: Mapping[str, Origin] = field(default_factory=dict)
    wish: int = 0

    @property
    def fenced(self) -> frozenset[str]:
        """Replicas from which nothing is taken directly any more."""
        return self.retired | frozenset(self.retiring)

    @property
    def is_active(self) -> bool:
        """This replica takes commands, as far as epochs go."""
        mine = self.active == self.replica_id and not self.promoting
        return mine or not self.one_active

    @property
    def closed(self) -> str:
        """Why this replica takes no commands at all: see Role.closed."""
        if self.replica_id in self.retired:
            return "retired"
        if self.replica_id in self.retiring:
            return "retiring"
        return "recovering" if self.recovering else ""

    def role(self, entity_type: str) -> Role:
        """What hosts know of it."""
        if not self.one_active:
            return Role(entity_type, retired=self.retired, closed=self.closed)
        active = "" if self.promoting else self.active
        return Role(entity_type, self.epoch, active, self.retired, self.closed)


# --- own steps ---


def begun(
    before: Roles | None, entity_type: str, replica_id: str, own: Origin, active: str
) -> Roles:
    """A node starts with these settings; before: what is stored, None for the first time.

    active: of the settings, "" where all are. ReplicaIdChangedError for another id than the stored
    one. A group that was promoted since stays as it is; own.generation counts only at first.
    """
    if before is None:
        first = Roles(replica_id, origins={replica_id: own})
        return replace(first, one_active=True, epoch=1, active=active) if active else first
    if before.replica_id != replica_id:
        raise ReplicaIdChangedError(entity_type, before.replica_id, replica_id)
    me = own._replace(generation=before.generation)
    roles = replace(before, origins={**before.origins, replica_id: me})
    if not active or roles.epoch:
        return replace(roles, one_active=bool(active), promoting=roles.promoting and bool(active))
    return replace(roles, one_active=True, epoch=1, active=active)


def promoted(before: Roles, entity_type: str, wish: int = 0) -> Roles:
    """This replica is the active one, under the next epoch, and the others learn it; it takes no
    commands before `opened`. wish: its number, 0 for none; one that raised the epoch before changes
    nothing. RetiredReplicaError: it would take none after that either."""
    _check_mode(before, entity_type, "promote")
    if wish and wish == before.wish:
        return before
    me, epoch = before.replica_id, before.epoch + 1
    if me in before.fenced:
        raise RetiredReplicaError(entity_type, me)
    return replace(before, epoch=epoch, active=me, promoting=True, wish=wish)


def opened(before: Roles, wish: int = 0) -> Roles:
    """The promotion is complete: this replica takes commands. wish: as for `promoted`; where
    another one came after it nothing changes."""
    return replace(before, promoting=False) if wish == before.wish else before


def demoted(before: Roles, entity_type: str, wish: int = 0) -> Roles:
    """This replica takes no more commands; nobody does until one is promoted. wish: as for
    `promoted`."""
    _check_mode(before, entity_type, "demote")
    if wish and wish == before.wish:
        return before
    if before.active != before.replica_id:
        raise NotActiveError(entity_type, before.replica_id, before.active)
    return replace(before, epoch=before.epoch + 1, active="", promoting=False, wish=wish)


def restored(before: Roles, known: int = 0) -> Roles:
    """The own journal is an older copy: what it writes from now on has a place of its own. known:
    the latest generation of it that any peer knows."""
    me, generation = before.replica_id, max(before.generation, known) + 1
    origins = dict(before.origins)
    if me in origins:
        origins[me] = origins[me]._replace(generation=generation)
    return replace(before, generation=generation, recovering=True, origins=origins)


def recovered(before: Roles) -> Roles:
    """All that was lost and could be had is back."""
    return replace(before, recovering=False)


def retire(before: Roles, entity_type: str, replica: str, group: Collection[str]) -> Roles:
    """Take nothing from this replica any more, from now on. group: all ids of the settings."""
    if replica in before.retired:
        raise AlreadyRetiredError(entity_type, replica)
    if replica == before.replica_id:
        raise RetireSelfError(entity_type, replica)
    if replica not in group and replica not in before.origins:
        raise UnknownReplicaError(entity_type, replica, ", ".join(sorted(group)))
    if replica in before.retiring:
        return before
    _check_size(before, "retired", [*before.fenced, replica])
    return replace(before, retiring={**before.retiring, replica: {}})


def fenced(before: Roles) -> Roles:
    """The others take nothing from this replica any more: it takes no commands."""
    me = before.replica_id
    if me in before.fenced:
        return before
    return replace(before, retiring={**before.retiring, me: {}})


def staged(before: Roles, replica: str, stage: Stage) -> Roles:
    """This replica is so far with the retirement of that one; ignored where it is over."""
    if replica not in before.retiring:
        return before
    rows = dict(before.retiring[replica])
    own = before.replica_id
    rows[own] = max(rows.get(own, stage), stage)
    return replace(before, retiring={**before.retiring, replica: rows})


def retired(before: Roles, replica: str) -> Roles:
    """It is over: its slots are not waited for any more, its id is refused for ever."""
    retiring = {one: rows for one, rows in before.retiring.items() if one != replica}
    return replace(before, retiring=retiring, retired=before.retired | {replica})


# --- meeting another replica ---


def check_peer(own: Roles, peer: Roles, entity_type: str, group: Collection[str]) -> None:
    """Raise the named refusal of a replica that may not take part. group: all ids of the own
    settings.

    In order: the own id; one that is retired here; one that nobody named; the other mode (all
    active, or one); another journal, or another slice count, under an id and generation that are
    known; more replicas than may be known.
    """
    if peer.replica_id == own.replica_id:
        raise OwnReplicaIdError(entity_type, peer.replica_id)
    if peer.replica_id in own.fenced:
        raise RetiredReplicaError(entity_type, peer.replica_id)
    if peer.replica_id not in group:
        raise UnknownReplicaError(entity_type, peer.replica_id, ", ".join(sorted(group)))
    if own.one_active != peer.one_active:
        raise GroupModeDiffersError(entity_type, peer.replica_id, int(peer.one_active))
    known, now = own.origins.get(peer.replica_id), peer.origins.get(peer.replica_id)
    if known is not None and now is not None and _is_another(known, now):
        raise OriginChangedError(
            entity_type, peer.replica_id, known.journal_id, known.slices, now.journal_id, now.slices
        )
    met(own, peer)


def met(own: Roles, peer: Roles) -> Roles:
    """What is known after hearing what `peer` knows. `check_peer` has let it in.
    TooManyReplicasError."""
    epoch, active = max((own.epoch, own.active), (peer.epoch, peer.active))
    gone = own.retired | peer.retired
    retiring: dict[str, dict[str, Stage]] = {}
    for rows in (own.retiring, peer.retiring):
        for replica, stages in rows.items():
            if replica not in gone:
                retiring[replica] = _greatest(retiring.get(replica, {}), stages)
    origins = _joined(own.origins, peer.origins)
    me = own.origins.get(own.replica_id)
    if me is not None:  # nobody knows better which journal this is
        origins[own.replica_id] = me
    _check_size(own, "retired", gone)
    _check_size(own, "origins", origins)
    _check_size(own, "retiring", retiring)
    for stages in retiring.values():
        _check_size(own, "retiring", stages)
    return replace(
        own, epoch=epoch, active=active, promoting=own.promoting and active == own.replica_id,
        retiring=retiring, retired=gone, origins=origins,
    )  # fmt: skip


def denies(own: Roles, peer: Roles) -> bool:
    """The peer knows this replica by another journal, or by a later life of it: this journal was
    restored, or made anew."""
    me, known = own.origins.get(own.replica_id), peer.origins.get(own.replica_id)
    if me is None or known is None:
        return False
    return known.generation > me.generation or _is_another(known, me)


def _is_another(known: Origin, now: Origin) -> bool:
    same = (known.journal_id, known.slices) == (now.journal_id, now.slices)
    return known.generation == now.generation and not same


def _greatest(one: Mapping[str, Stage], other: Mapping[str, Stage]) -> dict[str, Stage]:
    both = dict(one)
    for replica, stage in other.items():
        both[replica] = max(both.get(replica, stage), stage)
    return both


def _joined(one: Mapping[str, Origin], other: Mapping[str, Origin]) -> dict[str, Origin]:
    """Later lives win; of two journals in one, the same one everywhere."""
    both = dict(one)
    for replica, origin in other.items():
        present = both.get(replica, origin)
        both[replica] = max(present, origin, key=lambda o: (o.generation, o.journal_id, o.slices))
    return both


def _check_size(own: Roles, what: str, ids: Sized) -> None:
    """What does not fit a message could be told to nobody."""
    if len(ids) > REPLICAS_MAX:
        raise TooManyReplicasError(own.replica_id, what, REPLICAS_MAX)


def _check_mode(roles: Roles, entity_type: str, verb: str) -> None:
    if not roles.one_active:
        raise AllActiveError(entity_type, verb)


# --- stored form ---


def plain_of(roles: Roles) -> dict[str, Any]:
    """For the registry: plain values only."""
    return {
        "replica_id": roles.replica_id,
        "generation": roles.generation,
        "recovering": roles.recovering,
        "one_active": roles.one_active,
        "epoch": roles.epoch,
        "active": roles.active,
        "promoting": roles.promoting,
        "retiring": {
            replica: {at: [*stage[:2], list(stage.heads)] for at, stage in sorted(rows.items())}
            for replica, rows in sorted(roles.retiring.items())
        },
        "retired": sorted(roles.retired),
        "origins": {replica: list(origin) for replica, origin in sorted(roles.origins.items())},
        "wish": roles.wish,
    }


def roles_from(plain: Any, entity_type: str) -> Roles:
    """What `plain_of` made. InvalidRolesError where it is none."""
    try:
        return Roles(
            str(plain["replica_id"]),
            int(plain["generation"]),
            bool(plain["recovering"]),
            bool(plain["one_active"]),
            int(plain["epoch"]),
            str(plain["active"]),
            bool(plain["promoting"]),
            {
                replica: {at: Stage(g, r, tuple(heads)) for at, (g, r, heads) in rows.items()}
                for replica, rows in plain["retiring"].items()
            },
            frozenset(plain["retired"]),
            {replica: Origin(*origin) for replica, origin in plain["origins"].items()},
            int(plain.get("wish", 0)),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidRolesError(entity_type, f"{type(error).__name__}: {error}") from error

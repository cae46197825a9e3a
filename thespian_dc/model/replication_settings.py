"""Which entity types are replicated, under which id, with whom. Frozen, checked when built. Pure.

A replica is a node with a journal of its own. Each of them lists one Replication per entity type:
its own id and its peers' ids, the same ids at all of them. See docs/replication.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from thespian_dc.model.criteria import Filter
from thespian_dc.model.endpoint import Tls, check_plaintext, check_target
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.ids import check_name, type_name

REPLICA_PREFIX: Final = "replica:"
"""Of the stream ids by which replicas read each other; no other stream may begin with it."""
PEERS_MAX: Final = 63
LINK_WORKERS_MAX: Final = 16
LATE_EVENTS: Final = ("apply", "set_aside")


def replica_stream_id(entity_type: str) -> str:
    """The stream by which peers read a replica's log of this entity type."""
    return REPLICA_PREFIX + entity_type


@dataclass(frozen=True, slots=True)
class Peer:
    """Another replica.

    target: host:port of its node; "": this node never dials it, and gets its events by way of the
    other peers. tls, plaintext_beyond_loopback: as of Remote. identity: the name in the certificate
    that it must show, whoever dials; "": the rules of our server, and its host's name, decide.
    workers: connections that share its slices, 1..16; more than one helps where the network between
    is far. edge: only one of the two can dial; the other one, whose target is "" here, brings its
    log by calls of its own; it is set on both sides.
    """

    replica_id: str
    target: str = ""
    tls: Tls | None = None
    identity: str = ""
    workers: int = 1
    plaintext_beyond_loopback: bool = False
    edge: bool = False

    @property
    def is_linked(self) -> bool:
        """Its log is read directly; else by way of others."""
        return bool(self.target) or self.edge

    @property
    def dialled_tls(self) -> Tls | None:
        """tls as it is used to dial: its certificate must show the identity, in place of the host's
        name. A server_name of one's own goes before it; URIs cannot be compared there, so the host
        name counts for them."""
        tls = self.tls
        if tls is None or tls.server_name or not self.identity or "://" in self.identity:
            return tls
        return replace(tls, server_name=self.identity)

    def __post_init__(self) -> None:
        check_replica_id(self.replica_id)
        where = f"peer {self.replica_id}"
        if self.target:
            host = check_target(f"{where}: target", self.target)
            check_plaintext(where, host, self.tls, self.plaintext_beyond_loopback)
            if self.identity and self.tls is None:
                raise SettingsError(f"{where}: identity is a certificate's; to dial it, set tls")
        if not 1 <= self.workers <= LINK_WORKERS_MAX:
            raise SettingsError(
                f"{where}: workers must be 1..{LINK_WORKERS_MAX}, not {self.workers}"
            )
        if self.edge and self.workers > 1:
            raise SettingsError(f"{where}: an edge opens one call, so workers must be 1")


@dataclass(frozen=True, slots=True)
class Replication:
    """One entity type's replication, as this replica sees it.

    entity: one of Settings.entities, or its type's name. replica_id: this replica's own, for ever
    (its journal keeps it). wanted: which entities this replica takes, to begin with. shown: which
    entities it shows to peers, to begin with, by ids and regexes only: an entity whole or not at
    all. Both are kept in the journal and changed while running. active: "" where all replicas take
    commands, else the id of the first one that does. late_events: what becomes of events that a
    replaced active replica wrote and its successor had not seen: "apply" as concurrent, or
    "set_aside"; the same at all. queries: command types that a standby answers. look_up_after_s:
    how long an event waits for one that it depends on before its entity is read from the peer as a
    whole.
    """

    entity: type | str
    replica_id: str
    peers: Sequence[Peer] = ()
    wanted: Filter = field(default_factory=Filter)
    shown: Filter = field(default_factory=Filter)
    active: str = ""
    late_events: str = "apply"
    queries: Sequence[type] = ()
    look_up_after_s: float = 2.0

    def __post_init__(self) -> None:
        where = f"replication of {self.entity_type}"
        check_name("replica stream", self.stream_id)
        check_replica_id(self.replica_id)
        ids = [one.replica_id for one in self.peers]
        if self.replica_id in ids:
            raise SettingsError(f"{where}: {self.replica_id!r} is this replica and a peer of it")
        for one in ids:
            if ids.count(one) > 1:
                raise SettingsError(f"{where}: peer {one!r} stands twice")
        if len(ids) > PEERS_MAX:
            raise SettingsError(f"{where}: {len(ids)} peers, at most {PEERS_MAX}")
        _check_whole(f"{where}: wanted", self.wanted)
        check_shown(self.entity_type, self.shown)
        if self.active and self.active not in self.replicas:
            known = ", ".join(self.replicas)
            raise SettingsError(f"{where}: active {self.active!r} is none of {known}")
        if self.late_events not in LATE_EVENTS:
            shown = ", ".join(map(repr, LATE_EVENTS))
            raise SettingsError(
                f"{where}: late_events must be one of {shown}, not {self.late_events!r}"
            )
        for query in self.queries:
            if not isinstance(query, type):
                raise SettingsError(f"{where}: queries holds {query!r}, which is no class")
        if self.queries and not self.active:
            raise SettingsError(f"{where}: queries are for standbys, and active names nobody")
        if not 0 < self.look_up_after_s <= 3600:
            raise SettingsError(
                f"{where}: look_up_after_s must be in (0, 3600], not {self.look_up_after_s}"
            )

    @property
    def entity_type(self) -> str:
        """The name of the replicated type."""
        return type_name(self.entity)

    @property
    def stream_id(self) -> str:
        """The stream by which peers read this replica's log."""
        return replica_stream_id(self.entity_type)

    @property
    def replicas(self) -> tuple[str, ...]:
        """The ids of all replicas, this one among them, sorted."""
        return tuple(sorted({self.replica_id, *(one.replica_id for one in self.peers)}))

    def peer(self, replica_id: str) -> Peer | None:
        """The peer of this id, None for a stranger."""
        return next((one for one in self.peers if one.replica_id == replica_id), None)


def check_replica_id(replica_id: str) -> str:
    """Return it, or raise SettingsError."""
    return check_name("replica_id", replica_id)


def check_shown(entity_type: str, shown: Filter) -> None:
    """SettingsError where a replica of this type cannot show its log through this filter."""
    where = f"replication of {entity_type}: shown"
    _check_whole(where, shown)
    for criteria in (shown.exclude, shown.include):
        if criteria.tags or criteria.topics:
            raise SettingsError(
                f"{where} takes entity_ids and regexes; tags and topics could withhold a part of "
                "an entity"
            )


def _check_whole(where: str, one: Filter) -> None:
    """SettingsError for what would split an entity: scope is a property of whole entities."""
    if one.events_only:
        raise SettingsError(f"{where} must not be events_only: entities come whole")
    if one.from_seq_nrs:
        raise SettingsError(f"{where} must not name seq_nrs: entities come whole")

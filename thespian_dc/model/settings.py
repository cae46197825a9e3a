"""What a user configures: frozen data, checked when built, before any actor exists. Pure.

Each field says its unit, default and reason. Secrets are file paths, never values: Thespian prints
messages. Classes and callables must be importable (`module:name` in TOML); a lambda or a local
class is a SettingsError that names the field. `thespian_dc.settings_from_toml(path)` reads the same
from TOML. Long because all of a node's settings stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any

from thespian_dc.model.access import Access, check_allow, check_metadata
from thespian_dc.model.criteria import Filter
from thespian_dc.model.delivery_settings import DELIVERIES, Group, Recovery, ToActor
from thespian_dc.model.endpoint import Tls as Tls  # noqa: PLC0414  of this module for type checkers
from thespian_dc.model.endpoint import check_plaintext, check_target, is_loopback
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.history import History
from thespian_dc.model.ids import SLICES_DEFAULT, check_name, check_slices
from thespian_dc.model.kinds import check_kinds, check_lists, check_numbers
from thespian_dc.model.replication_settings import REPLICA_PREFIX, Replication
from thespian_dc.model.setting_checks import (
    check_called,
    check_events,
    check_importable,
    check_positions,
    check_start,
    check_unique,
    check_workers,
)
from thespian_dc.model.topics import PREFIX, check_topic
from thespian_dc.model.transformation import Transformation, importables

MIB = 1 << 20
HOSTS_MAX = 64


@dataclass(frozen=True, slots=True)
class Stream:
    """A public event stream over one entity type.

    transform: a Transformation by type, or one function for all: (Envelope) -> public payload, or
    None to leave the event out. None: events pass as they are stored. Functions may be `async def`.
    events: the public payload types that `transform` returns (registered like an entity's).

    filter: what is shown at all; what it withholds reaches no consumer in any way. A function of
    the original Envelope that returns True for what may be seen; a topic expression; or criteria,
    each event judged by itself. Criteria and expressions can be replaced while the stream is served
    (docs/filters.md). topic_prefix: of the tags that are topics.

    from_snapshot: (Envelope of an entity's stored state) -> public payload that stands for all its
    events so far, or None; for consumers with History.FROM_SNAPSHOTS, which are refused without it.

    allow: the names in certificates whose holders may see it, "*" for all that the server lets in;
    None: all, unless another stream of the server has a rule; then nobody. See docs/security.md.
    """

    stream_id: str
    entity: type | str
    transform: Transformation | Callable[[Any], Any] | None = None
    events: Sequence[Any] = ()
    filter: Filter | str | Callable[[Any], bool] | None = None
    topic_prefix: str = PREFIX
    from_snapshot: Callable[[Any], Any] | None = None
    allow: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_name("stream_id", self.stream_id)
        check_allow(self.stream_id, self.allow)
        check_events(f"stream {self.stream_id}", self.events)
        if self.transform == Transformation():
            raise SettingsError(
                f"stream {self.stream_id}: its transform names no type; each method of a "
                "Transformation returns another one"
            )
        for thing in importables(self.transform):
            check_importable("transform", thing)
        check_importable("from_snapshot", self.from_snapshot)
        if self.from_snapshot is not None and isinstance(self.entity, str):
            raise SettingsError(
                f"stream {self.stream_id}: from_snapshot needs the entity class, not its type's "
                "name, to decode the stored states"
            )
        if isinstance(self.filter, str):
            check_topic(self.filter)
        elif not isinstance(self.filter, Filter):
            check_importable("filter", self.filter)
        if not self.topic_prefix:
            raise SettingsError("topic_prefix must not be empty: every tag would be a topic")


@dataclass(frozen=True, slots=True)
class Remote:
    """A stream of another service: its public id and `host:port`. tls: None is refused beyond
    loopback unless plaintext_beyond_loopback says so in so many words. history: what is wanted of
    what was written before. metadata: of every request, for the producer's interceptor; a value
    "file:/path" is what that file holds when a call begins, for secrets."""

    stream_id: str
    target: str
    tls: Tls | None = None
    plaintext_beyond_loopback: bool = False
    history: History = History.FULL
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        check_name("stream_id", self.stream_id)
        check_metadata(self.metadata)
        host = check_target("target", self.target)
        check_plaintext("target", host, self.tls, self.plaintext_beyond_loopback)


@dataclass(frozen=True, slots=True)
class Push:
    """A stream that this node brings to a destination by itself: it dials, nobody need reach it.

    stream: one of Settings.streams by its id, or a Stream of its own, which nobody can pull then.
    target: host:port of the receiving node. tls, plaintext_beyond_loopback, metadata: as of Remote.
    """

    stream: Stream | str
    target: str
    tls: Tls | None = None
    plaintext_beyond_loopback: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        check_name("stream", self.stream_id)
        check_metadata(self.metadata)
        host = check_target("target", self.target)
        check_plaintext("target", host, self.tls, self.plaintext_beyond_loopback)

    @property
    def stream_id(self) -> str:
        """The public name of what is pushed."""
        return self.stream.stream_id if isinstance(self.stream, Stream) else self.stream


@dataclass(frozen=True, slots=True)
class Destination:
    """Takes a stream that others push, and writes it to this node's journal as events of
    `entity_type`, which ordinary projections read. No entity class may write that type.

    origins: the services that may push, each with the name in the certificate that it must show.
    without_identity: where the node listens on loopback without tls, take them at their word.
    filter: which entities or events are wanted, to begin with; see docs/push.md. events: the
    payload types that `transform` gets and returns. transform: (Envelope) -> the Envelope to be
    stored, with another entity_id, tags or payload as wanted, or None to leave it out; meta says
    "origin" and more. None: events are stored as they came. history: what is wanted of what was
    written before it came, as of Remote.
    """

    stream_id: str
    entity_type: str
    origins: Mapping[str, str]
    events: Sequence[Any] = ()
    transform: Callable[[Any], Any] | None = None
    filter: Filter = field(default_factory=Filter)
    without_identity: bool = False
    history: History = History.FULL

    def __post_init__(self) -> None:
        check_name("stream_id", self.stream_id)
        check_name("entity_type", self.entity_type)
        check_events(f"destination {self.stream_id}", self.events)
        check_importable("transform", self.transform)
        if iscoroutinefunction(self.transform):
            raise SettingsError(f"destination {self.stream_id}: transform must not be async")
        if not self.origins:
            raise SettingsError(f"destination {self.stream_id}: origins names nobody")
        for origin, identity in self.origins.items():
            check_name("origin", origin)
            if not identity and not self.without_identity:
                raise SettingsError(
                    f"destination {self.stream_id}: origin {origin!r} is bound to no certificate; "
                    "name its identity, or set without_identity=True (loopback only)"
                )


@dataclass(frozen=True, slots=True)
class Local:
    """An entity type of a journal that this process can open itself. journal: a URL; "" is the
    node's own. history: as of Remote; states come as they are stored."""

    entity_type: str
    journal: str = ""
    history: History = History.FULL


@dataclass(frozen=True, slots=True)
class Projection:
    """events -> handler -> position.

    handler: a class (SqlProjectionHandler, ProjectionHandler, Cassandra's, or a grouped one), a
    function of (envelope) or (envelope, tx), or ToActor(…). events: payload types the handler wants
    decoded (registered like an entity's). positions: sqlite:///path or cassandra://hosts/keyspace.
    delivery: "exactly-once" (effects in the position's transaction), "at-least-once" (position
    after the effects), "at-most-once" (position first). group: of grouped handlers. recovery: what
    follows a raise. See docs/delivery.md. workers: processes per node that share the slices;
    changeable while running. hooks: a ProjectionHooks class, one object per worker. See
    docs/management.md. filter: which entities or events are wanted, to begin with; it is stored,
    and a change made while running counts until this setting changes. See docs/filters.md. start:
    where slices begin of which nothing is stored: "stored" or "beginning" (the first record),
    "now", a datetime with a time zone; or a function of the stored positions, see docs/delivery.md.
    """

    name: str
    source: Remote | Local
    handler: Callable[..., Any] | type | ToActor
    positions: str
    events: Sequence[Any] = ()
    delivery: str = "exactly-once"
    batch_events_max: int = 500
    restart_backoff_ms: tuple[int, int] = (200, 10_000)
    recovery: Recovery = field(default_factory=Recovery)
    group: Group = field(default_factory=Group)
    workers: int = 1
    hooks: type | None = None
    filter: Filter = field(default_factory=Filter)
    start: str | datetime | Callable[..., Any] = "stored"

    def __post_init__(self) -> None:
        check_name("projection name", self.name)
        check_start(self.name, self.start)
        check_positions(self.name, self.positions)
        check_events(f"projection {self.name}", self.events)
        if not isinstance(self.filter, Filter):
            raise SettingsError(
                f"projection {self.name}: filter must be criteria, such as "
                f"Include.topics('public/#'), not {self.filter!r}"
            )
        if self.workers > 1 and not isinstance(self.start, str | datetime):
            raise SettingsError(
                f"projection {self.name}: a function as start moves positions whenever a worker "
                "begins, so workers must be 1"
            )
        if not isinstance(self.handler, ToActor):
            check_importable("handler", self.handler)
            check_called(f"projection {self.name}", self.handler)
        elif isinstance(self.handler.actor, type):
            check_importable("handler.actor", self.handler.actor)
        if self.delivery not in DELIVERIES:
            known = ", ".join(map(repr, DELIVERIES))
            raise SettingsError(
                f"projection {self.name}: delivery must be one of {known}, not {self.delivery!r}"
            )
        if self.delivery == "at-most-once" and self.recovery.retrying:
            raise SettingsError(
                f"projection {self.name}: at-most-once never hands an event over twice; its "
                "recovery is Recovery('fail') or Recovery('skip')"
            )
        if self.batch_events_max < 1:
            raise SettingsError(f"projection {self.name}: batch_events_max must be at least 1")
        check_workers(self.name, self.workers)
        check_importable("hooks", self.hooks)
        check_called(f"projection {self.name}", self.hooks)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds; each has a named error when reached (invariant I7)."""

    command_bytes_max: int = MIB
    """Of one command's message and of its events together."""
    stash_max: int = 1000
    """Stashed commands of one entity; more is StashOverflowError to the asker."""
    waiting_max: int = 100_000
    """Commands accepted and not yet answered, per host; more is HostBusyError to the asker,
    retryable."""
    known_commands: int = 512
    """Command ids remembered per entity, also in its snapshots: so many, and at most a quarter
    more. For what clients send again by themselves the log is asked beyond these; what callers send
    again is recognised by these."""
    passivate_after_s: float = 120.0
    """An entity nobody addressed for so long leaves memory."""
    resident_max: int = 200_000
    """Entities in memory per host; the least recently used leave first."""
    recoveries_max: int = 64
    """Entities recovering at the same time, per host."""
    command_retries: int = 5
    """How often a command runs again after a lost append before CommandUnstableError."""

    def __post_init__(self) -> None:
        check_numbers(self, float, passivate_after_s=0)
        check_numbers(
            self, int, command_bytes_max=1, stash_max=0, waiting_max=1, known_commands=1,
            resident_max=1, recoveries_max=1, command_retries=0,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """A node: what it serves, consumes, and where.

    service: this service's name; clients connect by it. journal: URL (see
    journal.api.open_journal). hosts: entity host processes of this node; each keeps one core busy.
    slices: per entity type, a power of two, fixed for ever in the journal. listen: host:port for
    streams and destinations; plaintext only on loopback unless plaintext_beyond_loopback. pushes:
    streams that this node brings elsewhere. destinations: what others may push to it. See
    docs/push.md. access: what calls of others must pass; see docs/security.md. replication: entity
    types that other nodes hold too; see docs/replication.md.
    """

    service: str
    journal: str = "sqlite:///thespian_dc.db"
    entities: Sequence[type] = ()
    streams: Sequence[Stream] = ()
    projections: Sequence[Projection] = ()
    listen: str = ""
    tls: Tls | None = None
    plaintext_beyond_loopback: bool = False
    hosts: int = 1
    slices: int = SLICES_DEFAULT
    limits: Limits = field(default_factory=Limits)
    pushes: Sequence[Push] = ()
    destinations: Sequence[Destination] = ()
    access: Access = field(default_factory=Access)
    replication: Sequence[Replication] = ()

    def __post_init__(self) -> None:
        check_name("service", self.service)
        check_kinds(
            self, journal=str, listen=str, tls=(Tls, type(None)), plaintext_beyond_loopback=bool,
            limits=Limits, access=Access, hosts=int,
        )  # fmt: skip
        check_lists(
            self, entities=type, streams=Stream, projections=Projection, pushes=Push,
            destinations=Destination, replication=Replication,
        )  # fmt: skip
        check_slices(self.slices)
        if self.hosts < 0 or (self.entities and self.hosts < 1) or self.hosts > HOSTS_MAX:
            raise SettingsError(
                f"hosts must be 1 to {HOSTS_MAX} where entities are served, not {self.hosts}"
            )
        if self.streams and not self.listen:
            raise SettingsError("streams need listen='host:port', where consumers connect")
        if self.listen:
            host = check_target("listen", self.listen)
            check_plaintext("listen", host, self.tls, self.plaintext_beyond_loopback)
        check_unique("stream_id", [s.stream_id for s in self.streams])
        check_unique("projection name", [p.name for p in self.projections])
        check_importable("access.interceptor", self.access.interceptor)
        check_pushes(self)
        check_destinations(self)
        check_replication(self)


def check_pushes(settings: Settings) -> None:
    """SettingsError where a push names no stream, or one stands twice."""
    known = [one.stream_id for one in settings.streams]
    own = {one.stream_id: one.stream for one in settings.pushes if isinstance(one.stream, Stream)}
    for one in settings.pushes:
        if isinstance(one.stream, str) and one.stream not in known:
            raise SettingsError(f"a push names {one.stream!r}, which is none of streams")
        if isinstance(one.stream, Stream) and own[one.stream_id] != one.stream:
            raise SettingsError(f"two pushes have different streams {one.stream_id!r}")
    check_unique("stream_id", [*known, *own])
    check_unique("push", [f"{one.stream_id} to {one.target}" for one in settings.pushes])


def check_destinations(settings: Settings) -> None:
    """SettingsError where a destination could not be reached, or not know who calls."""
    entities = [getattr(one, "entity_type", "") for one in settings.entities]
    check_unique("destination", [one.stream_id for one in settings.destinations])
    for one in settings.destinations:
        where = f"destination {one.stream_id}"
        if not settings.listen:
            raise SettingsError(f"{where} needs listen='host:port', where producers dial")
        if one.entity_type in entities:
            raise SettingsError(f"{where}: entities of this node write {one.entity_type!r} already")
        proves = settings.tls is not None and settings.tls.client_auth
        if not proves and not one.without_identity:
            raise SettingsError(
                f"{where}: without tls and client_auth nobody can show a certificate; set them, "
                "or without_identity=True (loopback only)"
            )
        if one.without_identity and not is_loopback(check_target("listen", settings.listen)):
            raise SettingsError(f"{where}: without_identity is for loopback only")


def check_replication(settings: Settings) -> None:
    """SettingsError for a type that is not served here or stands twice, or that peers cannot
    reach."""
    served = [getattr(one, "entity_type", "") for one in settings.entities]
    check_unique("replication of", [one.entity_type for one in settings.replication])
    for one in settings.replication:
        if one.entity_type not in served:
            raise SettingsError(f"replication of {one.entity_type!r}: it is none of entities")
        if not settings.listen:
            raise SettingsError(
                f"replication of {one.entity_type!r} needs listen='host:port', where peers connect"
            )
    streams: list[Stream | Push | Destination] = [*settings.streams, *settings.pushes]
    for stream_id in (one.stream_id for one in (*streams, *settings.destinations)):
        if stream_id.startswith(REPLICA_PREFIX):
            raise SettingsError(
                f"stream_id {stream_id!r} begins with {REPLICA_PREFIX!r}, which is for the "
                "streams between replicas"
            )

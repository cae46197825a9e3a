"""What travels between clients, routers and entity hosts inside one actor system. Pure values; all
of them pickle.

Frames carry many commands or answers: a Thespian message costs about a millisecond whatever is in
it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from thespian_dc.model.ids import check_command_id, check_name
from thespian_dc.model.replication import Listed
from thespian_dc.shell.protocol import NodeMessage


@dataclass(frozen=True, slots=True)
class EntityRef:
    """Names an entity, wherever it lives. Can be stored, sent, and sent to. SettingsError where no
    entity can have this name."""

    entity_type: str
    entity_id: str

    def __post_init__(self) -> None:
        check_name("entity_type", self.entity_type)
        check_name("entity_id", self.entity_id)

    def __str__(self) -> str:
        return f"{self.entity_type}|{self.entity_id}"


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where an answer to one command goes: a client's or another entity's open ask.

    address: the ActorAddress of the process that waits (client context, or a host). correlation is
    unique per client_id.
    """

    address: Any
    client_id: str
    correlation: int

    def __str__(self) -> str:
        return f"reply {self.correlation} of {self.client_id}"


@dataclass(frozen=True, slots=True)
class ToEntity:
    """What any actor or outside caller sends to a type address: `send(node.address_of(Cart),
    ToEntity("c-1", AddItem(...)))`.

    The entity sees the sender's real address. command_id: optional, for de-duplication of re-sends.
    SettingsError where no entity, or no command, can have this id.
    """

    entity_id: str
    message: Any
    command_id: str = ""

    def __post_init__(self) -> None:
        check_name("entity_id", self.entity_id)
        check_command_id(self.command_id)


SENT_BEFORE = -1


class Command(NamedTuple):
    """One message for one entity. reply_to: None (tell), a ReplyAddress (ask), or the ActorAddress
    of a raw sender.

    epoch: of the slice's owner for whom it was sent for the first time; SENT_BEFORE: this is not
    the first time; None: only this host has it. since: a record of it has no lower offset.
    """

    entity_type: str
    entity_id: str
    message: Any
    reply_to: Any = None
    command_id: str = ""
    epoch: int | None = None
    since: int = 0


class Status(enum.IntEnum):
    """OK: value is the reply. ERROR: value is an exception to raise at the asker. NOT_OWNER: value
    is a Route."""

    OK = 0
    ERROR = 1
    NOT_OWNER = 2


class Route(NamedTuple):
    """The host of a slice as far as the answering host knows. address: "ip:port", "" where it is
    not known (yet)."""

    entity_type: str
    slice: int
    address: str
    epoch: int


class RemoteEvent(NamedTuple):
    """An event that another replica's log holds, as it is stored there.

    meta: `model.replication.remote_meta` of it, with concurrent 0: how it was there means nothing
    here. set_aside: the peer has stored the event and not applied it, and nobody else is to.
    """

    manifest: str
    payload: bytes
    tags: Sequence[str]
    meta: list[Any]
    set_aside: bool = False


class Replicated(NamedTuple):
    """A command to one entity of a replicated type: take these events, in the order of the peer's
    log. peer: the replica they come from. It needs no command id: what the entity has, it has.
    Answered by Absorbed once what was taken is durable.

    A tuple: a frozen dataclass took 3 us to pickle and 2 to unpickle, more than all else here."""

    events: tuple[RemoteEvent, ...]
    peer: str = ""


@dataclass(frozen=True, slots=True)
class ReplicatedState:
    """A command to one entity of a replicated type: take over a state of a peer, whose events are
    trimmed there. vector, tips, time_us, epoch, leader, aside: as in model.replication.StateMeta.
    What this replica has beyond it is applied on top. Answered by Absorbed (through: 1)."""

    manifest: str
    payload: bytes
    vector: dict[str, int]
    tips: dict[str, int]
    time_us: int = 0
    epoch: int = 0
    peer: str = ""
    leader: str = ""
    aside: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeepState:
    """A command to one entity of a replicated type: have its state stored as it is, so that the
    records before it can be trimmed. Nobody waits for an answer; where something of the entity is
    under way nothing happens."""


class Absorbed(NamedTuple):
    """What became of a Replicated.

    through: so many of its events, from the front, this replica now has, durably.
    reason: why no more: "" (there are no more), "waits" (missing: (replica, n) must come first),
    "delayed" (by the class, for delay_us), "set_aside" (error: the event at `through` is not taken:
    pass it by).
    listed: what people should know of. failed: why the entity takes no commands now, "" where it
    does.
    """

    through: int
    reason: str = ""
    missing: tuple[str, int] | None = None
    delay_us: int = 0
    listed: tuple[Listed, ...] = ()
    error: Exception | None = None
    failed: str = ""


class TypeRoutes(NamedTuple):
    """What a host knows of one entity type. owners: ("ip:port", epoch) by slice; "" and 0 where
    it does not know. heads: by slice, an offset that the log has reached; empty: it knows none."""

    slices: int
    owners: tuple[tuple[str, int], ...]
    heads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandFrame(NodeMessage):
    """Many commands for one host, in order.

    blob: packed list of (entity_type, entity_id, packed message, correlation, command_id, sender,
    epoch, since).
    correlation: unique per client_id, negative where nobody waits for an answer. command_id: "" for
    "{client_id}-{correlation}".
    sender: None, or the ActorAddress of a raw sender whom the entity answers directly. epoch,
    since: see Command; never None.
    A host acknowledges each frame once in a ReplyFrame: at once where the frame is large, else with
    the first answers or a few milliseconds later. The same frame_nr again is acknowledged, no more.
    """

    client_id: str
    frame_nr: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class ReplyFrame(NodeMessage):
    """Acknowledged frames and answers.

    blob: packed list of (correlation, status, value). value: what `pack_reply` made of the
    reply (OK), the packed exception (ERROR), a Route (NOT_OWNER).
    """

    member_id: str
    client_id: str
    acknowledged: tuple[int, ...]
    blob: bytes

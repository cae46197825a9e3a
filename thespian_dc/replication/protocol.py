"""What a replication actor begins with. Pure values; they pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thespian_dc.entity.api import Failed
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.replication_settings import Replication
from thespian_dc.shell.protocol import NodeMessage

REPLICATION_ACTOR = "thespian_dc.replication.actor.ReplicationActor"


@dataclass(frozen=True, slots=True)
class StartReplication(NodeMessage):
    """Settings of a ReplicationActor. journal: URL. slices: of a type that the journal does not
    know yet."""

    shown = "service"

    service: str
    journal: str
    replication: Replication
    slices: int


@dataclass(frozen=True, slots=True)
class WantedChanged(NodeMessage):
    """From the storing thread: another filter is wanted."""

    wanted: VersionedFilter


@dataclass(frozen=True, slots=True)
class ShownChanged(NodeMessage):
    """From the storing thread: this replica is shown through another filter."""

    to: VersionedFilter


@dataclass(frozen=True, slots=True)
class FailedStored(NodeMessage):
    """From the storing thread: entities that take no commands, as the registry has them."""

    failed: Mapping[str, Failed]

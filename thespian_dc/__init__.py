"""Event-sourced entities, projections over gRPC and replication for the Thespian actor library.

What users need stands here by name and is imported when it is first used: an actor system forks,
and nothing with threads or sockets may be loaded before it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thespian_dc.model.lazy import lazily

__version__ = "0.1.0"

if TYPE_CHECKING:
    from thespian_dc.client.api import Client as Client
    from thespian_dc.codec.api import Registered as Registered
    from thespian_dc.codec.api import Upcaster as Upcaster
    from thespian_dc.entity.api import Begin as Begin
    from thespian_dc.entity.api import DurableStateActor as DurableStateActor
    from thespian_dc.entity.api import EntityRef as EntityRef
    from thespian_dc.entity.api import EventSourcedActor as EventSourcedActor
    from thespian_dc.entity.api import (
        ReplicatedEventSourcedActor as ReplicatedEventSourcedActor,
    )
    from thespian_dc.entity.api import ReplyAddress as ReplyAddress
    from thespian_dc.entity.api import ToEntity as ToEntity
    from thespian_dc.model.access import Access as Access
    from thespian_dc.model.access import StreamCall as StreamCall
    from thespian_dc.model.access import StreamLimits as StreamLimits
    from thespian_dc.model.access_errors import CallRefusedError as CallRefusedError
    from thespian_dc.model.criteria import Exclude as Exclude
    from thespian_dc.model.criteria import Filter as Filter
    from thespian_dc.model.criteria import Include as Include
    from thespian_dc.model.delivery_settings import Group as Group
    from thespian_dc.model.delivery_settings import Recovery as Recovery
    from thespian_dc.model.delivery_settings import ToActor as ToActor
    from thespian_dc.model.entity_errors import AlreadyHandledError as AlreadyHandledError
    from thespian_dc.model.entity_errors import (
        ApplyEventReturnedNoneError as ApplyEventReturnedNoneError,
    )
    from thespian_dc.model.entity_errors import CommandFailedError as CommandFailedError
    from thespian_dc.model.entity_errors import CommandNotWrittenError as CommandNotWrittenError
    from thespian_dc.model.entity_errors import CommandRejectedError as CommandRejectedError
    from thespian_dc.model.entity_errors import CommandUnstableError as CommandUnstableError
    from thespian_dc.model.entity_errors import EffectError as EffectError
    from thespian_dc.model.entity_errors import EntityClassError as EntityClassError
    from thespian_dc.model.entity_errors import HostBusyError as HostBusyError
    from thespian_dc.model.entity_errors import OutcomeUnknownError as OutcomeUnknownError
    from thespian_dc.model.entity_errors import RecoveryError as RecoveryError
    from thespian_dc.model.entity_errors import RevisionConflictError as RevisionConflictError
    from thespian_dc.model.entity_errors import StashOverflowError as StashOverflowError
    from thespian_dc.model.entity_errors import UnansweredError as UnansweredError
    from thespian_dc.model.entity_errors import UnknownCommandError as UnknownCommandError
    from thespian_dc.model.envelope import Envelope as Envelope
    from thespian_dc.model.envelope import own_origin as own_origin
    from thespian_dc.model.errors import AskTimeoutError as AskTimeoutError
    from thespian_dc.model.errors import ClientBusyError as ClientBusyError
    from thespian_dc.model.errors import JournalError as JournalError
    from thespian_dc.model.errors import JournalUnavailableError as JournalUnavailableError
    from thespian_dc.model.errors import SettingsError as SettingsError
    from thespian_dc.model.errors import ThespianDcError as ThespianDcError
    from thespian_dc.model.errors import TooLargeError as TooLargeError
    from thespian_dc.model.history import History as History
    from thespian_dc.model.node_errors import NodeError as NodeError
    from thespian_dc.model.node_errors import NodeSettingsDifferError as NodeSettingsDifferError
    from thespian_dc.model.node_errors import NotImportableError as NotImportableError
    from thespian_dc.model.node_errors import ServiceNotFoundError as ServiceNotFoundError
    from thespian_dc.model.node_errors import WrongActorSystemError as WrongActorSystemError
    from thespian_dc.model.replication_errors import (
        ReplicatedEventRefused as ReplicatedEventRefused,
    )
    from thespian_dc.model.replication_settings import Peer as Peer
    from thespian_dc.model.replication_settings import Replication as Replication
    from thespian_dc.model.settings import Destination as Destination
    from thespian_dc.model.settings import Limits as Limits
    from thespian_dc.model.settings import Local as Local
    from thespian_dc.model.settings import Projection as Projection
    from thespian_dc.model.settings import Push as Push
    from thespian_dc.model.settings import Remote as Remote
    from thespian_dc.model.settings import Settings as Settings
    from thespian_dc.model.settings import Stream as Stream
    from thespian_dc.model.settings import Tls as Tls
    from thespian_dc.model.transformation import Transformation as Transformation
    from thespian_dc.node import Node as Node
    from thespian_dc.projection.api import CassandraProjectionHandler as CassandraProjectionHandler
    from thespian_dc.projection.api import CassandraUpsertHandler as CassandraUpsertHandler
    from thespian_dc.projection.api import GroupedHandler as GroupedHandler
    from thespian_dc.projection.api import GroupedSqlHandler as GroupedSqlHandler
    from thespian_dc.projection.api import ProjectedEvents as ProjectedEvents
    from thespian_dc.projection.api import ProjectionHandler as ProjectionHandler
    from thespian_dc.projection.api import SqlProjectionHandler as SqlProjectionHandler
    from thespian_dc.projection.api import Transaction as Transaction
    from thespian_dc.projection.management import Projections as Projections
    from thespian_dc.projection.observe import ProjectionHooks as ProjectionHooks
    from thespian_dc.replication.management import Replicas as Replicas
    from thespian_dc.settings_file import settings_from_toml as settings_from_toml

_WHERE = {
    "Access": "model.access",
    "AlreadyHandledError": "model.entity_errors",
    "ApplyEventReturnedNoneError": "model.entity_errors",
    "AskTimeoutError": "model.errors",
    "Begin": "entity.api",
    "CallRefusedError": "model.access_errors",
    "CassandraProjectionHandler": "projection.api",
    "CassandraUpsertHandler": "projection.api",
    "Client": "client.api",
    "ClientBusyError": "model.errors",
    "CommandFailedError": "model.entity_errors",
    "CommandNotWrittenError": "model.entity_errors",
    "CommandRejectedError": "model.entity_errors",
    "CommandUnstableError": "model.entity_errors",
    "Destination": "model.settings",
    "DurableStateActor": "entity.api",
    "EffectError": "model.entity_errors",
    "EntityClassError": "model.entity_errors",
    "EntityRef": "entity.api",
    "Envelope": "model.envelope",
    "EventSourcedActor": "entity.api",
    "Exclude": "model.criteria",
    "Filter": "model.criteria",
    "Group": "model.delivery_settings",
    "GroupedHandler": "projection.api",
    "GroupedSqlHandler": "projection.api",
    "History": "model.history",
    "HostBusyError": "model.entity_errors",
    "Include": "model.criteria",
    "JournalError": "model.errors",
    "JournalUnavailableError": "model.errors",
    "Limits": "model.settings",
    "Local": "model.settings",
    "Node": "node",
    "NodeError": "model.node_errors",
    "NodeSettingsDifferError": "model.node_errors",
    "NotImportableError": "model.node_errors",
    "OutcomeUnknownError": "model.entity_errors",
    "Peer": "model.replication_settings",
    "ProjectedEvents": "projection.api",
    "Projection": "model.settings",
    "ProjectionHandler": "projection.api",
    "ProjectionHooks": "projection.observe",
    "Projections": "projection.management",
    "Push": "model.settings",
    "Recovery": "model.delivery_settings",
    "RecoveryError": "model.entity_errors",
    "Registered": "codec.api",
    "Remote": "model.settings",
    "Replicas": "replication.management",
    "ReplicatedEventRefused": "model.replication_errors",
    "ReplicatedEventSourcedActor": "entity.api",
    "Replication": "model.replication_settings",
    "ReplyAddress": "entity.api",
    "RevisionConflictError": "model.entity_errors",
    "ServiceNotFoundError": "model.node_errors",
    "Settings": "model.settings",
    "SettingsError": "model.errors",
    "SqlProjectionHandler": "projection.api",
    "StashOverflowError": "model.entity_errors",
    "Stream": "model.settings",
    "StreamCall": "model.access",
    "StreamLimits": "model.access",
    "ThespianDcError": "model.errors",
    "Tls": "model.settings",
    "ToActor": "model.delivery_settings",
    "ToEntity": "entity.api",
    "TooLargeError": "model.errors",
    "Transaction": "projection.api",
    "Transformation": "model.transformation",
    "UnansweredError": "model.entity_errors",
    "UnknownCommandError": "model.entity_errors",
    "Upcaster": "codec.api",
    "WrongActorSystemError": "model.node_errors",
    "own_origin": "model.envelope",
    "settings_from_toml": "settings_file",
}

__all__ = ["__version__", *_WHERE]  # noqa: PLE0604  names are strings
__getattr__ = lazily(__name__, _WHERE)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])

"""The filter through which a replica shows its log to peers, kept in its journal as the wanted one
is: it survives a full stop, and any process may change it while it is obeyed. Blocks.
"""

from __future__ import annotations

from thespian_dc.journal.api import Journal
from thespian_dc.model.criteria import Filter, VersionedFilter
from thespian_dc.model.replication_settings import Replication, check_shown, replica_stream_id
from thespian_dc.stream.destination_filters import (
    begin_destination_filter,
    destination_filter,
    set_destination_filter,
)


def begin_shown_filter(journal: Journal, setting: Replication) -> VersionedFilter:
    """Make it known. That of the settings takes over where it is another one than they said
    before."""
    name = shown_name(setting.entity_type)
    return begin_destination_filter(journal, name, setting.shown.spelled_out())


def shown_filter(journal: Journal, entity_type: str) -> VersionedFilter:
    """What is shown now; UnknownStreamError where the type was never replicated from here."""
    return destination_filter(journal, shown_name(entity_type))


def set_shown_filter(
    journal: Journal, entity_type: str, shown: Filter, expected_version: int | None = None
) -> VersionedFilter:
    """Show these entities and no others; producers obey within a second. SettingsError where it
    could withhold a part of an entity. expected_version: only if it still is this one, else
    DestinationFilterChangedError."""
    check_shown(entity_type, shown)
    return set_destination_filter(journal, shown_name(entity_type), shown, expected_version)


def shown_name(entity_type: str) -> str:
    """By which it is kept; no stream has it, for no stream's id holds a '|'."""
    return f"{replica_stream_id(entity_type)}|shown"

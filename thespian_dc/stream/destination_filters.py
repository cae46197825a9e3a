"""The filter that a destination wants, kept in its journal: it survives a full stop, and any
process may change it while producers push. Blocks.
"""

from __future__ import annotations

from typing import Any

from thespian_dc.journal.api import Entry, Journal, change_entry
from thespian_dc.model.criteria import UNFILTERED, Filter, VersionedFilter, filter_from, plain_of
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.push_errors import DestinationFilterChangedError
from thespian_dc.model.stream_errors import InvalidFilterError, UnknownStreamError


def begin_destination_filter(journal: Journal, stream_id: str, initial: Filter) -> VersionedFilter:
    """Make the destination known. initial: of its settings; takes over where it is another one than
    they said before."""
    plain = plain_of(initial)

    def begin(entry: Entry) -> tuple[Any, Any]:
        value = entry.value
        if value is not None and value[2] == plain:
            return value, value
        version = 0 if value is None else value[0]
        wanted = [version + 1, plain, plain] if value is not None or plain else [0, {}, {}]
        return wanted, wanted

    return _filter_of(stream_id, change_entry(journal, _name(stream_id), begin))


def destination_filter(journal: Journal, stream_id: str) -> VersionedFilter:
    """What is wanted now; UnknownStreamError where the journal never had this destination."""
    value = journal.entry(_name(stream_id)).value
    if value is None:
        raise UnknownStreamError(stream_id)
    return _filter_of(stream_id, value)


def set_destination_filter(
    journal: Journal, stream_id: str, wanted: Filter, expected_version: int | None = None
) -> VersionedFilter:
    """Put this one in its place; producers that push now are told within a second.

    Event by event: what a tag leaves out of an entity stays out once later events of it are stored.
    expected_version: only if it still is this one, else DestinationFilterChangedError.
    """
    if wanted.from_seq_nrs:
        raise SettingsError("a destination's filter has no from_seq_nr: what is let in comes whole")

    def change(entry: Entry) -> tuple[Any, Any]:
        value = entry.value
        if value is None:
            raise UnknownStreamError(stream_id)
        if expected_version is not None and value[0] != expected_version:
            raise DestinationFilterChangedError(stream_id, expected_version, value[0])
        put = [value[0] + 1, plain_of(wanted), value[2]]
        return put, put

    return _filter_of(stream_id, change_entry(journal, _name(stream_id), change))


def _name(stream_id: str) -> str:
    return f"destination_filter:{stream_id}"


def _filter_of(stream_id: str, value: Any) -> VersionedFilter:
    try:
        version, plain, _ = value
        found = VersionedFilter(int(version), filter_from(plain))
    except (TypeError, ValueError) as error:
        raise InvalidFilterError(f"the stored filter of {stream_id}", str(error)) from error
    return found if found.version else UNFILTERED

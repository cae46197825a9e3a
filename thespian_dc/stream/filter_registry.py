"""The filters of streams as they are set while the streams are served: kept in the producer's
journal, so that every producer of that journal takes them over. Blocks; from any process.

One entry of the journal's registry holds them all. A producer announces its streams there, so that
a name nobody serves is an error where it is typed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgpack

from thespian_dc.journal.api import Entry, Journal, change_entry
from thespian_dc.model.criteria import FILTER_BYTES_MAX, Filter, filter_from, plain_of
from thespian_dc.model.stream_errors import (
    FilterTooLargeError,
    InvalidFilterError,
    StreamFilterChangedError,
    UnknownStreamError,
)

ENTRY = "stream_filters"


class StreamFilter(NamedTuple):
    """Set for a stream: version counts its changes from 0 (never set); filter None: what its
    settings say."""

    version: int
    filter: Filter | None


class StoredFilters(NamedTuple):
    """All of a journal. version: of the whole, grows with each change. plain: by stream id, read by
    `filter_of`, which may raise what building a filter raises."""

    version: int
    plain: Mapping[str, Any]

    def filter_of(self, stream_id: str) -> StreamFilter:
        """UnknownStreamError for one that nobody ever served from this journal."""
        if stream_id not in self.plain:
            raise UnknownStreamError(stream_id)
        try:
            version, plain = self.plain[stream_id]
            return StreamFilter(int(version), None if plain is None else filter_from(plain))
        except (TypeError, ValueError) as error:
            raise InvalidFilterError(f"the stored filter of {stream_id}", str(error)) from error


def stored_filters(journal: Journal) -> StoredFilters:
    """What is set in this journal now."""
    return _read(journal.entry(ENTRY))


def announce_streams(journal: Journal, stream_ids: Iterable[str]) -> StoredFilters:
    """Make these known; returns what is set."""

    def announced(plain: Mapping[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(stream_ids, (0, None)) | dict(plain)

    return _change(journal, announced)


def set_stream_filter(
    journal: Journal, stream_id: str, filter_: Filter | None, expected_version: int | None = None
) -> StreamFilter:
    """Put a filter in place of what the stream's settings say (a function there always applies
    too), or with None take it away. Producers obey within about a second.

    filter_ is meant as a whole: includes alone let through only what they include.
    expected_version: only if the stream's still is this one, else StreamFilterChangedError.
    """
    wanted = None if filter_ is None else filter_.spelled_out()

    def changed(plain: Mapping[str, Any]) -> dict[str, Any]:
        if stream_id not in plain:
            raise UnknownStreamError(stream_id)
        version = plain[stream_id][0]
        if expected_version is not None and version != expected_version:
            raise StreamFilterChangedError(stream_id, expected_version, version)
        return {**plain, stream_id: (version + 1, None if wanted is None else plain_of(wanted))}

    return _change(journal, changed).filter_of(stream_id)


def _change(
    journal: Journal, change: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> StoredFilters:
    def apply(entry: Entry) -> tuple[Any, StoredFilters]:
        before = _read(entry)
        plain = change(before.plain)
        if plain == dict(before.plain):
            return entry.value, before
        size = len(msgpack.packb(plain))
        if size > FILTER_BYTES_MAX:
            raise FilterTooLargeError("bytes over all streams", size, FILTER_BYTES_MAX)
        return plain, StoredFilters(before.version + 1, plain)

    return change_entry(journal, ENTRY, apply)


def _read(entry: Entry) -> StoredFilters:
    value = {} if entry.value is None else entry.value
    if not isinstance(value, dict):
        raise InvalidFilterError("the journal's entry of stream filters", "it is no table")
    return StoredFilters(entry.version, value)

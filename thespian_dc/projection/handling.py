"""The hot loop: the events of a batch, one typed envelope at a time, through a handler.

What runs per event is one call of the payload's decoder, one Envelope and one call of the handler;
all else is per commit or per batch. Nothing of this knows where batches come from or how positions
are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, NamedTuple, Protocol, TypeGuard

import msgpack

from thespian_dc.codec.api import Registry
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import (
    CodecError,
    CorruptRecordError,
    PositionConflictError,
    ThespianDcError,
)
from thespian_dc.model.handler_errors import (
    GroupError,
    HandlerCrashedError,
    HandlingStoppedError,
    ParkedFullError,
)
from thespian_dc.model.record import CONTROL, shown_as
from thespian_dc.model.stream_errors import (
    HandlerError,
    PositionStoreError,
    UnknownEventError,
)
from thespian_dc.projection.api import CommitView, SourceBatch

_unpack = msgpack.unpackb
Fields = Sequence[Any]
_NO_FIELDS: Fields = ()


class Mark(Protocol):
    """What `handle` gets as its second argument; `fresh` is set before each event."""

    fresh: bool


_NOT_OF_THE_EVENT = (
    CorruptRecordError, PositionConflictError, PositionStoreError, GroupError, HandlerCrashedError,
    HandlingStoppedError, ParkedFullError,
)  # fmt: skip


class TransactionFull(Exception):  # noqa: N818  not an error: the event was taken
    """Raised by a delivery's `handle` behind the event that it took: the transaction ends here."""


Gate = Callable[[int, int, int, Fields], bool]
"""(slice, offset, time_us of the commit, fields of a Record) -> yes or no, asked once per event, in
order, right before it would be handled."""

Prepare = Callable[[Sequence[tuple[int, Fields]]], None]
"""(offset, fields of a Record) of all events of a commit that are asked about next."""


class Raised(NamedTuple):
    """A handler raised at this event. fields: of a Record, empty where the commit cannot be read.
    error: named; its __cause__ is what was raised."""

    slice: int
    offset: int
    time_us: int
    fields: Fields
    error: Exception


class Stopped(NamedTuple):
    """Handling ended before `offset`; the batch's events below it are handled. raised: None where
    only the time was over."""

    offset: int
    raised: Raised | None


class BatchHandler:
    """Decodes and handles batches of one projection. handle: the handler's `(envelope, tx)`."""

    __slots__ = (
        "_decode", "_entity_type", "_handle", "_opened", "_projection", "_records", "_tx",
    )  # fmt: skip

    def __init__(
        self,
        projection: str,
        entity_type: str,
        registry: Registry,
        handle: Callable[[Envelope[Any], Any], Any],
        tx: Mark,
    ) -> None:
        self._projection, self._entity_type = projection, entity_type
        self._decode, self._handle, self._tx = registry.decode, handle, tx
        # Handling stopped within this commit: it is not opened again for each of its events.
        self._opened: CommitView | None = None
        self._records: Sequence[Fields] = ()

    def handle(
        self,
        batch: SourceBatch,
        from_offset: int,
        until_s: float,
        takes: Gate | None = None,
        prepare: Prepare | None = None,
    ) -> Stopped | None:
        """Handle the events at offsets >= from_offset in order; None when all of them were.

        Stops after the event during which time.monotonic() passed until_s: a slow handler neither
        holds its transaction open for a whole batch nor repeats one after a crash. takes: events
        for which it says yes are not handled. prepare: told of a commit's events before that.
        """
        for commit in batch.commits:
            if commit.body and commit.end_offset > from_offset:
                stopped = self._handle_commit(
                    batch.slice, commit, from_offset, until_s, takes, prepare
                )
                if stopped is not None:
                    return stopped
        return None

    def _handle_commit(
        self,
        slice_: int,
        commit: CommitView,
        from_offset: int,
        until_s: float,
        takes: Gate | None,
        prepare: Prepare | None,
    ) -> Stopped | None:
        offset, fields = max(commit.first_offset, from_offset), _NO_FIELDS
        decode, handle, tx = self._decode, self._handle, self._tx
        entity_type, time_us = self._entity_type, commit.time_us
        decoding = True
        try:
            if self._opened is not commit:
                self._records = opened(commit, entity_type, slice_)
                self._opened = commit
            records = pairs_of(commit, self._records, from_offset)
            if prepare is not None:
                records = list(records)
                prepare(records)
            for offset, fields in records:
                tx.fresh = decoding = True
                if takes is not None and takes(slice_, offset, time_us, fields):
                    continue
                kind, entity_id, seq_nr, manifest, payload, tags, _, _, meta = fields
                if kind:
                    if kind == CONTROL:
                        continue
                    manifest, payload = shown_as(kind, manifest, payload, meta)
                event = Envelope(
                    decode(manifest, payload), entity_type, entity_id, seq_nr, slice_, offset,
                    time_us, tags, manifest, meta,
                )  # fmt: skip
                decoding = False
                handle(event, tx)
                if monotonic() > until_s:
                    return Stopped(offset + 1, None)
        except TransactionFull:
            return Stopped(offset + 1, None)
        except BaseException as error:  # noqa: BLE001 - handlers raise anything: sys.exit
            named = self._named(slice_, offset, fields, decoding, error)
            return Stopped(offset, Raised(slice_, offset, time_us, fields, named))
        self._opened, self._records = None, ()
        return None

    def _named(
        self, slice_: int, offset: int, fields: Fields, decoding: bool, error: BaseException
    ) -> Exception:
        if not_of_the_event(error):
            return error
        cause = f"{type(error).__name__}: {error}"
        named: ThespianDcError
        if decoding and not isinstance(error, CodecError):
            named = CorruptRecordError(self._entity_type, slice_, offset, "", cause)
        else:
            kind = UnknownEventError if decoding else HandlerError
            named = kind(self._projection, slice_, offset, fields[1], fields[2], cause)
        named.__cause__ = error
        return named


def not_of_the_event(error: BaseException) -> TypeGuard[Exception]:
    """Whether an error that came out of a handler's call is named already and not the event's: of
    the stored commit, the database at the handler's first statement, or the projection itself."""
    return isinstance(error, _NOT_OF_THE_EVENT)


def records_in(
    commit: CommitView, entity_type: str, slice_: int, from_offset: int
) -> Iterable[tuple[int, Fields]]:
    """(offset, fields of a Record) of what passes at offsets >= from_offset, in order.

    Raises CorruptRecordError where the body is not what the commit says.
    """
    return pairs_of(commit, opened(commit, entity_type, slice_), from_offset)


def opened(commit: CommitView, entity_type: str, slice_: int) -> Sequence[Fields]:
    """The fields of all its records. Raises CorruptRecordError."""
    try:
        records: Sequence[Fields] = _unpack(commit.body)
        whole = len(records) == (commit.end_offset - commit.first_offset)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise _corrupt(commit, entity_type, slice_, reason) from error
    if commit.kept and len(commit.kept) != len(records):
        raise _corrupt(commit, entity_type, slice_, "it does not hold what it says it kept")
    if not commit.kept and not whole:
        raise _corrupt(commit, entity_type, slice_, "it does not hold as many records as it says")
    return records


def pairs_of(
    commit: CommitView, records: Sequence[Fields], from_offset: int
) -> Iterable[tuple[int, Fields]]:
    """As `records_in`, of a commit that is open."""
    if commit.kept:
        offsets = [commit.first_offset + kept for kept in commit.kept]
        pairs = zip(offsets, records, strict=True)
        return [pair for pair in pairs if pair[0] >= from_offset]
    skipped = from_offset - commit.first_offset
    if skipped > 0:
        return enumerate(records[skipped:], from_offset)
    return enumerate(records, commit.first_offset)


def _corrupt(commit: CommitView, entity_type: str, slice_: int, reason: str) -> CorruptRecordError:
    return CorruptRecordError(entity_type, slice_, commit.first_offset, "", reason)

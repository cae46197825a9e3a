"""What a destination makes of a pushed batch: events under the ids, tags and payloads that its
transform gives them, each with where it came from. Pure but for that transform."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from thespian_dc.codec.api import Registry
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.ids import check_name
from thespian_dc.model.push_errors import DestinationTransformError
from thespian_dc.model.record import CHANGE_META, CONTROL, SNAPSHOT_META, shown_as
from thespian_dc.model.settings import Destination
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.model.user_code import RAISED
from thespian_dc.projection.api import SourceBatch, records_in
from thespian_dc.stream import push_core as key
from thespian_dc.wire.conversion import OFFSET_MAX, Offer

OF_SOURCE = (CHANGE_META, SNAPSHOT_META)
"""Keys in meta that say something of a record in its own log, and would be untrue in this one."""


class DestinationEvents:
    """Of one destination. Raises SettingsError for event types that cannot be registered."""

    def __init__(self, setting: Destination) -> None:
        self._setting, self._registry = setting, Registry(setting.events)

    def pushed(self, offer: Offer, batch: SourceBatch) -> list[key.Pushed]:
        """All that is to be stored of a batch, in order. DestinationTransformError names the event
        that cannot be; CorruptRecordError."""
        return list(self._pushed(offer, batch))

    def _pushed(self, offer: Offer, batch: SourceBatch) -> Iterator[key.Pushed]:
        slice_ = batch.slice
        for commit in batch.commits:
            if not commit.body:
                continue
            records = records_in(commit, offer.entity_type, slice_, batch.base_offset)
            for offset, fields in records:
                kind, entity_id, seq_nr, manifest, payload, tags, meta = _checked(fields)
                if kind == CONTROL:
                    continue
                manifest, payload = shown_as(kind, manifest, payload, meta)
                kept = {name: it for name, it in (meta or {}).items() if name not in OF_SOURCE}
                whole = {key.SNAPSHOT: True} if meta and SNAPSHOT_META in meta else {}
                came = {
                    **kept, **whole,
                    key.ORIGIN: offer.origin, key.STREAM: offer.stream_id,
                    key.JOURNAL: offer.journal_id, key.ENTITY_ID: entity_id,
                    key.SEQ_NR: seq_nr, key.SLICE: slice_, key.OFFSET: offset,
                    key.TIME_US: commit.time_us,
                }  # fmt: skip
                source = offer.origin, offer.stream_id, entity_id
                if self._setting.transform is None:
                    yield key.Pushed(entity_id, manifest, payload, tags, came, source, seq_nr)
                    continue
                event = Envelope[Any](
                    payload, offer.entity_type, entity_id, seq_nr, slice_, offset, commit.time_us,
                    list(tags), manifest, dict(came),
                )  # fmt: skip
                stored = self._transformed(offer, event)
                if stored is not None:
                    yield key.Pushed(*stored, came, source, seq_nr)

    def _transformed(
        self, offer: Offer, event: Envelope[Any]
    ) -> tuple[str, str, bytes, list[str]] | None:
        """(entity id, manifest, payload, tags); None where the event is left out."""
        setting, entity_id = self._setting, event.entity_id
        assert setting.transform is not None
        try:
            event.payload = self._registry.decode(event.manifest, event.payload)
            answer = setting.transform(event)
            if answer is None:
                return None
            if not isinstance(answer, Envelope):
                raise TypeError(f"transform returns an Envelope or None, not {answer!r}")
            check_name("entity_id", answer.entity_id)
            tags = list(answer.tags)
            if not all(isinstance(tag, str) for tag in tags):
                raise TypeError(f"tags must be texts, not {tags!r}")
            "".join([answer.entity_id, *tags]).encode()  # half a surrogate pair cannot be stored
            manifest, payload = self._registry.encode(answer.payload)
        except RAISED as error:
            raise DestinationTransformError(
                offer.stream_id, offer.origin, entity_id, event.slice, event.offset,
                f"{type(error).__name__}: {error}".rstrip(": "),
            ) from error  # fmt: skip
        return answer.entity_id, manifest, payload, tags


def _checked(fields: Any) -> tuple[int, str, int, str, bytes, list[str], dict[str, Any] | None]:
    """The fields of a record that another service sent; MalformedMessageError."""
    try:
        kind, entity_id, seq_nr, manifest, payload, tags, _, _, meta = fields[:9]
        check_name("entity_id", entity_id)
        right = (
            isinstance(kind, int) and isinstance(seq_nr, int) and 1 <= seq_nr <= OFFSET_MAX
            and isinstance(manifest, str) and isinstance(payload, bytes)
            and all(isinstance(tag, str) for tag in tags)
            and (meta is None or isinstance(meta, dict))
        )  # fmt: skip
    except (TypeError, ValueError, SettingsError) as error:
        raise MalformedMessageError("a pushed record", str(error)) from error
    if not right:
        raise MalformedMessageError("a pushed record", "a field is of a wrong kind")
    return kind, entity_id, seq_nr, manifest, payload, tags, meta

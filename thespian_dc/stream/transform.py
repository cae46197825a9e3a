"""What a stream shows of a commit: all of it as it is stored, or what its transform makes of each
event. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from thespian_dc.codec.api import Registry
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.record import (
    CHANGE_META,
    CONTROL,
    Commit,
    Record,
    pack_record,
    records_of,
    shown_as,
)
from thespian_dc.model.settings import Stream
from thespian_dc.model.stream_errors import TransformError
from thespian_dc.projection.api import CommitView

View = Callable[[Commit], CommitView]
_ARRAY32 = b"\xdd"
_unpack = msgpack.unpackb


def entity_type_of(stream: Stream) -> str:
    """The entity type a stream shows; SettingsError where its `entity` names none."""
    name = stream.entity if isinstance(stream.entity, str) else stream.entity.__dict__.get(
        "entity_type", getattr(stream.entity, "entity_type", "")
    )  # fmt: skip
    if not isinstance(name, str) or not name:
        raise SettingsError(f"stream {stream.stream_id}: {stream.entity!r} has no entity_type")
    return name


def view_for(stream: Stream) -> View:
    """How this stream sees commits. Raises SettingsError where a transform lacks what it decodes
    with."""
    if stream.transform is None:
        return whole_commit
    if isinstance(stream.entity, str):
        raise SettingsError(
            f"stream {stream.stream_id}: a transform needs the entity class, not its type's name, "
            "to decode the stored events"
        )
    events, states, upcasters = (
        getattr(stream.entity, name, ()) for name in ("events", "states", "upcasters")
    )
    types = dict.fromkeys([*events, *states])  # a durable state may have no change event
    stored, public = Registry(types, upcasters=upcasters), Registry(stream.events)
    return Transformed(stream.stream_id, stream.transform, stored, public).view


def whole_commit(commit: Commit) -> CommitView:
    """The stored bytes, undecoded."""
    return CommitView(
        commit.base_offset, commit.end_offset, commit.write_id, commit.time_us, commit.body
    )


class Transformed:
    """Decodes each event, asks the transform, and packs what it returned under the same ids and
    tags."""

    def __init__(
        self,
        stream_id: str,
        transform: Callable[[Envelope[Any]], Any],
        stored: Registry,
        public: Registry,
    ) -> None:
        self._stream_id, self._transform = stream_id, transform
        self._stored, self._public = stored, public

    def view(self, commit: Commit) -> CommitView:
        """What passes; TransformError names the event that could not be decoded, shown or
        encoded."""
        packed, kept = [], []
        for index, record in enumerate(records_of(commit)):
            if record.kind == CONTROL:
                continue
            shown = self._show(commit, commit.base_offset + index, record)
            if shown is not None:
                packed.append(shown)
                kept.append(index)
        body = b"".join((_ARRAY32, len(packed).to_bytes(4, "big"), *packed)) if packed else b""
        whole = len(kept) == commit.count
        return CommitView(
            commit.base_offset, commit.end_offset, commit.write_id, commit.time_us, body,
            () if whole else tuple(kept),
        )  # fmt: skip

    def _show(self, commit: Commit, offset: int, record: Record) -> bytes | None:
        key = commit.key
        try:
            manifest, stored = shown_as(record.kind, record.manifest, record.payload, record.meta)
            event = Envelope(
                self._stored.decode(manifest, stored), key.entity_type, record.entity_id,
                record.seq_nr, key.slice, offset, commit.time_us, list(record.tags), manifest,
                record.meta,
            )  # fmt: skip
            payload = self._transform(event)
            if payload is None:
                return None
            manifest, encoded = self._public.encode(payload)
        except Exception as error:
            raise TransformError(
                self._stream_id, record.entity_id, key.slice, offset,
                f"{type(error).__name__}: {error}",
            ) from error  # fmt: skip
        # Command ids, replies and unshown change events stay at home.
        meta = {name: it for name, it in (record.meta or {}).items() if name != CHANGE_META}
        shown = record._replace(manifest=manifest, payload=encoded, meta=meta or None)
        return pack_record(shown._replace(command_id="", reply=None))

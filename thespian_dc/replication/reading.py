"""Records of a peer's log as commands' contents for this replica's entities. Pure.

What a peer wrote itself is stored there in the short form; here its origin gets the peer's name,
its place in the peer's log and the mark of its commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgpack

from thespian_dc.entity.api import RemoteEvent, ReplicatedState
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.ids import check_name, slice_of
from thespian_dc.model.record import CONTROL, STATE, Record
from thespian_dc.model.replica_errors import ForeignOriginError
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
    NUMBER_MAX,
    ORIGIN_META,
    REFUSED_META,
    check_remote,
    generation_and_offset,
    mark_of,
    meta_of,
    offset_in_origin,
    read_state,
    remote_meta,
)
from thespian_dc.model.replication_handshake import OriginPositions
from thespian_dc.model.role_limits import check_epoch
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.projection.api import CommitView

Item = RemoteEvent | ReplicatedState
_unpack = msgpack.unpackb
_FIELDS = len(Record._fields)
_PLAIN_REMOTE = 5
"""Elements of a remote list that says nothing of what was concurrent at the peer."""


Claims = Mapping[str, OriginPositions]
"""By origin, how far this replica has the origin's own log."""
_NO_CLAIMS: Claims = {}


class PeerLog:
    """Reads one peer's records. generation: how often its log was restored from an older copy.
    without: the replica whose events are left out, "" for none, if they are of this life of its
    journal. origins: the replicas whose events it may show, None for all; may grow. epoch_max: none
    is above it."""

    def __init__(
        self, peer: str, generation: int = 0, without: str = "",
        origins: Collection[str] | None = None, life: int = 0, entity_type: str = "",
        epoch_max: int = NUMBER_MAX,
    ) -> None:  # fmt: skip
        self.peer, self.generation, self.without = peer, generation, without
        self._without_from = offset_in_origin(life, 0)
        self._origins = origins
        self._entity_type, self._epoch_max = entity_type, epoch_max

    def by_entity(
        self,
        commits: Iterable[CommitView],
        from_offset: int = 0,
        claims: Claims = _NO_CLAIMS,
    ) -> dict[str, list[Item]]:
        """What these commits hold at from_offset and above, by entity, each in the log's order.
        Events that `claims` covers are here and are left out, by the rule by which a sender does:
        it knew less when it sent them. MalformedMessageError, ReplicaMetaError where one cannot be
        read; ForeignOriginError, AheadOfTimeError."""
        found: dict[str, list[Item]] = {}
        generation, without = offset_in_origin(self.generation, 0), self.without
        without_from = self._without_from
        origins = self._origins
        for first, _, write_id, _, body, kept in commits:
            mark = mark_of(write_id)
            for index, fields in enumerate(self._records(body)):
                offset = first + (kept[index] if kept else index)
                if offset < from_offset:
                    continue
                kind, entity_id, seq_nr, manifest, payload, tags, _, _, meta = fields
                origin_offset = generation | offset
                if kind or not meta:
                    item = self._rare(fields, origin_offset, write_id)
                    if item is None:
                        continue
                else:
                    said = meta.get(ORIGIN_META)
                    # A second way to what meta_of and remote_meta make, for the two forms that
                    # nearly all records have: 0.4 us instead of 2.
                    elements = len(said) if type(said) is list else 0
                    if elements == 2 and type(said[0]) is int:
                        said = [self.peer, said[0], said[1], origin_offset, mark]
                    elif elements != _PLAIN_REMOTE or type(said[0]) is not str:
                        told = meta_of(meta, self.peer, seq_nr, origin_offset, write_id)
                        self._check_epoch(told.epoch)
                        said = remote_meta(told._replace(concurrent=False))
                    check_remote(said)
                    origin = said[0]
                    if (origin == without and said[3] >= without_from) or (
                        origin in claims and _covers(claims[origin], entity_id, said[3])
                    ):
                        continue
                    if origins is not None and origin not in origins:
                        self._check_origins(entity_id, [origin])
                    item = RemoteEvent(manifest, payload, tags, said)
                self._check_content(manifest, payload, tags)
                items = found.get(entity_id)
                if items is None:
                    self._check_entity_id(entity_id)
                    found[entity_id] = [item]
                else:
                    items.append(item)
        return found

    def _records(self, body: bytes) -> Any:
        try:
            records = _unpack(body) if body else ()
            if any(len(one) != _FIELDS for one in records):
                raise ValueError("a record has another number of fields")
            return records
        except Exception as error:
            raise MalformedMessageError(f"a commit of {self.peer}", str(error)) from error

    def _rare(self, fields: Any, origin_offset: int, write_id: bytes) -> Item | None:
        """A state, an event that the peer set aside, or one from before it was replicated; None for
        what is the peer's own business."""
        kind, entity_id, seq_nr, manifest, payload, tags, _, _, meta = fields
        said = (meta or {}).get(ORIGIN_META)
        if kind == STATE:
            return None if said is None else self.state(entity_id, manifest, payload, said)
        if kind == CONTROL and (said is None or manifest == FORKED_MANIFEST):
            return None
        told = meta_of(meta, self.peer, seq_nr, origin_offset, write_id)
        self._check_epoch(told.epoch)
        if told.origin == self.without and told.origin_offset >= self._without_from:
            return None
        self._check_origins(entity_id, [told.origin])
        form = remote_meta(told._replace(concurrent=False))
        check_remote(form)
        set_aside = kind == CONTROL and REFUSED_META not in meta
        return RemoteEvent(manifest, payload, tags, form, set_aside)

    def _check_content(self, manifest: Any, payload: Any, tags: Any) -> None:
        """What is stored here is read by others, who trust it."""
        if type(manifest) is not str or type(payload) is not bytes or type(tags) is not list:
            reason = "a manifest, a payload or tags are of another type"
        elif any(type(tag) is not str for tag in tags):
            reason = "a tag is no text"
        else:
            return
        raise MalformedMessageError(f"a commit of {self.peer}", reason)

    def _check_entity_id(self, entity_id: Any) -> None:
        try:
            check_name("entity id", entity_id)
        except SettingsError as error:
            raise MalformedMessageError(f"a commit of {self.peer}", str(error)) from error

    def _check_epoch(self, epoch: int) -> None:
        check_epoch(epoch, self._entity_type, self.peer, self._epoch_max)

    def _check_origins(self, entity_id: str, origins: Iterable[str]) -> None:
        for one in origins:
            if self._origins is not None and one not in self._origins:
                known = ", ".join(sorted(self._origins))
                raise ForeignOriginError(self.peer, entity_id, one, known)

    def state(self, entity_id: str, manifest: str, payload: bytes, said: Any) -> ReplicatedState:
        """A state of the peer's as a command; said: its `state_meta`. ForeignOriginError."""
        vector, tips, time_us, epoch, leader, aside = read_state(said)
        self._check_origins(entity_id, vector)
        self._check_epoch(epoch)
        slots, marks = dict(vector), dict(tips)
        return ReplicatedState(
            manifest, payload, slots, marks, time_us, epoch, self.peer, leader, aside
        )


def _covers(claim: OriginPositions, entity_id: str, origin_offset: int) -> bool:
    """What an origin wrote in another life of its journal is not judged by this one's positions."""
    generation, offset = generation_and_offset(origin_offset)
    offsets = claim.offsets
    return generation == claim.generation and offset < offsets[slice_of(entity_id, len(offsets))]

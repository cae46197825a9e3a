"""One replica that reads another's stream by hand: a log with events of several origins, and a link
that keeps what comes. Over real gRPC."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from tests.streams.material import ENTITY_TYPE, SLICES, Added, Writer
from thespian_dc.codec.api import Registry
from thespian_dc.model.criteria import UNFILTERED, VersionedFilter
from thespian_dc.model.ids import slice_of
from thespian_dc.model.position import Position
from thespian_dc.model.record import EVENT, Record
from thespian_dc.model.replication import (
    ORIGIN_META,
    ReplicaMeta,
    local_meta,
    meta_of,
    offset_in_origin,
    remote_meta,
)
from thespian_dc.model.replication_handshake import Known, ReplicaStart, ReplicaStarted
from thespian_dc.model.replication_settings import Peer, Replication, replica_stream_id
from thespian_dc.model.settings import Remote, Tls
from thespian_dc.projection.api import LookedUp, Lookup, LookUpFailed, SourceBatch, SourceEvents
from thespian_dc.stream.client import RemoteSource
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.lookups import EntityIds, EntityState

OWN, READER, THIRD = "eu", "us", "ap"
GROUP = (THIRD, OWN, READER)
STREAM = replica_stream_id(ENTITY_TYPE)
MANIFEST, PAYLOAD = Registry([Added]).encode(Added("apple", 1))


def replication(**changes: Any) -> Replication:
    """Of the replica whose stream it is."""
    settings: dict[str, Any] = {"peers": [Peer(READER), Peer(THIRD)], **changes}
    return Replication(ENTITY_TYPE, OWN, **settings)


class Log(Writer):
    """The log of OWN."""

    def wrote(self, *entity_ids: str, tags: Sequence[str] = ()) -> None:
        """Events of its own, one commit per slice."""
        records = [self._record(one, local_meta(1, {THIRD: 2})) for one in entity_ids]
        self.put([one._replace(tags=tags) for one in records])

    def took(
        self, origin: str, *placed: tuple[str, int], generation: int = 0, kind: int = EVENT
    ) -> None:
        """Events of another, at these offsets of its log."""
        records = []
        for entity_id, offset in placed:
            place = offset_in_origin(generation, offset)
            meta = remote_meta(ReplicaMeta(origin, offset + 1, {OWN: 1}, place, 7))
            records.append(self._record(entity_id, meta)._replace(kind=kind))
        self.put(records)

    def _record(self, entity_id: str, meta: list[Any]) -> Record:
        self.seq_nrs[entity_id] += 1
        metas = {ORIGIN_META: meta}
        return Record(EVENT, entity_id, self.seq_nrs[entity_id], MANIFEST, PAYLOAD, (), meta=metas)

    def head_of(self, entity_id: str) -> int:
        slice_ = slice_of(entity_id, SLICES)
        return next(head for key, head in self.heads.items() if key.slice == slice_)


class Came(NamedTuple):
    """An event that came: whose it is, where it stands here and in its origin's log."""

    entity_id: str
    offset: int
    meta: ReplicaMeta


def came_in(commits: Sequence[Any], base: int = 0, generation: int = 0) -> list[Came]:
    """As a receiver reads it; generation: of the sender's journal."""
    found = []
    for part in commits:
        records = msgpack.unpackb(part.body) if part.body else []
        for at, fields in zip(part.kept or range(len(records)), records, strict=True):
            record, offset = Record(*fields), part.first_offset + at
            if offset >= base:
                place = offset_in_origin(generation, offset)
                meta = meta_of(record.meta, OWN, record.seq_nr, place, part.write_id)
                found.append(Came(record.entity_id, offset, meta))
    return found


class Link:
    """A reader. known: what its ReplicaStart says it has; changes: of its ReplicaStart."""

    def __init__(
        self, port: int, tls: Tls | None = None, peer_id: str = OWN, replica: bool = True,
        stream_id: str = STREAM, **changes: Any,
    ) -> None:  # fmt: skip
        self.start = ReplicaStart(READER, ENTITY_TYPE, GROUP)._replace(**changes)
        self.said: list[ReplicaStarted] = []
        self.batches: list[SourceBatch] = []
        self.failed: list[Exception] = []
        call = ReplicaCall(lambda: self.start, peer_id, self.said.append)
        remote = Remote(stream_id, f"127.0.0.1:{port}", tls)
        self.source = RemoteSource(remote, "shop/us", 1000, call if replica else None)

    def open(
        self, positions: dict[int, Position] | None = None, wanted: VersionedFilter = UNFILTERED,
        journal_id: str = "",
    ) -> Link:  # fmt: skip
        events = SourceEvents(lambda _: None, self._take, lambda _: None, self.failed.append)
        self.source.start(journal_id, positions or {}, wanted, None, events)
        return self

    def _take(self, batch: SourceBatch) -> None:
        self.batches.append(batch)
        self.source.handled(batch)

    @property
    def came(self) -> list[Came]:
        return [one for batch in self.batches for one in came_in(batch.commits, batch.base_offset)]

    @property
    def entities(self) -> list[str]:
        return sorted(one.entity_id for one in self.came)

    @property
    def positions(self) -> dict[int, int]:
        return {batch.slice: batch.next_offset for batch in self.batches}

    @property
    def error(self) -> Exception | None:
        return self.failed[0] if self.failed else self.source.last_error

    def tell(self, known: Known) -> None:
        self.source.send_known(known)

    def look_up(self, entity_id: str) -> LookedUp:
        answer = self.events_of(entity_id)
        assert isinstance(answer, LookedUp), answer
        return answer

    def events_of(self, entity_id: str) -> LookedUp | Exception:
        lookup = Lookup(entity_id, slice_of(entity_id, SLICES), 1)
        answer = self._answered(lambda heard: self.source.look_up(lookup, heard))
        return answer.error if isinstance(answer, LookUpFailed) else answer

    def state_of(self, entity_id: str, fresh: bool = False) -> EntityState | Exception:
        answer = self._answered(lambda heard: self.source.entity_state(entity_id, fresh, heard))
        return answer.error if isinstance(answer, LookUpFailed) else answer

    def ids_of(self, slice_: int, after: str = "") -> EntityIds | Exception:
        answer = self._answered(lambda heard: self.source.entity_ids(slice_, after, heard))
        return answer.error if isinstance(answer, LookUpFailed) else answer

    def _answered(self, ask: Any) -> Any:
        answers: list[Any] = []
        there = threading.Event()

        def heard(answer: Any) -> None:
            answers.append(answer)
            there.set()

        ask(heard)
        assert there.wait(60), "no answer"
        return answers[0]


def ends_with(link: Link, kind: type[Exception]) -> Exception:
    """The error of this class that ends its calls."""
    eventually(lambda: link.error is not None)
    error = link.error
    assert type(error) is kind, error
    assert not link.batches
    return error

"""Replicas of entities in this process: a journal and a host each, and a log that others read.

`pull` takes the next records of a peer's log, in its order, and has this replica's entities take
them, as a link does. Cursors are kept in memory; where they are set back, duplicates come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thespian_dc.entity.protocol import (
    Absorbed,
    EntityRef,
    RemoteEvent,
    Replicated,
    ReplicatedState,
)
from thespian_dc.journal.api import Found
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import CONTROL, STATE, Record, records_of
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
    ORIGIN_META,
    REFUSED_META,
    Role,
    StateMeta,
    meta_of,
    read_state,
    remote_meta,
)
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Limits
from thespian_dc.testkit.local_entities import LocalEntities

ROUNDS_MAX = 50


class Replica:
    """One of them. Slices differ between replicas on purpose: nobody may rely on them."""

    def __init__(
        self,
        entity: Any,
        replica_id: str,
        all_ids: Sequence[str],
        *,
        slices: int = 2,
        limits: Limits | None = None,
        clock_us: int = 1_000_000,
        journal: Any = None,
        **settings: Any,
    ) -> None:
        peers = [Peer(one) for one in all_ids if one != replica_id]
        self.entity, self.id, self.slices = entity, replica_id, slices
        self.replication = Replication(entity, replica_id, peers, **settings)
        self.local = LocalEntities(
            entity, slices=slices, limits=limits, replication=[self.replication], journal=journal
        )
        self.local.now_us = clock_us
        self.local.restart()
        self.cursors: dict[tuple[str, int], int] = {}

    # --- commands ---
    def ask(self, message: Any, entity_id: str = "x", command_id: str = "") -> Any:
        return self.local.ask(self.entity, entity_id, message, command_id=command_id)

    def absorb(
        self, events: Sequence[RemoteEvent], entity_id: str = "x", peer: str = "peer"
    ) -> Absorbed:
        answer: Absorbed = self.ask(Replicated(tuple(events), peer), entity_id)
        return answer

    def restart(self) -> None:
        self.local.restart()

    def role(self, **facts: Any) -> None:
        role = Role(self.entity.entity_type, **facts)
        self.local.host.perform(self.local.host.core.on_role(role, self.local.now_us))

    # --- what is there ---
    def state(self, entity_id: str = "x") -> Any:
        """In memory, brought in where it is not."""
        self.ask(Replicated(()), entity_id)
        found = self.local.host.core.peek(self.ref(entity_id))
        assert found is not None
        return found[0]

    def content(self, entity_id: str = "x") -> StateMeta:
        self.ask(Replicated(()), entity_id)
        found = self.local.host.core.content(self.ref(entity_id))
        assert found is not None
        return found

    def vector(self, entity_id: str = "x") -> dict[str, int]:
        return dict(self.content(entity_id).vector)

    def ref(self, entity_id: str = "x") -> EntityRef:
        return EntityRef(self.entity.entity_type, entity_id)

    def key(self, entity_id: str = "x") -> SliceKey:
        types = self.local.host.core._hosted.types
        return self.local.host.core._hosted.slice_for(types[self.entity.entity_type], entity_id).key

    def records(self, entity_id: str = "x") -> list[Found]:
        return self.local.journal.read_entity(self.key(entity_id), entity_id)

    # --- the log as others see it ---
    def log(self, slice_: int, from_offset: int = 0) -> list[tuple[int, str, Any]]:
        """(offset, entity_id, RemoteEvent or ReplicatedState) of what others are to take."""
        found = []
        for commit in self.local.journal.read(
            SliceKey(self.entity.entity_type, slice_), from_offset, 1 << 30
        ):
            for index, record in enumerate(records_of(commit)):
                offset = commit.base_offset + index
                item = self._item(record, offset, commit.write_id)
                if offset >= from_offset and item is not None:
                    found.append((offset, record.entity_id, item))
        return found

    def events(self, entity_id: str = "x") -> list[Any]:
        """The log of one entity as others see it."""
        found = self.log(self.key(entity_id).slice)
        return [item for _, owner, item in found if owner == entity_id]

    def _item(self, record: Record, offset: int, write_id: bytes) -> Any:
        said = (record.meta or {}).get(ORIGIN_META)
        if record.kind == STATE:
            state = read_state(said)
            return ReplicatedState(
                record.manifest, record.payload, dict(state.vector), dict(state.tips),
                state.time_us, state.epoch, self.id, state.leader, state.aside,
            )  # fmt: skip
        if record.kind == CONTROL and (said is None or record.manifest == FORKED_MANIFEST):
            return None
        meta = meta_of(record.meta, self.id, record.seq_nr, offset, write_id)
        set_aside = record.kind == CONTROL and REFUSED_META not in (record.meta or {})
        form = remote_meta(meta._replace(concurrent=False))
        return RemoteEvent(record.manifest, record.payload, record.tags, form, set_aside)

    # --- a link ---
    def pull(self, peer: Replica, events_max: int = 1 << 30, skip_own: bool = True) -> int:
        """Take up to so many of the next events of each slice of the peer; how many came."""
        taken = 0
        for slice_ in range(peer.slices):
            place = (peer.id, slice_)
            left = events_max
            for offset, entity_id, item in peer.log(slice_, self.cursors.get(place, 0)):
                if left == 0:
                    break
                if not (skip_own and isinstance(item, RemoteEvent) and item.meta[0] == self.id):
                    is_state = isinstance(item, ReplicatedState)
                    message = item if is_state else Replicated((item,), peer.id)
                    answer = self.ask(message, entity_id)
                    if answer.reason in {"waits", "delayed"}:
                        break
                    taken += 1
                    left -= 1
                self.cursors[place] = offset + 1
        return taken


def group(entity: Any, *ids: str, **settings: Any) -> list[Replica]:
    """Replicas with these ids; the slice counts differ."""
    return [
        Replica(entity, one, ids, slices=1 << index, **settings) for index, one in enumerate(ids)
    ]


def settle(*replicas: Replica) -> None:
    """Everybody reads everybody until nothing comes any more."""
    pairs = [(one, other) for one in replicas for other in replicas if one is not other]
    for _ in range(ROUNDS_MAX):
        if not sum(one.pull(other) for one, other in pairs):
            return
    raise AssertionError("something comes again and again")

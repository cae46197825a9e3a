"""The other replicas of an entity under test: what they wrote, as it would come from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.hosted import HostedSlice
from thespian_dc.entity.instance import ReplicatedInstance
from thespian_dc.entity.protocol import Absorbed, RemoteEvent, Replicated
from thespian_dc.entity.replaying import replay
from thespian_dc.journal.api import Found
from thespian_dc.model.replication import ReplicaMeta, remote_meta
from thespian_dc.model.replication_errors import ReplicatedEntityFailedError


class Others:
    """All but `here`, each with what it had seen when it wrote last."""

    def __init__(self, here: str) -> None:
        self._here = here
        self._seen: dict[str, dict[str, int]] = {}

    def message(
        self,
        encoded: Sequence[tuple[str, bytes]],
        origin: str,
        vector: Mapping[str, int],
        concurrent: bool,
    ) -> Replicated:
        """Events that `origin` wrote one after the other. vector: what the entity here contains;
        concurrent: the origin has seen nothing of it that is new."""
        assert origin != self._here, "this replica's events are its commands'"
        if not concurrent:
            self._seen[origin] = {one: count for one, count in vector.items() if one != origin}
        others, first = self._seen.get(origin, {}), vector.get(origin, 0) + 1
        metas = [ReplicaMeta(origin, first + n, others, first + n, n) for n in range(len(encoded))]
        events = [
            RemoteEvent(*one, (), remote_meta(meta))
            for one, meta in zip(encoded, metas, strict=True)
        ]
        return Replicated(tuple(events), origin)


def outcome_of(absorbed: Absorbed, count: int, ref: str) -> Any:
    """None: all were taken and nobody needs to know anything; an error; or the whole answer."""
    for one in absorbed.listed:
        if one.what == "failed":
            return ReplicatedEntityFailedError(ref, one.text)
    if absorbed.error is not None:
        return absorbed.error
    return None if absorbed == Absorbed(count) else absorbed


def replayed(
    description: EntityType,
    actor: Any,
    slice_: HostedSlice,
    entity_id: str,
    records: Sequence[Found],
) -> Any:
    """The state after these records, from the start."""
    instance = ReplicatedInstance(description, entity_id, slice_)
    instance.actor, actor._entity = actor, instance
    instance.state = description.empty_state(actor)
    for found in records:
        instance.seq_nr = found.record.seq_nr
        replay(instance, found.record)
    assert not instance.failed, f"replay: {instance.failed}"
    return instance.state

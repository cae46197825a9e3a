"""From what a handler persisted to the state after it and the records of it. Pure.

Both kinds of entity share one path. Event-sourced: a record is an event, the state is the fold of
events. Durable state: a record carries the whole state (and may carry a change event in its meta),
and its seq_nr is the revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from thespian_dc.entity.entity_type import Encoded
from thespian_dc.entity.instance import Instance, ReplicatedInstance
from thespian_dc.entity.notes import plain_of_notes
from thespian_dc.entity.rows import Kept
from thespian_dc.model.entity_errors import ApplyEventReturnedNoneError
from thespian_dc.model.record import CHANGE_META, DELETED_MANIFEST, EVENT, STATE, pack_fields
from thespian_dc.model.replication import state_meta


class Recorded(NamedTuple):
    """One persisted event, or one durable state. payload: encoded when it was persisted.

    event: the event; for a durable state its change event, or None. change: that, encoded.
    """

    event: Any
    manifest: str
    payload: bytes
    state: Any = None
    change: Encoded | None = None


class Moved(NamedTuple):
    """first_seq_nr: of the first of the events. tags: of each, None where the class gives none.
    is_kept: a state row is due."""

    first_seq_nr: int
    tags: list[Sequence[str]] | None
    is_kept: bool


def move_on(instance: Instance, recorded: list[Recorded]) -> Moved:
    """Bring the instance to the state after `recorded`. What user code raises passes through; the
    instance must not be used any more then."""
    description, actor, state = instance.type, instance.actor, instance.state
    tags_for, snapshot_when = description.tags_for, description.snapshot_when
    first = seq_nr = instance.seq_nr + 1
    tags: list[Sequence[str]] | None = [] if tags_for else None
    is_kept = description.is_durable_state
    for one in recorded:
        state = one.state if description.is_durable_state else apply(instance, state, one.event)
        if tags is not None:
            assert tags_for is not None
            tags.append(checked_tags(tags_for(actor, state, one.event)))
        if snapshot_when is not None and snapshot_when(actor, state, one.event, seq_nr):
            is_kept = True
        seq_nr += 1
    instance.state, instance.seq_nr = state, seq_nr - 1
    every = description.snapshot_every
    if every and (first - 1) // every != instance.seq_nr // every:
        is_kept = True
    return Moved(first, tags, is_kept)


def apply(instance: Instance, state: Any, event: Any) -> Any:
    """The state after one event: live, on recovery and for events of other replicas."""
    description = instance.type
    assert description.apply_event is not None
    after = description.apply_event(instance.actor, state, event)
    if after is None:
        if not description.in_place:
            raise ApplyEventReturnedNoneError(description.cls.__qualname__, type(event).__name__)
        return state
    return after


def pack_records(
    instance: Instance,
    recorded: list[Recorded],
    moved: Moved,
    command_id: str,
    reply: bytes | None,
    metas: Sequence[dict[str, Any]] | None = None,
) -> tuple[bytes, ...]:
    """The records of one command; its id and reply stand on the first. metas: of each record, of a
    replicated entity."""
    kind = STATE if instance.type.is_durable_state else EVENT
    seq_nr, packed, tags = moved.first_seq_nr, [], moved.tags
    for index, (_, manifest, payload, _, change) in enumerate(recorded):
        meta = {CHANGE_META: list(change)} if change else None
        if metas is not None:
            meta = metas[index]
        packed.append(
            pack_fields((
                kind, instance.entity_id, seq_nr, manifest, payload,
                () if tags is None else tags[index], command_id, reply, meta,
            ))
        )  # fmt: skip
        seq_nr, command_id, reply = seq_nr + 1, "", None
    return tuple(packed)


def keep(instance: Instance, last: Recorded | None) -> Kept:
    """The state as it is now, encoded. CodecError where it cannot be stored. last: the record of a
    durable state."""
    if instance.type.is_durable_state:
        assert last is not None, "a durable state is its last record"
        state = Encoded(last.manifest, last.payload)
    else:
        state = instance.type.encode_state(instance.state)
    content = None
    if isinstance(instance, ReplicatedInstance):
        content = state_meta(instance.content, plain_of_notes(instance.notes))
    return Kept(instance.entity_id, instance.seq_nr, state, instance.known, content)


def deletion(empty: Any, change: Encoded | None, event: Any) -> Recorded:
    """The record that takes a durable state back to empty."""
    return Recorded(event, DELETED_MANIFEST, b"", empty, change)


def checked_tags(tags: Any) -> Sequence[str]:
    """Checked: a string is a sequence of strings too, and hardly ever meant as one."""
    listed = tuple(tags) if isinstance(tags, Iterable) and not isinstance(tags, str) else None
    if listed is None or not all(isinstance(one, str) for one in listed):
        raise TypeError(f"tags_for must return a list of strings, not {tags!r}")
    return listed

"""A replicated entity from its records: the state, and what it contains of each replica. Pure.

Laws:
- What it contains is counted over all records, also where its code cannot apply one of them. From
  there on its state is not to be trusted: the entity has failed, and takes no commands. Events of
  other replicas are stored all the same.
- A STATE record takes the place of all before it.
- `concurrent` is as it was when the event was applied first.
"""

from __future__ import annotations

from collections.abc import Mapping

from thespian_dc.entity.causality import comes_unaware, is_late, lacking
from thespian_dc.entity.instance import ReplicatedInstance
from thespian_dc.entity.notes import Note, Notes, noted, notes_from
from thespian_dc.entity.recording import apply
from thespian_dc.model.record import CONTROL, EVENT, STATE, Record
from thespian_dc.model.replication import (
    FORKED_MANIFEST,
    ORIGIN_META,
    REFUSED_META,
    STATE_NOTES,
    ReplicaMeta,
    StateMeta,
    meta_of,
    read_state,
)
from thespian_dc.model.user_code import RAISED


def own_id(instance: ReplicatedInstance) -> str:
    """The replica that this is."""
    replication = instance.type.replication
    assert replication is not None, "a host serves no replicated type without its setting"
    return replication.replica_id


def begin_from(instance: ReplicatedInstance, content: StateMeta | None, notes: Notes = ()) -> None:
    """It starts with a state row. content: None where it was not replicated when that was made:
    then all its records are this replica's."""
    instance.notes = notes
    instance.contains(content or StateMeta({own_id(instance): instance.seq_nr}, {}))


def replay(instance: ReplicatedInstance, record: Record) -> None:
    """One record, whose seq_nr follows. ReplicaMetaError where it does not say where it comes
    from."""
    own, kind = own_id(instance), record.kind
    said = None if record.meta is None else record.meta.get(ORIGIN_META)
    if kind == STATE:
        _replace(instance, record, read_state(said))
        instance.notes = notes_from(*(said or ())[STATE_NOTES]) or instance.notes
        return
    if kind == CONTROL and (said is None or record.manifest == FORKED_MANIFEST):
        if said is not None:
            instance.forked = (said[0], said[1])
        return
    meta = meta_of(record.meta, own, record.seq_nr, 0, b"")
    if kind == EVENT and not instance.failed:
        _apply(instance, record, meta)
    if meta.origin != own:
        _note(instance, record, meta)
    if instance.sets_aside and not instance.owed:
        leader, latest = (meta.epoch, meta.origin), (instance.epoch, instance.leader)
        seen = {**meta.others, meta.origin: meta.n}
        if comes_unaware(leader, latest, instance.vector, seen):
            instance.owed = (meta.origin, meta.n)  # unless a state follows that was made anew
    count(instance, meta.origin, meta.n, meta.time_us, meta.epoch, is_aside(record))
    if meta.origin != own:
        instance.tips[meta.origin] = meta.mark


def is_aside(record: Record) -> bool:
    """Does this event not count here? One that the class refused does, for nothing."""
    return record.kind == CONTROL and REFUSED_META not in (record.meta or {})


def count(
    instance: ReplicatedInstance,
    origin: str,
    n: int,
    time_us: int = 0,
    epoch: int = 0,
    aside: bool = False,
) -> None:
    """The state contains event n of `origin` now. aside: though it does not count."""
    if aside:
        instance.aside = {origin: n - 1, **instance.aside}
    elif origin in instance.aside:
        instance.aside = {one: last for one, last in instance.aside.items() if one != origin}
    instance.vector[origin] = n
    instance.time_us = max(instance.time_us, time_us)
    if epoch and (epoch, origin) > (instance.epoch, instance.leader):
        instance.epoch, instance.leader = epoch, origin


def note_event(instance: ReplicatedInstance, what: str, origin: str, n: int, epoch: int) -> None:
    """This was listed of it."""
    instance.notes = noted(instance.notes, Note(origin, n, n, what, epoch))


def forked_from(
    instance: ReplicatedInstance, origin: str, others: Mapping[str, int], epoch: int
) -> tuple[tuple[str, int, int], ...]:
    """Of an event that is about to be counted, if it is the first one of a later leader: the last
    event here, (replica, n, epoch), of each that had led before and of whom it had not seen all.
    epoch: 0 where it is not kept."""
    before = instance.leader
    if not before or not epoch or (epoch, origin) <= (instance.epoch, before):
        return ()
    return tuple(
        (replica, last, instance.epoch if replica == before else 0)
        for replica, first, last in lacking(instance.vector, others)
        if replica != origin
    )


def _note(instance: ReplicatedInstance, record: Record, meta: ReplicaMeta) -> None:
    """What was listed of it when it was taken, but for what failed."""
    origin, n, others, _, _, _, epoch, _ = meta
    late = is_late(epoch, origin, instance.epoch, instance.leader)
    if record.kind == CONTROL:
        is_refused = REFUSED_META in (record.meta or {})
        note_event(instance, "refused" if is_refused else "late_set_aside", origin, n, epoch)
    elif late:
        note_event(instance, "late", origin, n, epoch)
    for former, last, of_epoch in forked_from(instance, origin, others, epoch):
        note = Note(origin, n, n, "late", of_epoch, (former, last))
        instance.notes = noted(instance.notes, note)


def _apply(instance: ReplicatedInstance, record: Record, meta: ReplicaMeta) -> None:
    instance.origin, instance.concurrent, instance.recovering = meta.origin, meta.concurrent, True
    try:
        event = instance.type.registry.decode(record.manifest, record.payload)
        instance.state = apply(instance, instance.state, event)
    except RAISED as error:  # user code, or a type that this code does not know
        instance.failed = f"record {record.seq_nr}: {type(error).__name__}: {error}"
        note_event(instance, "failed", meta.origin, meta.n, meta.epoch)
    finally:
        instance.origin, instance.recovering = "", False


def _replace(instance: ReplicatedInstance, record: Record, content: StateMeta) -> None:
    instance.contains(content)
    instance.failed = ""
    try:
        instance.state = instance.type.decode_state(record.manifest, record.payload)
    except RAISED as error:  # user code, or a type that this code does not know
        instance.failed = f"record {record.seq_nr}: {type(error).__name__}: {error}"

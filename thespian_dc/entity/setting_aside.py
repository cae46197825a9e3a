"""A later leader had not seen events that are applied here: under `late_events="set_aside"` the
state is made anew without them. Pure.

Laws:
- Which events count is decided by the events that are here alone (causality.late_among). So all
  replicas that have the same ones come to the same, whatever each had applied before.
- The new state is a STATE record: replay begins there, whatever is trimmed or set later.
- It is made from the events that count, in the order of this log, and `concurrent` is judged among
  them. Where the log does not hold all of them, or the code cannot apply or store them, the state
  stays as it is, and what should have been set aside is listed as late. Where replay finds that it
  still is as it was, it is tried once more, before the next command.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from thespian_dc.entity.causality import comes_unaware, is_late, late_among
from thespian_dc.entity.instance import ReplicatedInstance
from thespian_dc.entity.intake import Intake, epoch_of
from thespian_dc.entity.protocol import RemoteEvent
from thespian_dc.entity.recording import apply
from thespian_dc.entity.replaying import is_aside
from thespian_dc.model.record import Record
from thespian_dc.model.replication import REFUSED_META, ReplicaMeta
from thespian_dc.model.user_code import RAISED

Placed = tuple[ReplicaMeta, Record]
Names = Collection[tuple[str, int]]
"""(origin, n) of events."""


def leads(instance: ReplicatedInstance, fields: Sequence[Any]) -> bool:
    """Is this event of a later leader than all that are here?"""
    epoch = epoch_of(fields)
    return epoch > 0 and (epoch, fields[0]) > (instance.epoch, instance.leader)


def wanted_to_remake(
    instance: ReplicatedInstance, events: Sequence[RemoteEvent]
) -> tuple[tuple[str, int, int], ...]:
    """(origin, first, last) of all events here, where one of `events` is a later leader's first and
    lacks some of what is here by then; (): what the log says is not needed."""
    if not instance.sets_aside or not any(leads(instance, one.meta) for one in events):
        return ()
    here, latest = dict(instance.vector), (instance.epoch, instance.leader)
    for event in events:
        origin, n, others, *_ = fields = event.meta
        leader = epoch_of(fields), origin
        if comes_unaware(leader, latest, here, {**others, origin: n}):
            return all_of(instance)
        if leader[0]:
            latest = max(latest, leader)
        here[origin] = max(n, here.get(origin, 0))
    return ()


def all_of(instance: ReplicatedInstance) -> tuple[tuple[str, int, int], ...]:
    """(origin, first, last) of all events here."""
    return tuple((one, 1, count) for one, count in instance.vector.items() if count)


def remake(instance: ReplicatedInstance, intake: Intake, by: tuple[str, int]) -> str:
    """Event `by`, (origin, n), is a later leader's first, and was counted. Make the state anew if
    other events count since, and list them. Why that cannot be done, or ""."""
    retraced = instance.retraced
    events = [*(() if retraced is None else retraced.found), *intake.taken()]
    metas = [meta for meta, _ in events]
    if len({(one.origin, one.n) for one in metas}) != sum(instance.vector.values()):
        return "the log does not hold all events of the entity"
    at = next(index for index, one in enumerate(metas) if (one.origin, one.n) == by)
    before, after = late_among(metas[:at]), late_among(metas)
    before.update((one.origin, one.n) for one, record in events[at:] if is_aside(record))
    if before == after:
        return ""
    instance.recovering = True
    try:
        counting = [one for one in events if (one[0].origin, one[0].n) not in after]
        empty = instance.type.empty_state(instance.actor)
        state, counted = folded(instance, empty, {}, counting)
        encoded = instance.type.encode_state(state)
    except RAISED as error:  # user code, or a type that this code does not know
        return f"{type(error).__name__}: {error}"
    finally:
        instance.origin, instance.recovering = "", False
    leader = metas[at]
    epochs = {(one.origin, one.n): one.epoch for one in metas}
    for what, changed in (("late", before - after), ("late_set_aside", after - before)):
        for origin, first, last in _runs(changed):
            intake.decided(what, leader, (origin, first, last), epochs[origin, last])
    aside = aside_of(instance.vector, counted)
    intake.state(state, encoded, instance.content._replace(aside=aside))
    return ""


def counts(instance: ReplicatedInstance, leader: tuple[int, str], meta: ReplicaMeta) -> bool:
    """Does this event count beside a state that lacks it and has one of this leader's?"""
    return not (instance.sets_aside and is_late(meta.epoch, meta.origin, *leader))


def folded(
    instance: ReplicatedInstance, state: Any, last: Mapping[str, int], events: Sequence[Placed]
) -> tuple[Any, dict[str, int]]:
    """The state with these events on top, in order, and the last of each replica that counts then.
    last: those of the state. What user code raises passes through."""
    here = dict(last)
    for meta, record in events:
        instance.origin = meta.origin
        instance.concurrent = any(
            n > meta.others.get(one, 0) for one, n in here.items() if one != meta.origin
        )
        here[meta.origin] = meta.n
        if REFUSED_META not in (record.meta or {}):
            event = instance.type.registry.decode(record.manifest, record.payload)
            state = apply(instance, state, event)
    return state, here


def aside_of(vector: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    """`aside` of a state that contains `vector`, where these are the last that count."""
    return {one: last.get(one, 0) for one, n in vector.items() if last.get(one, 0) < n}


def _runs(names: Names) -> Iterator[tuple[str, int, int]]:
    """(origin, first, last) of those that follow each other."""
    for origin, of_one in groupby(sorted(names), itemgetter(0)):
        numbers = [n for _, n in of_one]
        for _, run in groupby(enumerate(numbers), lambda at: at[1] - at[0]):
            found = [n for _, n in run]
            yield origin, found[0], found[-1]

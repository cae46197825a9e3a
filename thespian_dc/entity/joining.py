"""A state of a peer and this entity's own become one: the peer has trimmed the events that led to
it. Pure.

Laws:
- A state is never stored as it came where this replica has events that it lacks: they are applied
  on top, in the order of this log, and are concurrent with what counts in it. The vector of what
  is stored covers both. Those that a later leader, of whom it has something, had not seen are late:
  as in intake.py.
- What it lacks and this log has no more cannot be applied: nothing is stored then, and the state
  waits, under a named error, until one comes that has it. So does one that code cannot read or
  join, until there is code that can: what is passed by is asked for by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

from thespian_dc.entity.causality import lacking
from thespian_dc.entity.entity_type import Encoded
from thespian_dc.entity.instance import ReplicatedInstance
from thespian_dc.entity.intake import Intake
from thespian_dc.entity.protocol import Absorbed, ReplicatedState
from thespian_dc.entity.replaying import is_aside, own_id
from thespian_dc.entity.setting_aside import aside_of, counts, folded
from thespian_dc.model.record import Record
from thespian_dc.model.replication import ReplicaMeta, StateMeta
from thespian_dc.model.replication_errors import (
    OriginForkedError,
    OwnEventsTrimmedError,
    ReplicatedEntityFailedError,
)
from thespian_dc.model.user_code import RAISED
from thespian_dc.model.vector import covers, merged


def wanted_for(
    instance: ReplicatedInstance, theirs: ReplicatedState
) -> tuple[tuple[str, int, int], ...]:
    """(origin, first, last) of the events here that must be read to join the two."""
    if covers(instance.vector, theirs.vector):
        return ()
    return lacking(instance.vector, theirs.vector)


def join(instance: ReplicatedInstance, theirs: ReplicatedState, intake: Intake) -> Absorbed:
    """Take over a state; `instance.retraced` has what `wanted_for` asks for."""
    for origin, mark in theirs.tips.items():
        same = theirs.vector.get(origin) == instance.vector.get(origin)
        if same and instance.tips.get(origin, mark) != mark:
            error = OriginForkedError(str(instance.ref), origin, instance.vector[origin])
            fields = [origin, instance.vector[origin], {}, 0, mark]
            intake.fork(fields, str(error))
            return Absorbed(0, "set_aside", listed=tuple(intake.listed), error=error)
    if covers(instance.vector, theirs.vector):
        return Absorbed(1)
    late: list[ReplicaMeta] = []
    last: Mapping[str, int] = {**theirs.vector, **theirs.aside}
    on_top = _on_top(instance, theirs)
    if isinstance(on_top, OwnEventsTrimmedError):
        # The peer may take them first, from the state here: then its own has them.
        return Absorbed(0, "waits", missing=(on_top.replica, on_top.n), error=on_top)
    try:
        state = instance.type.decode_state(theirs.manifest, theirs.payload)
        encoded = Encoded(theirs.manifest, theirs.payload)
        if on_top:
            leader = theirs.epoch, theirs.leader
            late = [meta for meta, _ in on_top if not counts(instance, leader, meta)]
            counting = [one for one in on_top if one[0] not in late and not is_aside(one[1])]
            state, last = folded(instance, state, last, counting)
            encoded = instance.type.encode_state(state)
    except RAISED as error:  # user code, or a type that this code does not know
        cause = f"a state of {theirs.peer}: {type(error).__name__}: {error}"
        failed = ReplicatedEntityFailedError(str(instance.ref), cause)
        return Absorbed(0, "waits", error=failed)
    finally:
        instance.origin = ""
    for meta in late:
        intake.set_aside(meta)
    intake.state(state, encoded, _joined(instance, theirs, last))
    return Absorbed(1, listed=tuple(intake.listed))


def _on_top(
    instance: ReplicatedInstance, theirs: ReplicatedState
) -> list[tuple[ReplicaMeta, Record]] | OwnEventsTrimmedError:
    """The events that it lacks, in the order of this log."""
    wanted = lacking(instance.vector, theirs.vector)
    if not wanted:
        return []
    found = [] if instance.retraced is None else instance.retraced.found
    there = {(meta.origin, meta.n) for meta, _ in found}
    for origin, first, last in wanted:
        for n in range(first, last + 1):
            if (origin, n) not in there:
                return OwnEventsTrimmedError(str(instance.ref), origin, n)
    return found


def _joined(
    instance: ReplicatedInstance, theirs: ReplicatedState, last: Mapping[str, int]
) -> StateMeta:
    mine = instance.content
    vector = merged(mine.vector, theirs.vector)
    tips = {
        origin: mark
        for content in (mine, theirs)
        for origin, mark in content.tips.items()
        if content.vector[origin] == vector[origin] and origin != own_id(instance)
    }
    epoch, leader = max((mine.epoch, mine.leader), (theirs.epoch, theirs.leader))
    return StateMeta(
        vector,
        tips,
        max(mine.time_us, theirs.time_us),
        epoch,
        leader,
        aside_of(vector, last),
    )

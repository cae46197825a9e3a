"""Up to where a slice's log may be deleted, so that nobody misses it. `limit_of` is pure; the rest
reads the journal, and `trim` deletes.

A record may go when all of these have passed it:
- every replica that stays, as it last said of this log in its present generation. One that never
  said anything holds all of it: it may come, and would begin at the first record.
- every projection that was seen to read this log, at the position where it last began; one that was
  not seen for a while counts no more. Where its own database says how far it is, that counts.
- a stored state of its entity: what is below it is in the state. An entity without one holds its
  slice from its first record on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from thespian_dc.entity.api import Seen, seen_by
from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import TrimmedError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import records_of
from thespian_dc.model.roles import Roles
from thespian_dc.projection.api import (
    CONSUMER_DAYS,
    DAY_US,
    Consumer,
    Held,
    Trimmed,
    held_by,
    lowest,
    waited_for,
)
from thespian_dc.replication.retirement import staying
from thespian_dc.stream.lookups import first_offset

READ_BYTES = 1 << 20
HELD_MAX = 20


def limit_of(
    slice_: int, head: int, generation: int, replicas: Mapping[str, Seen | None],
    consumers: Iterable[Consumer], since_us: int,
) -> tuple[int, list[Held]]:  # fmt: skip
    """The offset that all have passed, and who holds it below the head.

    replicas: of those that stay and are others, what each last said. generation: of this log.
    consumers that did not begin since since_us count no more.
    """
    held = []
    for replica, seen in replicas.items():
        known = seen is not None and seen.generation == generation and slice_ < len(seen.offsets)
        offset = seen.offsets[slice_] if seen is not None and known else 0
        who = (
            f"replica {replica}" if known else f"replica {replica}, which never said how far it is"
        )
        held.append(Held(slice_, who, offset))
    return lowest(head, [*held, *held_by(slice_, consumers, since_us)])


def uncovered(
    journal: Journal, key: SliceKey, from_: int, until: int, limit: int
) -> list[tuple[int, str]]:
    """(offset, entity) of the first record from `from_` on and below `until` that is in no stored
    state of its entity, in order, of at most `limit` entities. Reads the log."""
    at, found = from_, dict[str, int]()
    while at < until and len(found) < limit:
        try:
            commits = journal.read(key, at, READ_BYTES)
        except TrimmedError as trimmed:  # by another at this moment: states contain what is gone
            at = trimmed.trimmed_to
            continue
        if not commits:
            break
        offsets: dict[str, list[int]] = {}
        for commit in commits:
            for number, record in enumerate(records_of(commit)):
                if record.entity_id not in found:
                    offset = commit.base_offset + number
                    offsets.setdefault(record.entity_id, []).append(offset)
        states = journal.read_states(key, list(offsets))
        for entity_id, own in offsets.items():
            state = states.get(entity_id)
            through = -1 if state is None else state.offset
            first = next((one for one in own if through < one < until), None)
            if first is not None:
                found[entity_id] = first
        at = commits[-1].end_offset
    return sorted((offset, entity_id) for entity_id, offset in found.items())[:limit]


def covered(journal: Journal, key: SliceKey, from_: int, until: int) -> tuple[int, list[Held]]:
    """The offset below which each record from `from_` on is in a stored state of its entity, at
    most `until`; and the entities that hold it, if any do."""
    found = uncovered(journal, key, from_, until, HELD_MAX)
    held = [Held(key.slice, f"entity {id_}, of which no state is stored", at) for at, id_ in found]
    return (found[0][0] if found else until), held


class Limits(NamedTuple):
    """Who is waited for: see `trim`."""

    group: Sequence[str]
    without: Sequence[str] = ()
    positions: Mapping[str, Mapping[int, int]] = {}
    consumer_days: float = CONSUMER_DAYS


def limits_of(
    journal: Journal, entity_type: str, roles: Roles, of: Limits, now_us: int
) -> dict[SliceKey, tuple[int, int, list[Held]]]:
    """By slice: the head, the offset that all have passed, and who holds it there."""
    others = staying(roles, of.group) - {roles.replica_id, *of.without}
    replicas = {one: seen_by(journal, entity_type, one) for one in sorted(others)}
    consumers = waited_for(journal, entity_type, of.positions, of.without, now_us)
    since_us = now_us - int(of.consumer_days * DAY_US)
    found = {}
    for slice_ in range(journal.slice_counts()[entity_type]):
        key = SliceKey(entity_type, slice_)
        head = journal.find_head(key).head
        until, held = limit_of(slice_, head, roles.generation, replicas, consumers, since_us)
        found[key] = head, until, held
    return found


def lacking_states(
    journal: Journal, limits: Mapping[SliceKey, tuple[int, int, list[Held]]], limit: int
) -> list[str]:
    """Entities that hold their slices because no state of them is stored, at most `limit`."""
    ids: list[str] = []
    for key, (_, until, _) in limits.items():
        left = limit - len(ids)
        if left > 0:
            found = uncovered(journal, key, first_offset(journal, key), until, left)
            ids += [entity_id for _, entity_id in found]
    return ids


def trim(
    journal: Journal,
    limits: Mapping[SliceKey, tuple[int, int, list[Held]]],
    dry_run: bool = False,
) -> list[Trimmed]:
    """Delete from each slice what nobody misses any more; a row per slice. Another may do the same
    at this moment: who comes later finds less to delete."""
    rows = []
    for key, (head, limit, holders) in limits.items():
        before = first_offset(journal, key)
        until, entities = covered(journal, key, before, limit)
        after = max(before, until)
        if until > before and not dry_run:
            after = journal.trim(key, until)
        left = (one for one in entities if one.offset >= after)  # another may have trimmed more
        held = [*(one for one in holders if one.offset <= until), *left]
        rows.append(Trimmed(key.slice, before, after, head, tuple(held[:HELD_MAX])))
    return rows

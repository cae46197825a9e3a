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
from thespian_dc.projection.api import Consumer, noted_consumers
from thespian_dc.replication.retirement import staying

READ_BYTES = 1 << 20
HELD_MAX = 20
CONSUMER_DAYS = 7.0
DAY_US = 24 * 3600 * 1_000_000


class Held(NamedTuple):
    """What keeps a slice from being trimmed further: `by` stands at `offset`."""

    slice: int
    by: str
    offset: int


class Trimmed(NamedTuple):
    """Of one slice. before, after: its trim mark, the first offset that is there. head: its end.
    held: what kept it from more, the lowest first; empty where nothing but the head did."""

    slice: int
    before: int
    after: int
    head: int
    held: tuple[Held, ...]


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
    held += [
        Held(slice_, consumer.name, consumer.offsets[slice_])
        for consumer in consumers
        if consumer.time_us >= since_us and slice_ in consumer.offsets
    ]
    held = sorted((one for one in held if one.offset < head), key=lambda one: one.offset)
    return (held[0].offset if held else head), held


def covered(journal: Journal, key: SliceKey, from_: int, until: int) -> tuple[int, list[Held]]:
    """The offset below which each record from `from_` on is in a stored state of its entity, at
    most `until`; and the entities that hold it, if any do. Reads the log."""
    at, limit = from_, until
    held: dict[str, int] = {}
    while at < limit:
        commits = journal.read(key, at, READ_BYTES)
        if not commits:
            break
        offsets: dict[str, list[int]] = {}
        for commit in commits:
            for number, record in enumerate(records_of(commit)):
                offsets.setdefault(record.entity_id, []).append(commit.base_offset + number)
        states = journal.read_states(key, list(offsets))
        for entity_id, own in offsets.items():
            state = states.get(entity_id)
            through = -1 if state is None else state.offset
            open_ = [one for one in own if through < one < limit]
            if open_:
                held.setdefault(entity_id, open_[0])
        if held:
            limit = min(limit, *held.values())
        at = commits[-1].end_offset
    found = sorted(held.items(), key=lambda one: one[1])[:HELD_MAX]
    return limit, [
        Held(key.slice, f"entity {id_}, of which no state is stored", o) for id_, o in found
    ]


def trim(
    journal: Journal, entity_type: str, roles: Roles, group: Sequence[str], now_us: int,
    without: Sequence[str] = (), positions: Mapping[str, Mapping[int, int]] | None = None,
    consumer_days: float = CONSUMER_DAYS, dry_run: bool = False,
) -> list[Trimmed]:  # fmt: skip
    """Delete from each slice what nobody misses any more; a row per slice.

    group: all ids of the settings. without: replicas and consumers that are not waited for.
    positions: by `service/projection`, as its own database has them; they take the place of what
    was noted of it.
    """
    others = staying(roles, group) - {roles.replica_id, *without}
    replicas = {one: seen_by(journal, entity_type, one) for one in sorted(others)}
    consumers = noted_consumers(journal, entity_type)
    for name, offsets in (positions or {}).items():
        consumers = [one for one in consumers if not one.name.endswith(f" {name}")]
        consumers.append(Consumer(f"projection {name}", now_us, offsets))
    waited_for = [one for one in consumers if one.name not in without]
    since_us = now_us - int(consumer_days * DAY_US)
    rows = []
    for slice_ in range(journal.slice_counts()[entity_type]):
        key = SliceKey(entity_type, slice_)
        head, before = journal.find_head(key).head, trim_mark(journal, key)
        until, held = limit_of(slice_, head, roles.generation, replicas, waited_for, since_us)
        until, entities = covered(journal, key, before, until)
        after = before
        if until > before and not dry_run:
            after = journal.trim(key, until)
        elif dry_run:
            after = max(before, until)
        held = [*(one for one in held if one.offset <= until), *entities]
        rows.append(Trimmed(slice_, before, after, head, tuple(held[:HELD_MAX])))
    return rows


def trim_mark(journal: Journal, key: SliceKey) -> int:
    """The first offset that is there."""
    try:
        journal.read(key, 0, bytes_max=1)
    except TrimmedError as trimmed:
        return trimmed.trimmed_to
    return 0

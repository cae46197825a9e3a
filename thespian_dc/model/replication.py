"""What a record says of the replica that wrote it, and what a state says of all of them. Pure; this
is the stored format.

In the meta of a record, under "r", stands a list:
- written here:     [n, others] or [n, others, time_us, epoch]
- by another:       [origin, n, others, origin_offset, mark], one more element `concurrent` where it
                    is 1; with a time or an epoch [origin, n, others, origin_offset, mark, time_us,
                    epoch], and again one more where it is concurrent
- of a state:       [vector, tips, time_us, epoch, leader], in a STATE record and in a state row;
                    one more element, its notes (entity/notes.py), where there are any; and again
                    one, `aside`, where something is set aside: then also notes that are empty
A record without it was written here before its entity was replicated: n is its seq_nr.

Lists and not keys: with 3 replicas of two letters whose slots are above 10^6 this adds 25 bytes to
a record written here, and 38 to another's; an epoch adds 2 to either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from thespian_dc.model.replication_errors import ReplicaMetaError

ORIGIN_META = "r"
"""In the meta of a record of a replicated entity: where it comes from."""
OFFSET_BITS = 40
NUMBER_MAX = (1 << 63) - 1
"""Of a count, an offset, a time, an epoch: one more of any is still a number that can be stored."""
REFUSED_META = "refused"
"""1 in the meta of a CONTROL record: this replica's class refused the event; others may take it."""
FORKED_MANIFEST = "$forked"
"""Of the CONTROL record by which a replica sets an entity aside; its meta holds, under "r", what
it met: the other's [origin, n, others, origin_offset, mark]."""


STATE_FIELDS = 5
STATE_NOTES = slice(STATE_FIELDS, STATE_FIELDS + 1)
"""Where the notes stand in the list of a state: they are its replica's own business."""


class ReplicaMeta(NamedTuple):
    """Where an event comes from.

    n: the origin's own count for this entity: 1, 2, 3, … without jumps. others: the other slots of
    the origin's vector when it wrote, never merged with anybody's; slots of 0 are left out.
    origin_offset: its place in the origin's own log (`offset_in_origin`). mark: of the origin's
    commit (`mark_of`). time_us: the entity's time where the handler asked for it, else 0.
    epoch: of being active, 0 where all are. concurrent: the replica that holds this record had
    something that the origin had not when it wrote.
    """

    origin: str
    n: int
    others: Mapping[str, int]
    origin_offset: int
    mark: int
    time_us: int = 0
    epoch: int = 0
    concurrent: bool = False


class StateMeta(NamedTuple):
    """What a state contains. vector: by replica, how many of its events. tips: by replica but the
    own, the mark of its last event. time_us: the greatest time among them. epoch, leader: the
    greatest epoch among them, and who wrote under it. aside: of replicas whose last events are set
    aside, which of their events is the last that counts; 0: none does."""

    vector: Mapping[str, int]
    tips: Mapping[str, int]
    time_us: int = 0
    epoch: int = 0
    leader: str = ""
    aside: Mapping[str, int] = {}


class Role(NamedTuple):
    """What a replica is allowed at present, for one entity type.

    epoch: rises with each promotion; 0: all replicas are active, always. active: above that, the
    replica that handles commands; "": none does. retired: replicas whose slots are not waited for
    any more. closed: why this replica handles no commands at all, "" where it does: "recovering"
    (its journal is an older copy, and it fetches what it lost), "retiring", "retired".
    """

    entity_type: str
    epoch: int = 0
    active: str = ""
    retired: frozenset[str] = frozenset()
    closed: str = ""


class Listed(NamedTuple):
    """Something about one event that people should know of.

    what: "late" (written by a replica that somebody else had replaced as the active one; applied as
    concurrent, or counts again), "late_set_aside" (stored, and not in the state), "forked",
    "refused" (by the class; stored, not applied), "failed" (stored; the entity's code raised).
    epoch: under which it was written; 0: under none, or that is not kept. text: the cause, or "".
    """

    what: str
    entity_id: str
    origin: str
    n: int
    epoch: int
    text: str = ""


def mark_of(write_id: bytes) -> int:
    """Tells two commits of one origin apart that claim the same events: a uint32."""
    return crc32(write_id)


def offset_in_origin(generation: int, offset: int) -> int:
    """An offset in a log that was restored `generation` times from an older copy. Offsets of a
    later generation are greater."""
    return generation << OFFSET_BITS | offset


def generation_and_offset(origin_offset: int) -> tuple[int, int]:
    """What `offset_in_origin` got."""
    return origin_offset >> OFFSET_BITS, origin_offset & (1 << OFFSET_BITS) - 1


# --- stored forms ---
def local_meta(n: int, others: Mapping[str, int], time_us: int = 0, epoch: int = 0) -> list[Any]:
    """The list of an event written here. others: without the own slot and slots of 0."""
    return [n, others, time_us, epoch] if time_us or epoch else [n, others]


def remote_meta(meta: ReplicaMeta) -> list[Any]:
    """The list of an event of another replica: also what travels."""
    origin, n, others, origin_offset, mark, time_us, epoch, concurrent = meta
    fields = [origin, n, others, origin_offset, mark]
    if time_us or epoch:
        fields += (time_us, epoch)
    if concurrent:
        fields.append(1)
    return fields


def state_meta(meta: StateMeta, notes: Sequence[Any] = ()) -> list[Any]:
    """The list of a state. notes: in their stored form."""
    fields = [dict(meta.vector), dict(meta.tips), meta.time_us, meta.epoch, meta.leader]
    if notes or meta.aside:
        fields.append(list(notes))
    if meta.aside:
        fields.append(dict(meta.aside))
    return fields


def read_remote(fields: Any) -> ReplicaMeta:
    """What `remote_meta` made. ReplicaMetaError where it is none."""
    try:
        return _checked(_read_remote(fields))
    except (ValueError, TypeError, AttributeError) as error:
        raise ReplicaMetaError(repr(fields)[:200], str(error)) from error


def check_remote(fields: Sequence[Any]) -> None:
    """ReplicaMetaError for a list in the form of `remote_meta`, without `concurrent`, that no
    replica writes."""
    try:
        _check(*fields)
    except (ValueError, TypeError) as error:
        raise ReplicaMetaError(repr(fields)[:200], str(error)) from error


def read_state(fields: Any) -> StateMeta:
    """What `state_meta` made. ReplicaMetaError where it is none."""
    try:
        vector, tips, time_us, epoch, leader = fields[:STATE_FIELDS]
        aside = fields[STATE_FIELDS + 1] if len(fields) > STATE_FIELDS + 1 else {}
        for slots in (vector, tips, aside):
            _check_slots(slots)
        if not tips.keys() <= vector.keys():
            raise ValueError("it knows the last event of a replica of which it contains none")
        if not (0 <= time_us <= NUMBER_MAX and 0 <= epoch <= NUMBER_MAX):
            raise ValueError("its time and its epoch must be 0 to 2^63 - 1")
        if any(n >= vector.get(replica, 0) for replica, n in aside.items()):
            raise ValueError("it sets more aside than it contains")
        return StateMeta(vector, tips, int(time_us), int(epoch), str(leader), aside)
    except (ValueError, TypeError, AttributeError) as error:
        raise ReplicaMetaError(repr(fields)[:200], str(error)) from error


def meta_of(
    record_meta: Mapping[str, Any] | None,
    own_replica: str,
    seq_nr: int,
    own_offset: int,
    own_write_id: bytes,
) -> ReplicaMeta:
    """Where an EVENT or CONTROL record of a replicated entity comes from.

    own_replica: whose log it was read from. own_offset: its place in that log
    (`offset_in_origin`). own_write_id: of its commit. ReplicaMetaError where it cannot be read.
    """
    fields = None if record_meta is None else record_meta.get(ORIGIN_META)
    if fields is None:
        return ReplicaMeta(own_replica, seq_nr, {}, own_offset, mark_of(own_write_id))
    try:
        if type(fields[0]) is str:
            return _checked(_read_remote(fields))
        n, others, *tail = fields
        time_us, epoch = tail or (0, 0)
        return _checked(
            ReplicaMeta(own_replica, n, others, own_offset, mark_of(own_write_id), time_us, epoch)
        )
    except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise ReplicaMetaError(repr(fields)[:200], str(error)) from error


def _read_remote(fields: Any) -> ReplicaMeta:
    origin, n, others, origin_offset, mark, *tail = fields
    time_us, epoch = tail[:2] if len(tail) > 1 else (0, 0)
    concurrent = tail[-1] if len(tail) in {1, 3} else 0
    if len(tail) > 3:
        raise ValueError(f"{len(fields)} are too many")
    return ReplicaMeta(origin, n, others, origin_offset, mark, time_us, epoch, bool(concurrent))


def _checked(meta: ReplicaMeta) -> ReplicaMeta:
    """ValueError for what no replica writes: it came from outside."""
    _check(*meta[:7])
    return meta


def _check(
    origin: str, n: int, others: Mapping[str, int], origin_offset: int, mark: int,
    time_us: int = 0, epoch: int = 0,
) -> None:  # fmt: skip
    if type(origin) is not str or not origin or type(others) is not dict or origin in others:
        raise ValueError("its origin is missing, or stands among the others")
    for number in (n, origin_offset, mark, time_us, epoch):
        if type(number) is not int or not 0 <= number <= NUMBER_MAX:
            raise ValueError(f"its numbers must be whole, 0 to 2^63 - 1, not {number!r:.40}")
    if not n:
        raise ValueError("its events are counted from 1")
    _check_slots(others)


def _check_slots(slots: Mapping[str, int]) -> None:
    for replica, count in slots.items():
        if type(replica) is not str or type(count) is not int or not 0 <= count <= NUMBER_MAX:
            raise ValueError(f"{replica!r}: {count!r:.40} is no slot")

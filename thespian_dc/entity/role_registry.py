"""What a replica knows of its group, kept in its journal: every host, producer and replication
actor of the journal reads it there, and each change is a compare-and-set. Blocks; from any process.

Beside it stand small entries of the same kind: what was found wrong with events (`listed`), which
peers found this journal to be another than it was (`diverged`), how far they have it (`seen`),
which entities take no commands (`failed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from thespian_dc.journal.api import Entry, Journal, change_entry
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.replication import Listed
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.role_errors import NotReplicatedError
from thespian_dc.model.roles import Origin, Roles, begun, plain_of, roles_from

LISTED_MAX = 200
"""Kept of what was listed, the newest; all are counted."""
FAILED_MAX = 200
"""More are not kept: whoever mends these finds the next ones."""
WHY_MAX = 500
CHECKED_MAX = 64
"""Nodes that are remembered to have checked this journal with its peers."""


def stored_roles(journal: Journal, entity_type: str) -> Roles | None:
    """What is known of this type's group; None where it was never replicated from here."""
    value = journal.entry(_name(entity_type)).value
    return None if value is None else roles_from(value, entity_type)


def known_roles(journal: Journal, entity_type: str) -> Roles:
    """The same; NotReplicatedError for None."""
    roles = stored_roles(journal, entity_type)
    if roles is None:
        raise NotReplicatedError(entity_type, tuple(replicated_types(journal)))
    return roles


def replicated_types(journal: Journal) -> list[str]:
    """Types that were ever replicated from this journal, sorted."""
    return [name for name in sorted(journal.slice_counts()) if stored_roles(journal, name)]


def begin_roles(journal: Journal, setting: Replication) -> Roles:
    """Make the group known, or find what is stored; the slice count of the type is recorded
    already. ReplicaIdChangedError, SettingsError."""
    slices = journal.slice_counts().get(setting.entity_type)
    if slices is None:
        raise SettingsError(f"{setting.entity_type}: no slice count is recorded in {journal.url}")
    own = Origin(journal.journal_id, slices)

    def begin(entry: Entry) -> tuple[Any, Roles]:
        before = None if entry.value is None else roles_from(entry.value, setting.entity_type)
        after = begun(before, setting.entity_type, setting.replica_id, own, setting.active)
        return plain_of(after), after

    return change_entry(journal, _name(setting.entity_type), begin)


def change_roles(
    journal: Journal, entity_type: str, change: Callable[[Roles], Roles]
) -> tuple[Roles, Roles]:
    """Store what `change` makes of what is stored; again where somebody else was quicker. Returns
    (before, after). change may raise: then nothing is stored."""

    def apply(entry: Entry) -> tuple[Any, tuple[Roles, Roles]]:
        if entry.value is None:
            raise NotReplicatedError(entity_type, tuple(replicated_types(journal)))
        before = roles_from(entry.value, entity_type)
        after = change(before)
        return plain_of(after), (before, after)

    return change_entry(journal, _name(entity_type), apply)


# --- what was listed ---


class Listing(NamedTuple):
    """total: ever. newest: at most LISTED_MAX of them, the latest last, with the time of each."""

    total: int
    newest: tuple[tuple[int, Listed], ...]


def add_listed(journal: Journal, entity_type: str, listed: Iterable[Listed], now_us: int) -> None:
    """Keep these for people to see; what is among those that are kept is not added again: events
    come again where a process died."""
    added = {_of(one): [now_us, *one] for one in reversed([*listed])}
    if not added:
        return

    def add(entry: Entry) -> tuple[Any, None]:
        count, newest = entry.value or (0, [])
        there = {_of(fields) for _, *fields in newest}
        new = [row for of, row in reversed(added.items()) if of not in there]
        return [count + len(new), [*newest, *new][-LISTED_MAX:]] if new else entry.value, None

    change_entry(journal, f"replication_listed:{entity_type}", add)


def _of(listed: Sequence[Any]) -> tuple[Any, ...]:
    """What makes it the same: what, of which event."""
    return tuple(listed[:4])


def listing(journal: Journal, entity_type: str) -> Listing:
    """What was listed so far."""
    count, newest = journal.entry(f"replication_listed:{entity_type}").value or (0, [])
    return Listing(count, tuple((time_us, Listed(*one)) for time_us, *one in newest))


# --- which entities take no commands ---


class Failed(NamedTuple):
    """since_us: when it was first met so, for this reason."""

    since_us: int
    why: str


def stored_failed(journal: Journal, entity_type: str) -> dict[str, Failed]:
    """As they were met last, the eldest first."""
    value = journal.entry(f"replica_failed:{entity_type}").value or {}
    found = {entity_id: Failed(*fields) for entity_id, fields in value.items()}
    return dict(sorted(found.items(), key=lambda one: one[1].since_us))


def store_failed(journal: Journal, entity_type: str, changes: Mapping[str, Failed | None]) -> None:
    """Keep these, and none of those that are None; what others found stays."""

    def change(before: Entry) -> tuple[Any, None]:
        after = dict(before.value or {})
        for entity_id, found in changes.items():
            if found is None:
                after.pop(entity_id, None)
            elif entity_id not in after and len(after) >= FAILED_MAX:
                continue
            elif entity_id not in after or after[entity_id][1] != found.why:
                after[entity_id] = list(found)
        return after, None

    change_entry(journal, f"replica_failed:{entity_type}", change)


# --- is this journal what it was? ---


def note_diverged(journal: Journal, entity_type: str, peer: str, generation: int) -> None:
    """A peer knows more of this replica's log, of this generation, than there is here."""

    def note(entry: Entry) -> tuple[Any, None]:
        return {**(entry.value or {}), peer: generation}, None

    change_entry(journal, f"replication_diverged:{entity_type}", note)


def diverged_at(journal: Journal, entity_type: str, generation: int) -> dict[str, int]:
    """Peers that have found so of this generation or a later one, and of which."""
    value = journal.entry(f"replication_diverged:{entity_type}").value or {}
    return {peer: found for peer, found in sorted(value.items()) if found >= generation}


def note_checked(journal: Journal, entity_type: str, node_id: str) -> None:
    """This node has asked its peers whether this journal is what they know; hosts wait for it."""

    def note(entry: Entry) -> tuple[Any, None]:
        nodes = [one for one in entry.value or [] if one != node_id]
        return [*nodes, node_id][-CHECKED_MAX:], None

    change_entry(journal, _checked(entity_type), note)


def is_checked(journal: Journal, entity_type: str, node_id: str) -> bool:
    """Has it?"""
    return node_id in (journal.entry(_checked(entity_type)).value or [])


# --- how far others have this log ---


class Seen(NamedTuple):
    """offsets: by slice, what a peer or a consumer has of this log. time_us: when it said so."""

    generation: int
    offsets: tuple[int, ...]
    time_us: int


def note_seen(journal: Journal, entity_type: str, peer: str, seen: Seen) -> None:
    """A peer said how far it has this replica's log; an older saying changes nothing."""

    def note(entry: Entry) -> tuple[Any, None]:
        value = entry.value
        if value is not None and (value[0], value[2]) > (seen.generation, seen.time_us):
            return value, None
        return [seen.generation, list(seen.offsets), seen.time_us], None

    change_entry(journal, seen_entry(entity_type, peer), note)


def seen_by(journal: Journal, entity_type: str, peer: str) -> Seen | None:
    """What it last said; None: nothing ever."""
    value = journal.entry(seen_entry(entity_type, peer)).value
    return None if value is None else Seen(int(value[0]), tuple(value[1]), int(value[2]))


def seen_entry(entity_type: str, peer: str) -> str:
    """The name of the entry."""
    return f"replica_seen:{entity_type}:{peer}"


# --- states that are wanted ---


STATES_MAX = 1_000


class WantedStates(NamedTuple):
    """nr: counts the wishes. ids: entities whose states are to be stored as they are."""

    nr: int = 0
    ids: tuple[str, ...] = ()


def want_states(journal: Journal, entity_type: str, ids: Iterable[str]) -> None:
    """Hosts store these soon, as far as nothing of them is under way. Earlier wishes, by whomever,
    stay, as long as all together are of STATES_MAX entities at most."""

    def want(entry: Entry) -> tuple[Any, None]:
        wishes = [] if entry.value is None else _wishes(entry.value)
        wanted, kept = list(ids), []
        room = STATES_MAX - len(wanted)
        for wish in wishes:
            room -= len(wish[1])
            if room < 0:
                break
            kept.append(wish)
        return [wishes[0][0] + 1 if wishes else 1, wanted, kept], None

    change_entry(journal, f"replication_states:{entity_type}", want)


def wanted_states(journal: Journal, entity_type: str, after: int | None = None) -> WantedStates:
    """The last wish; after: with what was wished since the one of this number, the latest first."""
    value = journal.entry(f"replication_states:{entity_type}").value
    if value is None:
        return WantedStates()
    last, *before = _wishes(value)
    since = [last, *(one for one in before if after is not None and one[0] > after)]
    return WantedStates(last[0], tuple(dict.fromkeys(id_ for _, ids in since for id_ in ids)))


def _wishes(value: Any) -> list[Any]:
    """(nr, ids) of all that are kept, the latest first."""
    nr, ids, *before = value
    return [[nr, ids], *(before[0] if before else [])]


# --- inside ---


def _name(entity_type: str) -> str:
    return f"replication:{entity_type}"


def _checked(entity_type: str) -> str:
    return f"replication_checked:{entity_type}"

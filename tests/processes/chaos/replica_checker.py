"""Reads the journals of all replicas after a run, and says what is wrong: with each of them by
itself, as `checker` does, and with what they hold together.

Each log holds each (entity, origin, n) once, after all that its origin had seen, as its origin
wrote it; what was acknowledged is in the log of the replica that did, and so in all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.processes.chaos import checker, shared_ledger
from tests.processes.chaos.checker import Stored
from tests.processes.chaos.history import PUT, UNKNOWN, Attempt, puts
from thespian_dc.codec.api import Registry

REGISTRY = Registry(shared_ledger.SharedLedger.events)


class Event(NamedTuple):
    """What a record of a replica's log says. others: what its origin had seen of the others."""

    entity_id: str
    origin: str
    n: int
    others: Mapping[str, int]
    content: tuple[str, bytes]

    @property
    def name(self) -> tuple[str, str, int]:
        return self.entity_id, self.origin, self.n


def is_own(record: Stored) -> bool:
    """The replica whose log it stands in wrote it."""
    return type(record.said[0]) is int


def event_of(record: Stored, replica: str) -> Event:
    """As this replica's log has it: its own events bear no origin."""
    said = record.said
    origin, n, others = (replica, *said[:2]) if is_own(record) else said[:3]
    return Event(record.entity_id, origin, n, others, (record.manifest, record.payload))


def violations(
    histories: Mapping[str, Sequence[Attempt]],
    logs: Mapping[str, Sequence[Stored]],
    killed: Collection[str] = (),
) -> list[str]:
    """Empty: all is well. histories: of each replica's clients; killed: names of loads that died
    with attempts nobody wrote down."""
    wrong, events = list[str](), dict[str, list[Event]]()
    for name, log in logs.items():
        events[name] = [event_of(record, name) for record in log]
        own = list(filter(is_own, log))
        history = [*histories[name], *_unwritten(histories[name], own, killed)]
        found = [*checker.numbering(log), *checker.origins(history, own), *_once(events[name])]
        found += [*checker.outcomes(history, own), *checker.stale(histories[name])]
        wrong += [f"{name}: {one}" for one in found]
    return wrong + list(_together(events))


def _unwritten(
    history: Sequence[Attempt], own: Sequence[Stored], killed: Collection[str]
) -> list[Attempt]:
    """What loads that were killed must have sent, as it is stored."""
    written = {attempt.command_id for attempt in puts(history)}
    return [
        Attempt(PUT, r.command_id, r.entity_id, r.number, r.amount, 0, 1 << 62, UNKNOWN, None, "")
        for r in own
        if r.command_id not in written and r.command_id.rpartition("-")[0] in killed
    ]


def _once(log: Sequence[Event]) -> Iterator[str]:
    """Each origin's events of an entity from 1 without a hole, causes first."""
    vectors: dict[str, dict[str, int]] = defaultdict(dict)
    for event in log:
        vector = vectors[event.entity_id]
        before = vector.get(event.origin, 0)
        if event.n <= before:
            yield f"DOUBLED: {event.name}"
        elif event.n > before + 1:
            yield f"LOST: {event.name} follows {before}"
        early = {one: n for one, n in event.others.items() if vector.get(one, 0) < n}
        if early:
            yield f"EARLY: {event.name} is here before {early}"
        vector[event.origin] = max(before, event.n)


def _together(events: Mapping[str, Sequence[Event]]) -> Iterator[str]:
    """All hold what each of them wrote, as it wrote it, and nothing else."""
    written = {
        event.name: event.content
        for name, log in events.items()
        for event in log
        if event.origin == name
    }
    for name, log in events.items():
        held = {event.name: event.content for event in log}
        yield from (f"LOST at {name}: {one}" for one in sorted(written.keys() - held.keys()))
        yield from (f"FOREIGN at {name}: {one}" for one in sorted(held.keys() - written.keys()))
        for one in sorted(held.keys() & written.keys()):
            if held[one] != written[one]:
                yield f"CHANGED at {name}: {one}"


def states(log: Sequence[Stored], replica: str) -> dict[str, tuple[str, dict[str, int]]]:
    """What each entity must answer to `Show`: its log applied from the first event on."""
    found: dict[str, shared_ledger.State] = {}
    for record in log:
        event = event_of(record, replica)
        state = found.get(event.entity_id) or shared_ledger.empty()
        changed = REGISTRY.decode(*event.content)
        found[event.entity_id] = shared_ledger.applied(state, changed, event.origin)
    return {one: (shared_ledger.digest(state), state["from"]) for one, state in found.items()}

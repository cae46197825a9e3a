"""Replicas that exchange logs, for the laws of replicated data types: random causal histories, and
what each type must show after them, said from the history alone.

A history is a list of events in one causal order. An event's `past` is the set of those its origin
had applied before it; two events are concurrent where neither is in the other's past.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

from thespian_dc.crdt.api import LwwMap, LwwRegister, MvRegister, OrMap, OrSet, PnCounter

REPLICAS = ("ap", "eu", "us", "za")


@dataclass(frozen=True, slots=True)
class Event:
    """Compared by what it is in: its number in the history."""

    number: int
    origin: str
    past: frozenset[int]
    action: tuple[Any, ...]
    operation: Any


@dataclass(frozen=True, slots=True)
class Kind:
    """A type under test. prepare(value, replica, action) gives the operation of an action; shown:
    what a user sees of a value; expected: the same, from the history."""

    name: str
    empty: Any
    actions: st.SearchStrategy[tuple[Any, ...]]
    prepare: Callable[[Any, str, tuple[Any, ...]], Any]
    shown: Callable[[Any], Any]
    expected: Callable[[Sequence[Event]], Any]
    repeats: bool = True  # are repeated operations harmless? Else they are refused by name.


class World:
    """Replicas with a value and a log each; `pull` is the only way an event travels."""

    def __init__(self, kind: Kind, replicas: Sequence[str] = REPLICAS) -> None:
        self.kind, self.history = kind, list[Event]()
        self.values = dict.fromkeys(replicas, kind.empty)
        self.logs: dict[str, list[Event]] = {replica: [] for replica in replicas}

    def act(self, replica: str, action: tuple[Any, ...]) -> Event:
        operation = self.kind.prepare(self.values[replica], replica, action)
        past = frozenset(event.number for event in self.logs[replica])
        event = Event(len(self.history), replica, past, action, operation)
        self.history.append(event)
        self._apply(replica, event)
        return event

    def pull(self, replica: str, peer: str, events_max: int = 1_000) -> None:
        """The first events of the peer's log that the replica lacks, of every origin."""
        known = {event.number for event in self.logs[replica]}
        for event in [one for one in self.logs[peer] if one.number not in known][:events_max]:
            self._apply(replica, event)

    def settle(self) -> None:
        """Round the ring until all have all."""
        ring = list(self.values)
        for _ in ring:
            for index, replica in enumerate(ring):
                self.pull(replica, ring[index - 1])

    def _apply(self, replica: str, event: Event) -> None:
        self.values[replica] = self.values[replica].apply(event.operation)
        self.logs[replica].append(event)


def fold(kind: Kind, events: Iterable[Event], value: Any = None) -> Any:
    """The value after these events, from `value` or the empty one."""
    value = kind.empty if value is None else value
    for event in events:
        value = value.apply(event.operation)
    return value


def causal_order(history: Sequence[Event], random: Random) -> list[Event]:
    """One of all the orders in which a replica may see the history."""
    left, done, order = list(history), set[int](), list[Event]()
    while left:
        ready = [event for event in left if event.past <= done]
        event = random.choice(ready)
        left.remove(event)
        done.add(event.number)
        order.append(event)
    return order


@st.composite
def worlds(draw: st.DrawFn, kind: Kind) -> World:
    """Two to four replicas after 10 to 20 actions and pulls; nobody needs to have everything."""
    world = World(kind, REPLICAS[: draw(st.integers(2, 4))])
    replica = st.sampled_from(list(world.values))
    pulls = st.tuples(st.just("pull"), replica, st.integers(1, 4))
    # Left to itself, Hypothesis draws histories of three events, with hardly anything concurrent.
    steps = st.lists(st.tuples(replica, st.one_of(kind.actions, pulls)), min_size=10, max_size=20)
    for where, step in draw(steps):
        if step[0] != "pull":
            world.act(where, step)
        elif step[1] != where:
            world.pull(where, step[1], step[2])
    return world


# --- what the types must show ---


def _alive(events: Sequence[Event], ends: Callable[[Event, Event], bool]) -> list[Event]:
    """The additions that no event ends which has them in its past."""
    return [
        one for one in events
        if one.action[0] in {"add", "put", "assign"}
        and not any(one.number in other.past and ends(other, one) for other in events)
    ]  # fmt: skip


def _removes(other: Event, key: Any) -> bool:
    return other.action[0] == "clear" or other.action[:2] == ("remove", key)


def _expected_set(events: Sequence[Event]) -> Any:
    def adds(element: str) -> list[Event]:
        return _alive(events, lambda other, _: _removes(other, element))

    return {element for element in "ab" if any(element in one.action[1] for one in adds(element))}


def _expected_register(events: Sequence[Event]) -> Any:
    last = max(events, key=lambda one: (one.operation.time_us, one.origin), default=None)
    return last.action[1] if last else None


def _expected_siblings(events: Sequence[Event]) -> Any:
    return sorted(one.action[1] for one in _alive(events, lambda *_: True))


def _expected_lww_map(events: Sequence[Event]) -> Any:
    def ends(other: Event, one: Event) -> bool:
        return _removes(other, one.action[1]) or other.action[:2] == one.action[:2]

    puts = sorted(_alive(events, ends), key=lambda one: (one.operation.time_us, one.origin))
    return {one.action[1]: one.action[2] for one in puts}


def _expected_counters(events: Sequence[Event]) -> Any:
    """A replica's share of a key: what it added since the last time it had seen all of it go."""
    shown: dict[str, int] = {}
    for key in {one.action[1] for one in events if one.action[0] == "add"}:
        removals = [one for one in events if _removes(one, key)]
        for replica in REPLICAS:
            total, last = 0, -1
            for one in events:
                if one.action[:2] == ("add", key) and one.origin == replica:
                    if any(r.number in one.past and last in r.past for r in removals):
                        total = 0
                    total, last = total + one.action[2], one.number
            if last >= 0 and not any(last in removal.past for removal in removals):
                shown[key] = shown.get(key, 0) + total
    return shown


def _expected_nested(of_one: bool) -> Callable[[Sequence[Event]], Any]:
    """A map of sets ("add", key, element), or of maps of registers ("add", key, key, value)."""

    def ends(other: Event, one: Event) -> bool:
        replaced = of_one and other.action[:3] == one.action[:3]
        discarded = other.action == ("discard", *one.action[1:3])
        return replaced or discarded or _removes(other, one.action[1])

    def expected(events: Sequence[Event]) -> Any:
        shown: dict[str, Any] = {}
        for one in _alive(events, ends):
            if of_one:
                values = shown.setdefault(one.action[1], {}).setdefault(one.action[2], [])
                values[:] = sorted([*values, one.action[3]])
            else:
                shown.setdefault(one.action[1], set()).add(one.action[2])
        return shown

    return expected


# --- the types, with their actions ---


def _prepare_set(value: Any, replica: str, action: tuple[Any, ...]) -> Any:
    match action:
        case ("add", elements):
            return value.add(*elements, replica=replica)
        case ("remove", element):
            return value.remove(element)
    return value.clear()


def _prepare_lww_map(value: Any, replica: str, action: tuple[Any, ...]) -> Any:
    match action:
        case ("put", key, put, now_us):
            return value.put(key, put, replica, now_us)
        case ("remove", key):
            return value.remove(key)
    return value.clear()


def _prepare_map(value: Any, replica: str, action: tuple[Any, ...]) -> Any:
    match action:
        case ("add", key, *what):
            return value.update(key, lambda inner: _add(inner, replica, *what))
        case ("discard", key, element):
            return value.update(key, lambda inner: inner.remove(element))
        case ("remove", key):
            return value.remove(key)
    return value.clear()


def _add(inner: Any, replica: str, *what: Any) -> Any:
    if isinstance(inner, PnCounter):
        return inner.add(what[0], replica)
    if isinstance(inner, OrSet):
        return inner.add(*what, replica=replica)
    return inner.update(what[0], lambda register: register.assign(what[1], replica))


_key = st.sampled_from("ab")
_number = st.integers(-2, 3)
_now_us = st.integers(0, 2)  # clocks that stand still and go back: ties are frequent
_removal = st.one_of(st.tuples(st.just("remove"), _key), st.just(("clear",)))


def _any_of(*actions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(*actions, *actions, _removal)


KINDS = [
    Kind(
        "pn-counter", PnCounter(), st.tuples(st.just("add"), _number),
        lambda value, replica, action: value.add(action[1], replica),
        lambda value: value.value,
        lambda events: sum(event.action[1] for event in events),
        repeats=False,
    ),
    Kind(
        "lww-register", LwwRegister(None), st.tuples(st.just("assign"), _number, _now_us),
        lambda value, replica, action: value.assign(action[1], replica, action[2]),
        lambda value: value.value, _expected_register,
    ),
    Kind(
        "mv-register", MvRegister(), st.tuples(st.just("assign"), _number),
        lambda value, replica, action: value.assign(action[1], replica),
        lambda value: sorted(value.values), _expected_siblings,
    ),
    Kind(
        "or-set", OrSet(),
        _any_of(st.tuples(st.just("add"), st.lists(_key, min_size=1, max_size=2).map(tuple))),
        _prepare_set, lambda value: set(value.elements), _expected_set,
    ),
    Kind(
        "lww-map", LwwMap(), _any_of(st.tuples(st.just("put"), _key, _number, _now_us)),
        _prepare_lww_map, lambda value: value.value, _expected_lww_map,
    ),
    Kind(
        "or-map of counters", OrMap(empty=PnCounter()),
        _any_of(st.tuples(st.just("add"), _key, _number)), _prepare_map,
        lambda value: {key: counter.value for key, counter in value.value.items()},
        _expected_counters, repeats=False,
    ),
    Kind(
        "or-map of sets", OrMap(empty=OrSet()),
        _any_of(
            st.tuples(st.just("add"), _key, _number), st.tuples(st.just("discard"), _key, _number)
        ),
        _prepare_map, lambda value: {key: set(inner) for key, inner in value.value.items()},
        _expected_nested(of_one=False),
    ),
    Kind(
        "or-map of or-maps", OrMap(empty=OrMap(empty=MvRegister())),
        _any_of(
            st.tuples(st.just("add"), _key, _key, _number),
            st.tuples(st.just("discard"), _key, _key),
        ),
        _prepare_map,
        lambda value: {
            key: {inner: sorted(register.values) for inner, register in held.value.items()}
            for key, held in value.value.items()
        },
        _expected_nested(of_one=True),
    ),
]  # fmt: skip

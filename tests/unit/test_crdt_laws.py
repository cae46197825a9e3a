"""The laws of every replicated data type, over random causal histories of two to four replicas."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.crdt_world import KINDS, REPLICAS, Event, Kind, World, causal_order, fold, worlds
from thespian_dc.codec.api import Registry
from thespian_dc.crdt.api import CRDT_TYPES
from thespian_dc.crdt.operations import dot_of
from thespian_dc.model.crdt_errors import RepeatedOperationError

REGISTRY = Registry(CRDT_TYPES)
EXAMPLES = settings(max_examples=30, deadline=None)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
orders = st.builds(Random, st.integers(0, 2**32))


@every_kind
@EXAMPLES
@given(data=st.data(), random=orders)
def test_replicas_with_the_same_events_are_equal(
    kind: Kind, data: st.DataObject, random: Random
) -> None:
    """Whoever pulled from whom, in every causal order; and what they show is what the history alone
    says."""
    world = data.draw(worlds(kind))
    world.settle()
    for _ in range(3):
        value = fold(kind, causal_order(world.history, random))
        assert all(value == replica for replica in world.values.values())
        assert kind.shown(value) == kind.expected(world.history)


@every_kind
@EXAMPLES
@given(data=st.data())
def test_at_any_time_a_replica_shows_what_it_has_seen(kind: Kind, data: st.DataObject) -> None:
    """Before they have settled too: no replica is ahead of or behind its own log."""
    world = data.draw(worlds(kind))
    for replica, value in world.values.items():
        seen = sorted(world.logs[replica], key=lambda event: event.number)
        assert kind.shown(value) == kind.expected(seen)


@every_kind
@EXAMPLES
@given(data=st.data())
def test_concurrent_operations_commute(kind: Kind, data: st.DataObject) -> None:
    """Each pair, on the value that has just what both of them saw."""
    history = data.draw(worlds(kind)).history
    for one, other in combinations(history, 2):
        if one.number not in other.past:
            past = one.past | other.past
            value = fold(kind, (event for event in history if event.number in past))
            assert fold(kind, [one, other], value) == fold(kind, [other, one], value)


@every_kind
@EXAMPLES
@given(data=st.data(), random=orders)
def test_repeated_operations_change_nothing(
    kind: Kind, data: st.DataObject, random: Random
) -> None:
    """At once and late. A counter's, which rely on exactly-once, are refused instead: a number
    would be counted twice in silence."""
    value, done = kind.empty, list[Event]()
    for event in causal_order(data.draw(worlds(kind)).history, random):
        value = value.apply(event.operation)
        done.append(event)
        for again in (event, random.choice(done)):
            if kind.repeats or dot_of(again.operation) is None:
                assert value.apply(again.operation) == value
            else:
                with pytest.raises(RepeatedOperationError):
                    value.apply(again.operation)


@every_kind
@EXAMPLES
@given(data=st.data(), random=orders)
def test_a_stored_value_and_the_rest_are_the_whole(
    kind: Kind, data: st.DataObject, random: Random
) -> None:
    """Snapshot and tail give what the replay of everything gives, from stored bytes of both."""
    order = causal_order(data.draw(worlds(kind)).history, random)
    cut = random.randint(0, len(order))
    snapshot = REGISTRY.decode(*REGISTRY.encode(fold(kind, order[:cut])))
    for event in order[cut:]:
        stored = REGISTRY.decode(*REGISTRY.encode(event.operation))
        assert stored == event.operation
        snapshot = snapshot.apply(stored)
    assert snapshot == fold(kind, order)


@every_kind
@EXAMPLES
@given(data=st.data())
def test_a_partition_heals(kind: Kind, data: st.DataObject) -> None:
    """Two halves that go on alone, each agreeing within itself, agree once they meet, whichever
    side is heard first."""
    world = World(kind)
    halves = REPLICAS[:2], REPLICAS[2:]
    actions = st.lists(st.tuples(st.sampled_from(REPLICAS), kind.actions), min_size=6, max_size=12)
    for where, action in data.draw(actions):
        world.act(where, action)
        for left, right in (*halves, *(half[::-1] for half in halves)):
            world.pull(left, right)
    for left, right in halves:
        assert world.values[left] == world.values[right]
    world.settle()
    for value in world.values.values():
        assert value == world.values["eu"]
        assert kind.shown(value) == kind.expected(world.history)


@pytest.mark.parametrize("kind", [k for k in KINDS if k.name.endswith(("set", "map"))])
@EXAMPLES
@given(data=st.data())
def test_what_was_removed_leaves_nothing_behind(kind: Kind, data: st.DataObject) -> None:
    """No tombstones: after a removal of all, only the vector tells that anything was there."""
    world = data.draw(worlds(kind))
    world.settle()
    world.act("eu", ("clear",))
    left = world.values["eu"]
    assert left == type(left)(vector=left.vector)
    assert set(left.vector.counts) <= set(REPLICAS)

"""What each replicated data type does where replicas meet, case by case; and what it refuses."""

from __future__ import annotations

import math
import time
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.codec.api import Registry
from thespian_dc.crdt.api import (
    CRDT_TYPES,
    AllCleared,
    Counted,
    KeysRemoved,
    LwwAssigned,
    LwwMap,
    LwwRegister,
    LwwTime,
    MvRegister,
    OrMap,
    OrSet,
    PnCounter,
    SetAdded,
)
from thespian_dc.model.crdt_errors import NotWholeError, RepeatedOperationError, WrongOperationError
from thespian_dc.model.errors import UnknownManifestError

times = st.builds(LwwTime, st.integers(0, 3), st.sampled_from("abc"))


def _both_ways(value: Any, *operations: Any) -> Any:
    """The value after concurrent operations, the same in each order."""
    results = []
    for order in permutations(operations):
        after = value
        for operation in order:
            after = after.apply(operation)
        results.append(after)
    assert all(result == results[0] for result in results)
    return results[0]


# --- who wins, for the set and both maps ---


def _set_put(value: Any, replica: str) -> Any:
    return value.add("x", replica=replica)


def _lww_put(value: Any, replica: str) -> Any:
    return value.put("x", replica, replica, now_us=5)


def _map_put(value: Any, replica: str) -> Any:
    return value.update("x", lambda register: register.assign(replica, replica))


KEYED = [(OrSet(), _set_put), (LwwMap(), _lww_put), (OrMap(empty=MvRegister()), _map_put)]
PUT, REMOVE, CLEAR = "put", "remove", "clear"


def _operation(value: Any, put: Any, what: str, replica: str) -> Any:
    return {
        PUT: lambda: put(value, replica),
        REMOVE: lambda: value.remove("x"),
        CLEAR: value.clear,
    }[what]()


@pytest.mark.parametrize(("empty", "put"), KEYED, ids=["or-set", "lww-map", "or-map"])
@pytest.mark.parametrize("seen", [True, False], ids=["there", "absent"])
@pytest.mark.parametrize("at_us", [PUT, REMOVE, CLEAR])
@pytest.mark.parametrize("at_eu", [PUT, REMOVE, CLEAR])
def test_of_two_concurrent_operations_the_put_wins(
    empty: Any, put: Any, seen: bool, at_eu: str, at_us: str
) -> None:
    """Both replicas had the key, or neither: it is there afterwards where one of them put it, or
    where none took away what there was not."""
    value = empty.apply(put(empty, "za")) if seen else empty
    after = _both_ways(
        value, _operation(value, put, at_eu, "eu"), _operation(value, put, at_us, "us")
    )
    assert ("x" in after) == (PUT in (at_eu, at_us))


@pytest.mark.parametrize(("empty", "put"), KEYED, ids=["or-set", "lww-map", "or-map"])
@pytest.mark.parametrize("what", [REMOVE, CLEAR])
def test_a_removal_beats_only_what_it_has_seen(empty: Any, put: Any, what: str) -> None:
    """It saw the put of eu, not the concurrent one of us."""
    eu, us = put(empty, "eu"), put(empty, "us")
    removal = _operation(empty.apply(eu), put, what, "eu")
    by_eu = empty.apply(eu).apply(removal)
    assert "x" not in by_eu
    assert "x" in by_eu.apply(us)
    assert by_eu.apply(us) == empty.apply(us).apply(eu).apply(removal)


@pytest.mark.parametrize(("empty", "put"), KEYED, ids=["or-set", "lww-map", "or-map"])
def test_a_key_made_again_survives_a_late_removal(empty: Any, put: Any) -> None:
    """A removal that us made of the first put arrives after eu removed and put it again."""
    first = empty.apply(put(empty, "eu"))
    late = first.remove("x")
    again = first.apply(first.remove("x"))
    again = again.apply(put(again, "eu"))
    assert again.apply(late) == again
    assert "x" in again


def test_a_second_add_wins_over_a_concurrent_removal() -> None:
    """Adding what is there already says that it shall stay."""
    both = OrSet[str]().apply(OrSet[str]().add("x", replica="eu"))
    assert "x" in _both_ways(both, both.add("x", replica="us"), both.remove("x"))


def test_an_element_added_by_many_has_one_dot_once_they_met() -> None:
    """The next addition replaces all it has seen: re-adding does not grow the set."""
    value = OrSet[str]()
    value = _both_ways(value, *(value.add("x", replica=replica) for replica in "abc"))
    assert len(value.entries["x"]) == 3
    value = value.apply(value.add("x", replica="a"))
    assert list(value.entries["x"]) == [("a", 2)]


def test_removing_what_is_not_there_says_nothing() -> None:
    """The operation carries no key, and nothing seen."""
    assert OrSet[str]().remove("x") == KeysRemoved((), {})


# --- values ---


def test_a_counter_adds_what_all_replicas_counted() -> None:
    """Below 0 and beyond 64 bits too."""
    value = PnCounter()
    assert _both_ways(value, value.add(2**70, "eu"), value.add(-3, "us")).value == 2**70 - 3
    assert value.apply(value.add(-1, "eu")).value == -1


def test_a_removed_counter_keeps_the_share_that_went_on() -> None:
    """A removal takes a replica's share away only where it saw the last of it."""
    empty: OrMap[str, PnCounter] = OrMap(empty=PnCounter())
    value = empty.apply(empty.update("x", lambda counter: counter.add(5, "eu")))
    value = value.apply(value.update("x", lambda counter: counter.add(7, "us")))
    more = value.update("x", lambda counter: counter.add(1, "eu"))
    assert _both_ways(value, more, value.remove("x")).get("x").value == 6


def test_of_concurrent_values_the_later_wins_then_the_greater_replica() -> None:
    """Whatever arrives first."""
    register = LwwRegister("")
    early, late = register.assign("e", "us", now_us=5), register.assign("l", "eu", now_us=6)
    assert _both_ways(register, early, late).value == "l"
    tie = register.assign("t", "us", now_us=6)
    assert _both_ways(register, early, late, tie).value == "t"
    empty: LwwMap[str, str] = LwwMap()
    eu, us = (empty.put("x", replica, replica, now_us=6) for replica in ("eu", "us"))
    for first, second in ((eu, us), (us, eu)):
        assert empty.apply(first).apply(second).get("x") == "us"


def test_what_is_written_later_wins_over_a_clock_that_is_ahead() -> None:
    """us has seen the value that eu dated an hour ahead: a new one is dated just after it."""
    ahead = LwwRegister("").assign("old", "us", now_us=3_600_000_000)
    register = LwwRegister("").apply(ahead)
    assert register.apply(register.assign("new", "eu", now_us=1)).value == "new"
    empty: LwwMap[str, str] = LwwMap()
    value = empty.apply(empty.put("x", "old", "us", now_us=3_600_000_000))
    assert value.apply(value.put("x", "new", "eu", now_us=1)).get("x") == "new"


def test_a_put_that_lost_is_what_is_left_when_the_winner_is_removed() -> None:
    """Had it been forgotten, the replicas would differ for ever."""
    empty: LwwMap[str, str] = LwwMap()
    winner = empty.put("x", "winner", "eu", now_us=9)
    loser = empty.put("x", "loser", "us", now_us=1)
    removal = empty.apply(winner).remove("x")
    assert empty.apply(winner).apply(loser).apply(removal).value == {"x": "loser"}
    assert empty.apply(winner).apply(removal).apply(loser).value == {"x": "loser"}


def test_a_register_of_many_values_shows_all_that_nobody_replaced() -> None:
    """Until somebody who has seen them assigns one."""
    register: MvRegister[str] = MvRegister()
    both = _both_ways(register, register.assign("e", "eu"), register.assign("u", "us"))
    assert both.values == ("e", "u")
    assert both.apply(both.assign("one", "us")).values == ("one",)


# --- times ---


@given(one=times, other=times, now_us=st.integers(0, 5))
def test_times_are_totally_ordered_and_grow(one: LwwTime, other: LwwTime, now_us: int) -> None:
    """Antisymmetric, and of two replicas' times one is always later; the next is later than the
    last, whatever the clock says."""
    assert (one > other) + (other > one) + (one == other) == 1
    if one.replica != other.replica:
        assert one != other
    later = one.later(now_us, other.replica)
    assert later > one
    assert later.time_us == max(now_us, one.time_us + 1)


# --- refusals ---


def _two_counts(value: Any) -> Any:
    return value.add(1, "eu"), value.add(1, "eu")


TWICE = [
    (PnCounter(), _two_counts),
    (LwwRegister(0), lambda value: (value.assign(1, "eu", 5), value.assign(2, "eu", 5))),
    (MvRegister(), lambda value: (value.assign(1, "eu"), value.assign(2, "eu"))),
    (OrSet(), lambda value: (value.add("x", replica="eu"), value.add("y", replica="eu"))),
    (LwwMap(), lambda value: (value.put("x", 1, "eu", 5), value.put("y", 1, "eu", 5))),
    (LwwMap(), lambda value: (value.put("x", 1, "eu", 5), value.put("x", 2, "eu", 5))),
    (OrMap(empty=OrSet()), lambda value: [
        value.update(key, lambda inner: inner.add("z", replica="eu")) for key in "xy"]),
    (OrMap(empty=PnCounter()), lambda value: [
        value.update("x", lambda counter: counter.add(1, "eu")) for _ in "xy"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "prepare"), TWICE)
def test_two_operations_prepared_from_one_value_are_refused(value: Any, prepare: Any) -> None:
    """Else the second would be taken for a repetition, and lost without a word."""
    first, second = prepare(value)
    with pytest.raises(RepeatedOperationError, match="prepared from one value"):
        value.apply(first).apply(second)


def test_several_elements_are_one_operation() -> None:
    """So that a command may add many; one at a time, each is prepared from the set after it."""
    value = OrSet[str]()
    value = value.apply(value.add("x", "y", replica="eu"))
    assert value.elements == {"x", "y"}
    value = value.apply(value.add("y", replica="eu"))  # now of another dot than x
    value = value.apply(value.remove("x", "y", "z"))
    assert not value.elements


VALUES = [PnCounter(), LwwRegister(0), MvRegister(), *(empty for empty, _ in KEYED)]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_an_unknown_operation_is_named(value: Any) -> None:
    """Of another type, or of none: the message says which the value has."""
    other: Any = Counted(1, 1, "eu", 1) if not isinstance(value, PnCounter) else AllCleared({})
    for operation in (other, "nonsense", None):
        with pytest.raises(WrongOperationError, match=type(operation).__name__):
            value.apply(operation)


def test_a_maps_value_refuses_what_is_not_its_own() -> None:
    """The map is as it was."""
    counters: OrMap[str, PnCounter] = OrMap(empty=PnCounter())
    sets: OrMap[str, OrSet[str]] = OrMap(empty=OrSet())
    of_sets = sets.update("x", lambda value: value.add("y", replica="eu"))
    with pytest.raises(WrongOperationError, match="PnCounter has no operation SetAdded"):
        counters.apply(of_sets)


def test_an_element_that_cannot_be_a_key_is_refused_at_its_origin() -> None:
    """Before there is an operation to persist."""
    with pytest.raises(TypeError, match="unhashable"):
        OrSet[Any]().add([], replica="eu")


def test_an_operation_unknown_to_older_code_is_an_unknown_manifest() -> None:
    """As any event is: the entity fails by name, and nothing is dropped."""
    manifest, payload = Registry([SetAdded]).encode(SetAdded(("x",), "eu", 1, {}))
    with pytest.raises(UnknownManifestError):
        Registry([LwwAssigned]).decode(manifest, payload)


def test_operations_are_small() -> None:
    """An addition to a set of any size carries the element and its dot: fewer than 60 bytes."""
    value = OrSet[str]()
    value = value.apply(value.add(*map(str, range(10_000)), replica="eu"))
    registry = Registry(CRDT_TYPES)
    for operation in (value.add("apple", replica="eu"), value.remove("77")):
        assert len(registry.encode(operation)[1]) < 60


@pytest.mark.parametrize("delta", [0.1, math.nan, "1", None])
def test_a_counter_counts_whole_numbers(delta: Any) -> None:
    """A sum of others comes out differently in another order, so replicas would never agree."""
    with pytest.raises(NotWholeError, match="delta must be a whole number"):
        PnCounter().add(delta, "eu")


@pytest.mark.parametrize("now", [time.time(), None])
def test_times_are_whole_microseconds(now: Any) -> None:
    """Seconds would lose against all that is written with self.time_us()."""
    with pytest.raises(NotWholeError, match="now_us must be a whole number"):
        LwwRegister("").assign("a", "eu", now)
    with pytest.raises(NotWholeError, match="now_us must be a whole number"):
        LwwMap[str, str]().put("k", "a", "eu", now)

"""The laws of version vectors."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.model.vector import ZERO, Order, VersionVector

vectors = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)).map(VersionVector)
OPPOSITE = {Order.BEFORE: Order.AFTER, Order.AFTER: Order.BEFORE}


def _order_by_slots(one: VersionVector, other: VersionVector) -> Order:
    """The same said another way: by the signs of the differences."""
    signs = {(one[slot] > other[slot]) - (one[slot] < other[slot]) for slot in "abc"} - {0}
    return {
        frozenset[int](): Order.SAME,
        frozenset({1}): Order.AFTER,
        frozenset({-1}): Order.BEFORE,
    }.get(frozenset(signs), Order.CONCURRENT)


@given(one=vectors, other=vectors)
def test_two_vectors_are_one_of_four(one: VersionVector, other: VersionVector) -> None:
    """And from the other side the opposite; same is what == says."""
    order = one.compare(other)
    assert order is _order_by_slots(one, other)
    assert other.compare(one) is OPPOSITE.get(order, order)
    assert (order is Order.SAME) == (one == other)


@given(one=vectors, other=vectors, third=vectors)
def test_before_is_transitive(
    one: VersionVector, other: VersionVector, third: VersionVector
) -> None:
    """What contains what contains it, contains it."""
    if one.compare(other) is Order.BEFORE and other.compare(third) is Order.BEFORE:
        assert one.compare(third) is Order.BEFORE


@given(one=vectors, other=vectors, third=vectors)
def test_merged_is_the_least_that_covers_both(
    one: VersionVector, other: VersionVector, third: VersionVector
) -> None:
    """Whatever covers both covers it."""
    both = one.merged(other)
    assert both.covers(one)
    assert both.covers(other)
    assert third.covers(both) == (third.covers(one) and third.covers(other))


@given(one=vectors, other=vectors, third=vectors)
def test_merging_knows_no_order_and_no_repetition(
    one: VersionVector, other: VersionVector, third: VersionVector
) -> None:
    """Commutative, associative, idempotent, with ZERO as its neutral vector."""
    assert one.merged(other) == other.merged(one)
    assert one.merged(other).merged(third) == one.merged(other.merged(third))
    assert one.merged(one) == one == one.merged(ZERO)


@given(one=vectors, count=st.integers(0, 5))
def test_advancing_raises_one_slot_and_lowers_none(one: VersionVector, count: int) -> None:
    """The same as merging with that slot alone."""
    assert one.advanced("a", count) == one.merged(VersionVector({"a": count}))


def test_a_missing_slot_is_zero() -> None:
    """A replica that joined later has simply done nothing yet."""
    with_slot = VersionVector({"a": 1, "b": 0})
    assert with_slot == VersionVector({"a": 1})
    assert (with_slot["a"], with_slot["b"], with_slot["c"]) == (1, 0, 0)
    assert VersionVector({"a": 0}) == ZERO
    assert ZERO.compare(with_slot) is Order.BEFORE
    assert pickle.loads(pickle.dumps(with_slot)) == with_slot


def test_a_negative_count_is_refused() -> None:
    """It would be less than nothing."""
    with pytest.raises(ValueError, match="counts from 0"):
        VersionVector({"a": -1})

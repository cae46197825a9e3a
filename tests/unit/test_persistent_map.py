"""A persistent map is a dict whose older versions stay as they were."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thespian_dc.codec.api import Registry
from thespian_dc.crdt.persistent_map import _LEAF_MAX, PersistentMap
from thespian_dc.model.errors import CorruptPayloadError


class Colliding(str):
    """All of one hash: the trie can never tell them apart."""

    __slots__ = ()

    def __hash__(self) -> int:
        return -1


# Multiples of a power of two share the low bits of their hashes, so the trie grows deep.
keys = st.one_of(
    st.integers(0, 400),
    st.integers(-200, 200).map(lambda number: number << 20),
    st.integers(0, 80).map(Colliding),
)
changes = st.lists(st.tuples(keys, st.one_of(st.none(), st.integers())), max_size=300)


@given(before=st.dictionaries(keys, st.integers(), max_size=200), steps=changes)
@settings(max_examples=40, deadline=None)
def test_it_is_a_dict(before: dict[Any, int], steps: list[tuple[Any, int | None]]) -> None:
    """After each change; None removes. And the version it was made from is unchanged."""
    plain, current = dict(before), PersistentMap(before)
    for key, value in steps:
        former, former_plain = current, dict(plain)
        if value is None:
            plain.pop(key, None)
            current = current.without(key)
        else:
            plain[key] = value
            current = current.with_item(key, value)
        assert current.get(key, "no") == plain.get(key, "no")
        assert len(current) == len(plain)
        assert former.get(key, "no") == former_plain.get(key, "no")
    assert dict(current) == plain
    assert current == PersistentMap(plain)


def test_an_older_version_stays_whole() -> None:
    """Copies share nodes, so one that was changed in place would show in all of them."""
    full = PersistentMap({number: number for number in range(1_000)})
    current = full
    for number in range(1_000):
        current = current.without(number) if number % 2 else current.with_item(number, -1)
    assert dict(full) == {number: number for number in range(1_000)}
    assert dict(current) == dict.fromkeys(range(0, 1_000, 2), -1)


def test_what_became_empty_keeps_no_nodes() -> None:
    """A set that was large once must not stay large."""
    current = PersistentMap(dict.fromkeys(range(5_000)))
    for number in range(5_000):
        current = current.without(number)
    assert current._root == {}


def test_a_leaf_is_split_before_it_is_large() -> None:
    """The cost of a change is that of one leaf and the way to it."""
    current: PersistentMap[int, int] = PersistentMap()
    for number in range(5_000):
        current = current.with_item(number, number)
    pending, depth, leaves = [current._root], 0, list[dict[Any, Any]]()
    while pending:
        leaves += [node for node in pending if type(node) is dict]
        pending = [child for node in pending if type(node) is tuple for child in node]
        depth += 1
    assert max(map(len, leaves)) <= _LEAF_MAX
    assert depth <= 4


def test_keys_of_like_or_equal_hashes_are_found() -> None:
    """Hashes that share 40 low bits make the trie deep; of equal ones the last leaf holds all."""
    plain: dict[Any, int] = {number << 40: number for number in range(-100, 100)}
    plain |= {Colliding(number): number for number in range(100)}
    current = PersistentMap[Any, int]()
    for key, value in plain.items():
        current = current.with_item(key, value)
    assert dict(current) == plain == dict(PersistentMap(plain))
    for key in list(plain)[::2]:
        current = current.without(key)
        del plain[key]
    assert dict(current) == plain


def test_it_is_stored_and_pickled_as_a_plain_dict() -> None:
    """The hashes of text are others in the next process."""
    full = PersistentMap({f"key {number}": number for number in range(100)})
    registry = Registry([PersistentMap])
    manifest, payload = registry.encode(full)
    assert manifest == "PersistentMap/1"
    assert registry.decode(manifest, payload) == full
    assert pickle.loads(pickle.dumps(full)) == full
    assert full.__reduce__() == (PersistentMap, (dict(full),))


def test_stored_bytes_of_something_else_are_corrupt() -> None:
    """By name, as of any payload."""
    registry = Registry([PersistentMap, list])
    with pytest.raises(CorruptPayloadError, match="a list is stored"):
        registry.decode("PersistentMap/1", registry.encode([1])[1])

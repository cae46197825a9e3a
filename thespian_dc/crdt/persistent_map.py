"""A mapping whose changed copies share what did not change: one change of 10,000 keys costs what
one of 100 does. Pure.

A trie over the keys' hashes: a node is a tuple of 32 nodes, or a dict of up to 32 keys. Hashes of
text differ from process to process, so what is stored and pickled is the plain dict; the order of
keys says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_BITS: Final = 5
_FAN: Final = 1 << _BITS
_LEAF_MAX: Final = 32
_MERGE_MAX: Final = _LEAF_MAX // 2  # well below a leaf's limit, or a key to and fro would split it
_LEVELS_MAX: Final = 12  # 60 bits of hash: keys that share them all stay together in one leaf
_ABSENT: Final = object()

Node = tuple[Any, ...] | dict[Any, Any]


class PersistentMap(Mapping[K, V]):
    """Immutable; equal to another with equal items."""

    __slots__ = ("_root", "_size")
    _root: Node
    _size: int

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._root = _built(dict(items or {}), 0)
        self._size = len(items or {})

    def __getitem__(self, key: K) -> V:
        value = self.get(key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value  # type: ignore[return-value]  # it is not _ABSENT

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: D, /) -> V | D: ...
    def get(self, key: K, default: D | None = None, /) -> V | D | None:
        """The value, or `default`."""
        node, hashed = self._root, hash(key)
        while type(node) is tuple:
            node, hashed = node[hashed % _FAN], hashed >> _BITS
        value: V | D | None = node.get(key, default)  # type: ignore[union-attr]
        return value

    def __iter__(self) -> Iterator[K]:
        return _keys(self._root)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"PersistentMap({dict(self.items())!r})"

    def with_item(self, key: K, value: V) -> PersistentMap[K, V]:
        """This map with the key's value set."""
        size = self._size + (key not in self)
        return _made(_set(self._root, 0, hash(key), key, value), size)

    def without(self, key: K) -> PersistentMap[K, V]:
        """This map without the key; itself where it has no such key."""
        if key not in self:
            return self
        return _made(_unset(self._root, hash(key), key), self._size - 1)

    def to_stored(self) -> dict[K, V]:
        """What the codec stores."""
        return dict(self.items())

    @classmethod
    def from_stored(cls, stored: Any) -> PersistentMap[K, V]:
        """What `to_stored` gave."""
        if type(stored) is not dict:
            raise ValueError(f"a {type(stored).__name__} is stored, not the items of a map")
        return cls(stored)

    def __reduce__(self) -> tuple[Any, ...]:
        return PersistentMap, (self.to_stored(),)


def _made(root: Node, size: int) -> PersistentMap[Any, Any]:
    made: PersistentMap[Any, Any] = PersistentMap.__new__(PersistentMap)
    made._root, made._size = root, size
    return made


def _built(items: dict[Any, Any], level: int) -> Node:
    """The node of all these items at once."""
    if len(items) <= _LEAF_MAX or level == _LEVELS_MAX:
        return items
    parts: list[dict[Any, Any]] = [{} for _ in range(_FAN)]
    for key, value in items.items():
        parts[(hash(key) >> (_BITS * level)) % _FAN][key] = value
    return tuple(_built(part, level + 1) for part in parts)


def _set(node: Node, level: int, hashed: int, key: Any, value: Any) -> Node:
    """hashed: what is left of the key's hash at this level."""
    if type(node) is tuple:
        at = hashed % _FAN
        child = _set(node[at], level + 1, hashed >> _BITS, key, value)
        return (*node[:at], child, *node[at + 1 :])
    return _built({**node, key: value}, level)  # type: ignore[dict-item]  # it is the dict


def _unset(node: Node, hashed: int, key: Any) -> Node:
    if type(node) is tuple:
        at = hashed % _FAN
        child = _unset(node[at], hashed >> _BITS, key)
        node = (*node[:at], child, *node[at + 1 :])
        return node if child else _merged(node)
    rest = dict(node)
    del rest[key]
    return rest


def _merged(node: tuple[Any, ...]) -> Node:
    """A node whose child became empty: one leaf, where what is left fits well."""
    if any(type(child) is tuple for child in node) or sum(map(len, node)) > _MERGE_MAX:
        return node
    return {key: value for child in node for key, value in child.items()}


def _keys(node: Node) -> Iterator[Any]:
    if type(node) is tuple:
        for child in node:
            yield from _keys(child)
    else:
        yield from node

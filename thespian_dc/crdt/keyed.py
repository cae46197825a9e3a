"""What the set and the maps share: keys with entries of dots, and the ways to take them away. Pure.

An entry is gone when none of its dots is left, and nothing is kept of it: its size is bounded by
what it holds. To change one entry costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

from thespian_dc.crdt.dots import Dot, Siblings, seen_of, unseen
from thespian_dc.crdt.operations import AllCleared, KeysRemoved
from thespian_dc.crdt.persistent_map import PersistentMap
from thespian_dc.model.vector import ZERO, VersionVector

K = TypeVar("K")
E = TypeVar("E")
P = TypeVar("P")


@dataclass(frozen=True)
class Keyed(Generic[K, E]):
    """entries: what stands under each key; never an empty entry."""

    entries: PersistentMap[K, E] = field(default_factory=PersistentMap)
    vector: VersionVector = ZERO

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: K) -> bool:
        return key in self.entries

    def remove(self, *keys: K) -> KeysRemoved:
        """The operation that takes away what is seen here of these keys; absent ones are no
        error. What is put there concurrently stays."""
        there = tuple(key for key in dict.fromkeys(keys) if key in self.entries)
        return KeysRemoved(there, self._seen(self.entries[key] for key in there))

    def clear(self) -> AllCleared:
        """The operation that takes away all that is seen here, and nothing else."""
        return AllCleared(dict(self.vector.counts))

    def _take_away(self, operation: KeysRemoved | AllCleared) -> Self:
        if isinstance(operation, AllCleared):
            return self.without(operation.seen)
        entries = self.entries
        for key in operation.keys:
            entry = entries.get(key)
            if entry is not None:
                entries = _with_entry(entries, key, self._left(entry, operation.seen))
        return replace(self, entries=entries)

    def _seen(self, entries: Iterable[E]) -> dict[str, int]:
        """What these entries hold, as `seen`."""
        raise NotImplementedError

    def _left(self, entry: E, seen: Mapping[str, int]) -> E:
        """What of an entry is above `seen`."""
        raise NotImplementedError

    # --- in an OR-map ---

    def __bool__(self) -> bool:
        return bool(self.entries)

    def without(self, seen: Mapping[str, int]) -> Self:
        left = {key: self._left(entry, seen) for key, entry in self.entries.items()}
        return replace(
            self, entries=PersistentMap({key: entry for key, entry in left.items() if entry})
        )

    def within(self, vector: VersionVector) -> Self:
        return replace(self, vector=vector)


@dataclass(frozen=True)
class KeyedSiblings(Keyed[K, Siblings[P]]):
    """Keys whose entries are siblings: the OR-set and the LWW map."""

    def _seen(self, entries: Iterable[Siblings[P]]) -> dict[str, int]:
        return seen_of(dot for entry in entries for dot in entry)

    def _left(self, entry: Siblings[P], seen: Mapping[str, int]) -> Siblings[P]:
        return unseen(entry, seen)

    def _put(self, puts: Mapping[K, P], dot: Dot, seen: Mapping[str, int]) -> Self:
        entries = self.entries
        for key, put in puts.items():
            entries = entries.with_item(key, {**unseen(entries.get(key, {}), seen), dot: put})
        return type(self)(entries, self.vector.advanced(*dot))

    def has_dot(self, dot: Dot) -> bool:
        return any(dot in entry for entry in self.entries.values())

    def _is_taken(self, dot: Dot, puts: Mapping[K, P]) -> bool:
        """Does the dot stand for something else than `puts`?"""
        return any(
            dot in entry and not (key in puts and puts[key] == entry[dot])
            for key, entry in self.entries.items()
        )


def _with_entry(entries: PersistentMap[K, Any], key: K, entry: Any) -> PersistentMap[K, Any]:
    return entries.with_item(key, entry) if entry else entries.without(key)

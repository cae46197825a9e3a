"""A map of replicated values of one type; an update wins over a concurrent removal of its key.
Pure.

The values' dots are the map's: it has the one vector, and hands it to a value for the time of an
operation. So a key that was removed and made again never repeats a dot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

from thespian_dc.crdt.dots import Dot, Dotted, is_known, wrong
from thespian_dc.crdt.keyed import Keyed
from thespian_dc.crdt.operations import AllCleared, KeysRemoved, MapUpdated
from thespian_dc.model.vector import ZERO

K = TypeVar("K")
V = TypeVar("V", bound=Dotted)


@dataclass(frozen=True)
class OrMap(Keyed[K, V], Generic[K, V]):
    """empty: the value of a key before its first update, `OrMap(empty=PnCounter())`: a PnCounter,
    MvRegister, OrSet, LwwMap or OrMap, the same at all replicas."""

    empty: V = field(kw_only=True)

    def get(self, key: K) -> V:
        """The key's value; the empty one where there is none."""
        return self.entries.get(key, self.empty)

    @property
    def value(self) -> dict[K, V]:
        """A copy of the whole map."""
        return dict(self.entries)

    def update(self, key: K, prepare: Callable[[V], Any]) -> MapUpdated:
        """The operation on a key's value that `prepare` returns, given that value:
        `cart.update("apple", lambda quantity: quantity.add(2, "eu"))`."""
        return MapUpdated(key, prepare(self.get(key).within(self.vector)))

    def apply(self, operation: object) -> Self:
        """As the values' type says of repetition. WrongOperationError; RepeatedOperationError where
        two updates were prepared from one map."""
        if isinstance(operation, KeysRemoved | AllCleared):
            return self._take_away(operation)
        if type(operation) is not MapUpdated:
            raise wrong(self, operation, MapUpdated, KeysRemoved, AllCleared)
        key = operation.key
        # Only asked whether another key has the dot: what is known already, the value knows itself.
        is_known(self, operation, lambda dot: self._is_under_another(key, dot))
        value = self.get(key).within(self.vector).apply(operation.operation)
        entries = self.entries
        entries = entries.with_item(key, value.within(ZERO)) if value else entries.without(key)
        return replace(self, entries=entries, vector=value.vector)

    def _is_under_another(self, key: K, dot: Dot) -> bool:
        return any(value.has_dot(dot) for other, value in self.entries.items() if other != key)

    def _seen(self, entries: Iterable[V]) -> dict[str, int]:
        return dict(self.vector.counts)

    def _left(self, entry: V, seen: Mapping[str, int]) -> V:
        return entry.without(seen)

    def has_dot(self, dot: Dot) -> bool:
        return any(value.has_dot(dot) for value in self.entries.values())

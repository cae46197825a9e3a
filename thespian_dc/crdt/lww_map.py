"""A map of plain values: of concurrent puts to one key the later wins, and each of them wins over a
concurrent removal. Pure.

Concurrent puts are all kept until one has seen them: a put that lost may be what is left when a
removal that had seen the winner arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Self, TypeVar, overload

from thespian_dc.crdt.dots import Siblings, is_known, wrong
from thespian_dc.crdt.keyed import KeyedSiblings
from thespian_dc.crdt.lww import NEVER, LwwTime
from thespian_dc.crdt.operations import AllCleared, KeysRemoved, MapPut

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


@dataclass(frozen=True)
class LwwMap(KeyedSiblings[K, tuple[V, int]], Generic[K, V]):
    """entries: (value, time_us) of each key's concurrent puts."""

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: D | None = None) -> V | D | None:
        """The value of the latest put, or `default`."""
        siblings = self.entries.get(key)
        return default if siblings is None else _latest(siblings)[1]

    @property
    def value(self) -> dict[K, V]:
        """A copy of the whole map."""
        return {key: _latest(siblings)[1] for key, siblings in self.entries.items()}

    def put(self, key: K, value: V, replica: str, now_us: int) -> MapPut:
        """The operation that puts the value under the key now."""
        siblings = self.entries.get(key, {})
        before = _latest(siblings)[0] if siblings else NEVER
        time_us, counter = before.later(now_us, replica).time_us, self.vector[replica] + 1
        return MapPut(key, value, time_us, replica, counter, self._seen([siblings]))

    def apply(self, operation: object) -> Self:
        """Repetition does not matter. WrongOperationError; RepeatedOperationError where two puts
        were prepared from one map."""
        if isinstance(operation, KeysRemoved | AllCleared):
            return self._take_away(operation)
        if type(operation) is not MapPut:
            raise wrong(self, operation, MapPut, KeysRemoved, AllCleared)
        puts = {operation.key: (operation.value, operation.time_us)}
        if is_known(self, operation, lambda dot: self._is_taken(dot, puts)):
            return self
        return self._put(puts, (operation.replica, operation.counter), operation.seen)


def _latest(siblings: Siblings[tuple[V, int]]) -> tuple[LwwTime, V]:
    (replica, _), (value, time_us) = max(
        siblings.items(), key=lambda sibling: (sibling[1][1], sibling[0][0])
    )
    return LwwTime(time_us, replica), value

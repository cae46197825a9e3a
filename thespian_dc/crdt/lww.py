"""Last writer wins: a time with a tie-break, and the register of one value. Pure.

A later time wins; of equal times the greater replica id. Times are not the clock's alone: each is
greater than all times its origin had applied, so what is written later in causal order wins,
whatever the clocks say. Clocks decide only between concurrent writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Self, TypeVar

from thespian_dc.crdt.dots import repeated, wrong
from thespian_dc.crdt.operations import LwwAssigned
from thespian_dc.model.crdt_errors import NotWholeError

T = TypeVar("T")


class LwwTime(NamedTuple):
    """When and where, compared in this order: a total order of the writes of different replicas."""

    time_us: int = 0
    replica: str = ""

    def later(self, now_us: int, replica: str) -> LwwTime:
        """The time of a write at `replica`: the clock's, or just after this one. NotWholeError."""
        if not isinstance(now_us, int):
            raise NotWholeError("now_us", repr(now_us), "give microseconds, as self.time_us() does")
        return LwwTime(max(now_us, self.time_us + 1), replica)


NEVER: Final = LwwTime()


@dataclass(frozen=True)
class LwwRegister(Generic[T]):
    """One value. value: what holds before anything is assigned, the same at all replicas."""

    value: T
    time: LwwTime = NEVER

    def assign(self, value: T, replica: str, now_us: int) -> LwwAssigned:
        """The operation that assigns `value` now."""
        return LwwAssigned(value, *self.time.later(now_us, replica))

    def apply(self, operation: object) -> Self:
        """Order and repetition do not matter. WrongOperationError; RepeatedOperationError where
        two values were assigned from one."""
        if type(operation) is not LwwAssigned:
            raise wrong(self, operation, LwwAssigned)
        time = LwwTime(operation.time_us, operation.replica)
        if time == self.time and operation.value != self.value:
            raise repeated(self, operation, (time.replica, time.time_us))
        return type(self)(operation.value, time) if time > self.time else self

"""A simulated journal that can be put back to an older copy of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.simulation.journal import SimulatedJournal, Steps

Copy = dict[str, dict[Any, Any]]
TABLES = ("cells", "claims", "statics", "commits", "trims", "marks", "index", "states")


class _GoneError(Exception):
    """The request was made to a journal that is no more."""


class ReplicaJournal(SimulatedJournal):
    """life: how often it was put back. What was asked of an earlier life never happens."""

    life = 0

    def copy(self) -> Copy:
        """As a backup has it."""
        storage = self.memory._storage
        return {name: _copied(getattr(storage, name)) for name in TABLES}

    def put_back(self, copy: Copy, keys: list[SliceKey]) -> None:
        """Nobody uses it meanwhile."""
        self.life += 1
        storage = self.memory._storage
        for name, table in copy.items():
            setattr(storage, name, _copied(table))
        self._heads = {key: self.memory.find_head(key).head for key in keys}

    def _request(self, caller: str, start: Callable[[], Steps], *more: Any, **named: Any) -> None:
        life = self.life
        super()._request(caller, lambda: self._of(life, start()), *more, **named)

    def _of(self, life: int, steps: Steps) -> Steps:
        while True:
            if life != self.life:
                raise _GoneError
            try:
                next(steps)
            except StopIteration as done:
                return done.value
            yield

    def _step(self, *request: Any) -> None:
        try:
            super()._step(*request)
        except _GoneError:
            self._world.hit("replica: request to a journal before it was put back")


def _copied(table: dict[Any, Any]) -> dict[Any, Any]:
    return {key: dict(row) if isinstance(row, dict) else row for key, row in table.items()}

"""What happens between two calls of ours to a journal, for tests of two that work at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thespian_dc.journal.api import Journal


class Meets:
    """A journal; before its call number `at`, something else happens."""

    def __init__(self, journal: Journal, at: int, what: Callable[[], object]) -> None:
        self._journal, self._at, self._what = journal, at, what
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._journal, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                self._what()
            return found(*arguments, **more)

        return call

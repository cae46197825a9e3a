"""Wait for a fact instead of sleeping: the only place of the tests that looks at a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(fact: Callable[[], T], deadline_s: float = 30.0, every_s: float = 0.02) -> T:
    """Call `fact` until what it returns is true and return that.

    An AssertionError from `fact` counts as not yet. Raises AssertionError with the last value or
    the last failed assertion after `deadline_s`.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        seen: object
        try:
            value = fact()
            if value:
                return value
            seen = value
        except AssertionError as failed:
            seen = failed
        if time.monotonic() >= deadline:
            cause = seen if isinstance(seen, AssertionError) else None
            raise AssertionError(f"not within {deadline_s} s; last seen: {seen!r}") from cause
        time.sleep(every_s)


def never(fact: Callable[[], object], within_s: float = 0.5, every_s: float = 0.02) -> None:
    """Check that `fact` stays false for `within_s`; raise AssertionError with what it returned."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        value = fact()
        assert not value, f"happened although it must not: {value!r}"
        time.sleep(every_s)

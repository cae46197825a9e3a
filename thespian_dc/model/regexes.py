"""RE2 patterns of entity ids. Pure.

RE2 has no pattern that takes longer than linear time, so one from another service is safe to run.
It is the optional package google-re2 (extra `filters`), imported on first use; without it every
pattern but EVERY_ID is refused by name: Python's own `re` would accept what RE2 refuses, and could
be made to run for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from thespian_dc.model.errors import MissingExtraError
from thespian_dc.model.stream_errors import InvalidFilterError

EVERY_ID = ".*"
"""Matches every id, also where RE2 is missing."""
REGEX_BYTES_MAX = 1 << 10
_MEMORY_BYTES = 1 << 20
"""What one compiled pattern may take; a pattern that needs more is refused."""
_TOGETHER_BYTES = 8 << 20


def check_regex(pattern: str) -> str:
    """Return the pattern, or raise InvalidFilterError (RE2 refuses it, over 1 KiB) or
    MissingExtraError."""
    if pattern != EVERY_ID:
        compiled(pattern)
    return pattern


@lru_cache(maxsize=1000)
def compiled(pattern: str) -> Any:
    """RE2's object, whose `fullmatch(text)` is None where it does not match."""
    what = f"regex {pattern[:80]!r}"
    size = len(pattern.encode())
    if size > REGEX_BYTES_MAX:
        raise InvalidFilterError(what, f"it is {size} bytes, the limit is {REGEX_BYTES_MAX}")
    try:
        return _compile(pattern, _MEMORY_BYTES)
    except ImportError as error:
        raise MissingExtraError(f"a regex in a filter ({pattern[:80]!r})", "filters") from error
    except ValueError as error:
        raise InvalidFilterError(what, f"RE2 refuses it: {error}") from error


def id_matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Does any of these (checked) patterns match the whole of an id?"""
    if EVERY_ID in patterns:
        return lambda entity_id: True
    matches = [compiled(pattern).fullmatch for pattern in patterns]
    if len(matches) > 1:  # one walk over the id instead of one for each pattern
        try:
            joined = "|".join(f"(?:{pattern})" for pattern in patterns)
            matches = [_compile(joined, _TOGETHER_BYTES).fullmatch]
        except ValueError:
            pass  # too large together, or two groups of one name
    return lambda entity_id: any(match(entity_id) for match in matches)


def _compile(pattern: str, memory_bytes: int) -> Any:
    """ValueError says why RE2 refuses it."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = memory_bytes
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(error.args[0].decode() if error.args else "no reason given") from error

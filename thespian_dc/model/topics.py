"""Topic expressions over topic tags: `sensors/+/temperature`, `sensors/#`. Pure.

A topic is a tag with a prefix (`t:` unless a stream sets another): the tag `t:sensors/7` is the
topic `sensors/7`. Levels are parted by `/` and compared exactly, upper and lower case apart. In an
expression `+` stands for one level, whatever it is, and `#`, only at the end, for one or more
levels that follow; `#` alone matches everything, also what has no topic. In a topic both characters
are ordinary. One `/` at the end of an expression or a topic does not count: `a/#` does not match
`a/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thespian_dc.model.stream_errors import InvalidFilterError

PREFIX = "t:"
EVERYTHING = "#"


def check_topic(expression: str) -> str:
    """Return the expression, or raise InvalidFilterError: it is empty, `#` is not last, or one of
    the two signs shares its level with something else."""
    what = f"topic expression {expression[:80]!r}"
    if not expression.strip("/"):
        raise InvalidFilterError(what, "it is empty")
    levels = _levels(expression)
    for level in levels:
        if level not in ("+", EVERYTHING) and ("+" in level or EVERYTHING in level):
            raise InvalidFilterError(what, f"+ and # stand for whole levels, not in {level!r}")
    if EVERYTHING in levels[:-1]:
        raise InvalidFilterError(what, "# must be the last level")
    return expression


class TopicMatcher:
    """Whether any of an event's tags is a topic that one of the (checked) expressions matches."""

    def __init__(self, expressions: Iterable[str], prefix: str = PREFIX) -> None:
        self._prefix = prefix
        patterns = [_levels(expression) for expression in expressions]
        self.matches_all = [EVERYTHING] in patterns
        """Even an event without any topic matches."""
        self._patterns = [pattern for pattern in patterns if pattern != [EVERYTHING]]

    def matches(self, tags: Iterable[str]) -> bool:
        if self.matches_all:
            return True
        if not self._patterns:
            return False
        prefix = self._prefix
        topics = [_levels(tag[len(prefix) :]) for tag in tags if tag.startswith(prefix)]
        return any(_matches(pattern, topic) for topic in topics for pattern in self._patterns)


def _levels(text: str) -> list[str]:
    return text.removesuffix("/").split("/")


def _matches(pattern: Sequence[str], topic: Sequence[str]) -> bool:
    tail = pattern[-1] == EVERYTHING
    fixed = len(pattern) - tail
    if (len(topic) <= fixed) if tail else (len(topic) != fixed):
        return False
    return all(want in ("+", have) for want, have in zip(pattern[:fixed], topic, strict=False))

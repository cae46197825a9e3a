"""Cut commits down to what passes, without decoding payloads. Pure.

What a filter needs of a commit (entity ids and tags) is read once, and remembered over all calls
that evaluate it; where its records lie is found only where some pass and others do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgpack

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.passing import Evaluator
from thespian_dc.projection.views import CommitView

RECORDS_REMEMBERED_MAX = 20_000
BYTES_REMEMBERED_MAX = 16 << 20
"""Of bodies, which facts keep from being forgotten."""
_HEADER_BYTES = 5
_ARRAY32 = b"\xdd"
ID, TAGS = 1, 5
"""Of a record's fields, in their order in model/record.py."""


class Facts:
    """What a filter looks at of one commit's body: a tuple of tags for each entity id."""

    __slots__ = ("_spans", "ids", "tags", "view")

    def __init__(self, view: CommitView) -> None:
        fields = msgpack.unpackb(view.body, use_list=False) if view.body else ()
        self.view = view
        self.ids = [record[ID] for record in fields]
        self.tags = [record[TAGS] for record in fields]
        self._spans: list[slice] | None = None
        self.look_at(fields)

    def look_at(self, records: Sequence[Any]) -> None:
        """For kinds of facts that hold more: the records as arrays of fields."""

    def cut(self, passing: Sequence[int]) -> CommitView:
        """The view with only the records of these indexes, ascending."""
        view = self.view
        if len(passing) == len(self.ids):
            return view
        if not passing:
            return view._replace(body=b"", kept=())
        if self._spans is None:
            self._spans = spans_of(view.body, len(self.ids))
        kept = [view.kept[index] for index in passing] if view.kept else passing
        body = body_of([view.body[self._spans[index]] for index in passing])
        return view._replace(body=body, kept=tuple(kept))


F = TypeVar("F", bound=Facts)


class FactsCache(Generic[F]):
    """Facts of the commits that calls looked at lately. Bounded by RECORDS_REMEMBERED_MAX and
    BYTES_REMEMBERED_MAX. make: Facts, or a kind of it."""

    def __init__(self, make: Callable[[CommitView], F]) -> None:
        self._make = make
        self._facts: dict[tuple[int, int], F] = {}
        self._records = self._bytes = 0

    def of(self, slice_: int, view: CommitView) -> F:
        """Of this very view: another one of the same commit may show less of it."""
        key = (slice_, view.first_offset)
        facts = self._facts.get(key)
        if facts is not None and facts.view is view:
            return facts
        if facts is not None:
            self._forget(key)
        facts = self._facts[key] = self._make(view)
        self._records += len(facts.ids)
        self._bytes += len(view.body)
        while self._is_full and len(self._facts) > 1:
            self._forget(next(iter(self._facts)))
        return facts

    @property
    def _is_full(self) -> bool:
        return self._records > RECORDS_REMEMBERED_MAX or self._bytes > BYTES_REMEMBERED_MAX

    def _forget(self, key: tuple[int, int]) -> None:
        facts = self._facts.pop(key)
        self._records -= len(facts.ids)
        self._bytes -= len(facts.view.body)


class Selector:
    """A consumer's filter over the commits that its source yields. Raises what Evaluator raises."""

    def __init__(self, wanted: VersionedFilter, facts: FactsCache[Any], topic_prefix: str) -> None:
        self.version = wanted.version
        self._evaluator = Evaluator(wanted.filter, topic_prefix)
        self._facts = facts
        self.lets_all_pass = self._evaluator.lets_all_pass
        self.passes = self._evaluator.passes

    def select(self, slice_: int, view: CommitView) -> CommitView:
        """What passes of a commit."""
        evaluator = self._evaluator
        if evaluator.lets_all_pass or not view.body:
            return view
        facts: Facts = self._facts.of(slice_, view)
        return facts.cut(evaluator.passing(facts.ids, facts.tags))


def body_of(packed: Sequence[bytes]) -> bytes:
    """Packed records as the body of a commit; empty for none."""
    return b"".join((_ARRAY32, len(packed).to_bytes(4, "big"), *packed)) if packed else b""


def spans_of(body: bytes, records: int) -> list[slice]:
    """Where each record of a body lies."""
    walker: Any = msgpack.Unpacker(max_buffer_size=0)
    walker.feed(memoryview(body)[_HEADER_BYTES:])
    spans, start = [], _HEADER_BYTES
    for _ in range(records):
        walker.skip()
        end = _HEADER_BYTES + walker.tell()
        spans.append(slice(start, end))
        start = end
    return spans


def append_empty(taken: list[CommitView], commit: CommitView) -> None:
    """Add a commit of which nothing passes. Joined to such a one before it: their write_id is good
    at their common end, and nowhere else does a consumer stop in them."""
    if taken and not taken[-1].body:
        taken[-1] = commit._replace(first_offset=taken[-1].first_offset)
    else:
        taken.append(commit)

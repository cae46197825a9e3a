"""Whether an event passes a filter. Pure.

Exclude first, include overrides, whatever kind either is of. Verdicts are remembered per entity id
and per set of tags, both bounded: an id is matched against regexes once, not once per event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from thespian_dc.model.criteria import Criteria, Filter
from thespian_dc.model.regexes import EVERY_ID, id_matcher
from thespian_dc.model.topics import PREFIX, TopicMatcher

REMEMBERED_MAX = 20_000
"""Verdicts kept of each kind; more, and they are found anew."""
_INCLUDED, _OPEN, _EXCLUDED = 1, 0, -1

K = TypeVar("K")


class _Verdicts(dict[K, int], Generic[K]):
    """`verdicts[key]` judges what is asked for the first time."""

    def __init__(self, judge: Callable[[K], int]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, key: K) -> int:
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        verdict = self[key] = self._judge(key)
        return verdict


class Evaluator:
    """A filter, ready to judge. topic_prefix: of the tags that are topics.

    Raises what building the filter raises where RE2 is missing here.
    """

    def __init__(self, filter_: Filter, topic_prefix: str = PREFIX) -> None:
        exclude, include = filter_.exclude, filter_.include
        self.lets_all_pass = not exclude
        """Nothing is ever held back."""
        self._exclude_id, self._include_id = _id_matcher(exclude), _id_matcher(include)
        self._exclude_tags = _tag_matcher(exclude, topic_prefix)
        self._include_tags = _tag_matcher(include, topic_prefix)
        self._by_tags = bool(exclude.tags or exclude.topics)
        self._includes_tags = bool(include.tags or include.topics)
        self._tags_matter = self._by_tags or self._includes_tags
        self._of_entity: _Verdicts[str] = _Verdicts(self._judge_entity)
        self._of_tags: _Verdicts[Sequence[str]] = _Verdicts(self._judge_tags)
        ids_alike = EVERY_ID in exclude.regexes and not (include.entity_ids or include.regexes)
        self._alike = ids_alike or not any(
            side.entity_ids or side.regexes for side in (exclude, include)
        )
        self._least = _INCLUDED if ids_alike else _OPEN

    def passes(self, entity_id: str, tags: Sequence[str]) -> bool:
        """Does an event of this entity with these stored tags pass?"""
        entity = self._of_entity[entity_id]
        if entity == _INCLUDED or not self._tags_matter:
            return entity >= _OPEN
        by_tags = self._of_tags[tuple(tags)]
        return by_tags == _INCLUDED or (by_tags == entity == _OPEN)

    def passes_by_entity(self, entity_id: str) -> bool:
        """Does every event of this entity pass, whatever its tags are?"""
        entity = self._of_entity[entity_id]
        return entity == _INCLUDED or (entity == _OPEN and not self._by_tags)

    def may_pass(self, entity_id: str) -> bool:
        """Could an event of this entity pass, with some tags?"""
        return self._of_entity[entity_id] != _EXCLUDED or self._includes_tags

    def passing(self, ids: Sequence[str], tags: Sequence[Sequence[str]]) -> list[int]:
        """Indexes of the events that pass; tags: a tuple for each id."""
        of_tags, least = self._of_tags, self._least
        if self._alike:  # ids make no difference
            return [index for index, some in enumerate(tags) if of_tags[some] >= least]
        passes = self.passes
        pairs = zip(ids, tags, strict=True)
        return [index for index, pair in enumerate(pairs) if passes(*pair)]

    def _judge_entity(self, entity_id: str) -> int:
        if self._include_id(entity_id):
            return _INCLUDED
        return _EXCLUDED if self._exclude_id(entity_id) else _OPEN

    def _judge_tags(self, tags: Sequence[str]) -> int:
        if self._include_tags(tags):
            return _INCLUDED
        return _EXCLUDED if self._exclude_tags(tags) else _OPEN


def _id_matcher(criteria: Criteria) -> Callable[[str], bool]:
    ids, matches = frozenset(criteria.entity_ids), id_matcher(criteria.regexes)
    return lambda entity_id: entity_id in ids or matches(entity_id)


def _tag_matcher(criteria: Criteria, topic_prefix: str) -> Callable[[Iterable[str]], bool]:
    wanted = frozenset(criteria.tags)
    topics = TopicMatcher(criteria.topics, topic_prefix)
    return lambda tags: not wanted.isdisjoint(tags) or topics.matches(tags)

"""Filters: their algebra, what they let through, and what is refused. No stream, no clock."""

from __future__ import annotations

import builtins
import json
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.model import criteria as bounds
from thespian_dc.model import passing, regexes
from thespian_dc.model.criteria import (
    Criteria,
    Exclude,
    Filter,
    Include,
    filter_from,
    plain_of,
)
from thespian_dc.model.errors import MissingExtraError
from thespian_dc.model.passing import Evaluator
from thespian_dc.model.stream_errors import FilterTooLargeError, InvalidFilterError
from thespian_dc.model.topics import TopicMatcher, check_topic

IDS = st.sampled_from(["a", "b", "c-1", "c-2"])
PATTERNS = st.sampled_from([".*", "c-.*", "a|b", "[ab]", "c-1", "b+"])
TAGS = st.sampled_from(["large", "small", "t:x", "t:x/y", "t:x/z/w", "x"])
TOPICS = st.sampled_from(["#", "x", "x/+", "x/#", "+/z/+", "y"])


def some(of: Any) -> Any:
    return st.lists(of, max_size=3)


SIDES = st.builds(Criteria, some(IDS), some(PATTERNS), some(TAGS), some(TOPICS))


@st.composite
def filters(draw: Any) -> Filter:
    include = draw(SIDES)
    starts = [(entity_id, draw(st.integers(1, 9))) for entity_id in include.entity_ids]
    return Filter(draw(SIDES), include, draw(st.booleans()), draw(st.sampled_from([(), starts])))


# --- algebra ---


@given(one=filters(), two=filters(), three=filters())
def test_adding_is_a_union_in_any_order_and_number(one: Filter, two: Filter, three: Filter) -> None:
    """So two processes that add criteria need not agree on who came first."""
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + one == one == one + Filter()
    assert set((one + two).include.tags) == {*one.include.tags, *two.include.tags}


@given(one=filters(), two=filters())
def test_removing_takes_out_what_was_named_and_nothing_else(one: Filter, two: Filter) -> None:
    left = one - two
    for side in ("exclude", "include"):
        for kind, texts in getattr(left, side).by_kind():
            mine, theirs = (set(getattr(getattr(f, side), kind)) for f in (one, two))
            assert set(texts) == mine - theirs
    assert one - Filter() == one
    assert left - two == left
    assert not (one - one)
    assert (one + two) - two == left - two


@pytest.mark.parametrize("kind", ["entity_ids", "regexes", "tags", "topics"])
@pytest.mark.parametrize("side", [Include, Exclude])
def test_each_kind_is_added_and_removed_alike(kind: str, side: Any) -> None:
    """Of both sides; removing what was never there is harmless."""
    one, two = getattr(side, kind)("x"), getattr(side, kind)("y")
    assert (one + two) - two == one
    assert one - two == one
    assert not (one - one)


def test_of_two_starts_of_one_entity_the_higher_counts() -> None:
    """A start goes with its entity."""
    low, high = Include.entity_ids("a", from_seq_nr=3), Include.entity_ids("a", from_seq_nr=8)
    assert (low + high).from_seq_nrs == (("a", 8),)
    assert (high + Include.entity_ids("a")).from_seq_nrs == (("a", 8),)
    assert not (low - Include.entity_ids("a"))
    assert (low - Include.entity_ids("a")).from_seq_nrs == ()


@given(one=filters())
def test_a_filter_survives_being_stored_and_sent(one: Filter) -> None:
    """As JSON in databases, pickled between actors; equal in whatever order it was written."""
    assert filter_from(json.loads(json.dumps(plain_of(one)))) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert Filter(Criteria(tags=["b", "a", "b"])) == Exclude.tags("a", "b")


@pytest.mark.parametrize(
    "plain",
    [{"exclud": {}}, {"exclude": {"ids": ["a"]}}, {"include": []}, {"include": {"tags": "large"}},
     {"include": {"tags": [7]}}, {"from_seq_nrs": {"a": 1}}, {"from_seq_nrs": 7}, []],
)  # fmt: skip
def test_a_stored_filter_that_is_wrong_is_refused_by_name(plain: Any) -> None:
    """Also one of a newer version: what it excludes must not be let through."""
    with pytest.raises(InvalidFilterError):
        filter_from(plain)


# --- what passes ---


def oracle(filter_: Filter, entity_id: str, tags: list[str]) -> bool:
    """Exclude first, include overrides, said as slowly as possible."""

    def selects(side: Criteria) -> bool:
        by_id = entity_id in side.entity_ids
        by_regex = any(re.fullmatch(regex, entity_id) for regex in side.regexes)
        by_topic = any(
            expression == "#"
            or re.fullmatch(
                expression.replace("+", "[^/]*").replace("/#", "(/.*)"), tag.removeprefix("t:")
            )
            for expression in side.topics
            for tag in [*tags, "t:?"]
            if tag.startswith("t:") and (expression == "#" or tag != "t:?")
        )
        return by_id or by_regex or by_topic or any(tag in side.tags for tag in tags)

    return not selects(filter_.exclude) or selects(filter_.include)


@given(filter_=filters(), events=st.lists(st.tuples(IDS, some(TAGS)), max_size=20))
def test_exclude_comes_first_and_include_overrides(
    filter_: Filter, events: list[tuple[str, list[str]]]
) -> None:
    """One at a time and many at once alike, and as a plain reading of the rule says."""
    evaluator = Evaluator(filter_)
    expected = [oracle(filter_, entity_id, tags) for entity_id, tags in events]
    assert [evaluator.passes(*event) for event in events] == expected
    ids, tags = [e for e, _ in events], [tuple(t) for _, t in events]
    assert evaluator.passing(ids, tags) == [i for i, passes in enumerate(expected) if passes]
    if evaluator.lets_all_pass:
        assert all(expected)


@given(filter_=filters(), entity_id=IDS, tags=some(TAGS))
def test_an_entity_that_passes_as_a_whole_passes_with_any_tags(
    filter_: Filter, entity_id: str, tags: list[str]
) -> None:
    evaluator = Evaluator(filter_)
    if evaluator.passes_by_entity(entity_id):
        assert evaluator.passes(entity_id, tags)


def test_an_empty_filter_lets_everything_through() -> None:
    assert Evaluator(Filter()).passes("a", ["x"])
    assert not Filter()
    assert Filter().spelled_out() == Filter()


@pytest.mark.parametrize(
    "include",
    [Include.entity_ids("c-1"), Include.regexes("c-.*"), Include.tags("large"),
     Include.topics("x/+")],
)  # fmt: skip
@pytest.mark.parametrize(
    "exclude",
    [Exclude.all(), Exclude.entity_ids("c-1"), Exclude.regexes("c-[0-9]"), Exclude.tags("small"),
     Exclude.topics("x/#")],
)  # fmt: skip
def test_an_include_of_any_kind_beats_an_exclude_of_any_kind(
    include: Filter, exclude: Filter
) -> None:
    tags = ["large", "small", "t:x/y"]
    assert not Evaluator(exclude).passes("c-1", tags)
    assert Evaluator(exclude + include).passes("c-1", tags)


def test_an_include_given_alone_lets_through_only_that() -> None:
    """As a projection's filter; as a change to a filter it only overrides."""
    alone = Evaluator(Include.tags("large").spelled_out())
    assert alone.passes("a", ["large"])
    assert not alone.passes("a", ["small"])
    assert Evaluator(Include.tags("large")).passes("a", ["small"])
    both = Exclude.tags("small") + Include.entity_ids("a")
    assert both.spelled_out() == both
    assert Evaluator(both).passes("b", [])


def test_a_regex_matches_the_whole_id() -> None:
    evaluator = Evaluator(Exclude.regexes("foo"))
    assert not evaluator.passes("foo", [])
    assert evaluator.passes("foo-1", [])
    assert evaluator.passes("a foo", [])


@pytest.mark.parametrize(
    "patterns", [("a|b", "bc"), ("(?P<x>a)", "(?P<x>b)c"), ("(?i)A", "B"), ("é{90}", "b+c"), ("a",)]
)
@pytest.mark.parametrize("together_bytes", [8 << 20, 3_000])
def test_patterns_together_match_what_each_matches(
    patterns: tuple[str, ...], together_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they cannot be joined, too: a flag, a name or a limit of one is none of another's."""
    import re2

    monkeypatch.setattr(regexes, "_TOGETHER_BYTES", together_bytes)
    matches = regexes.id_matcher(patterns)
    for text in ("a", "A", "b", "B", "bc", "ab", "bbc", "é" * 90, "é" * 91, "ac"):
        assert matches(text) is any(bool(re2.fullmatch(p, text)) for p in patterns)


def test_verdicts_are_remembered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A regex runs once per id; many ids do not fill the memory."""
    monkeypatch.setattr(passing, "REMEMBERED_MAX", 10)
    evaluator = Evaluator(Exclude.regexes("c-[0-4]+") + Exclude.tags("x"))
    ids = [f"c-{number}" for number in range(50)]
    for _ in range(2):
        passed = [entity_id for entity_id in ids if evaluator.passes(entity_id, [entity_id])]
        assert passed == [i for i in ids if not re.fullmatch("c-[0-4]+", i)]
    assert len(evaluator._of_entity) <= 10
    assert len(evaluator._of_tags) <= 10


# --- what is refused ---


@pytest.mark.parametrize(
    "pattern", ["(?=a)", r"(a)\1", "(", "a{1001}", "x" * 1025, r"(?:\pL{100}){10}", ""]
)
def test_a_pattern_that_re2_refuses_or_that_is_too_long_is_refused(pattern: str) -> None:
    """Look-ahead and back references are what makes a regex run for ever."""
    with pytest.raises(InvalidFilterError):
        Exclude.regexes(pattern)


def test_a_regex_without_re2_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never downgraded to Python's own; excluding everything needs none."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "re2":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    regexes.compiled.cache_clear()
    with pytest.raises(MissingExtraError, match=r"thespian-dc\[filters\]"):
        Exclude.regexes("c-.*")
    assert not Evaluator(Exclude.all()).passes("a", [])
    assert Evaluator(Include.tags("x").spelled_out()).passes("a", ["x"])


def test_texts_that_can_match_nothing_are_refused() -> None:
    for wrong in ("", "x" * 256, "\ud800"):
        with pytest.raises(InvalidFilterError):
            Include.entity_ids(wrong)
    with pytest.raises(InvalidFilterError):
        Include.tags("x" * 1025)
    with pytest.raises(InvalidFilterError):
        Criteria(tags="large")
    for seq_nr in (-1, 1 << 63):
        with pytest.raises(InvalidFilterError):
            Include.entity_ids("a", from_seq_nr=seq_nr)
    with pytest.raises(InvalidFilterError):
        Filter(from_seq_nrs=[("a", 1)])


def test_a_filter_is_bounded_in_count_and_bytes() -> None:
    """Also one that grew by adding: what was there before stays."""
    many = [f"e{number}" for number in range(bounds.CRITERIA_MAX)]
    full = Include.entity_ids(*many)
    with pytest.raises(FilterTooLargeError):
        full + Include.entity_ids("one more")
    assert full + Include.entity_ids("e1") == full
    with pytest.raises(FilterTooLargeError):
        Include.tags(*[f"{number:1000}" for number in range(bounds.FILTER_BYTES_MAX // 1000 + 1)])
    with pytest.raises(FilterTooLargeError):
        Include.regexes(*[f"r{number}" for number in range(bounds.REGEXES_MAX + 1)])
    with pytest.raises(FilterTooLargeError):
        Include.topics(*[f"r{number}" for number in range(bounds.TOPICS_MAX + 1)])


# --- topics ---


@pytest.mark.parametrize("expression", ["", "/", "a/#/b", "#/a", "a#", "a+/b", "#a", "a/+b", "++"])
def test_an_invalid_topic_expression_is_refused(expression: str) -> None:
    """Empty, # not last, or a sign that shares its level."""
    with pytest.raises(InvalidFilterError):
        check_topic(expression)


@pytest.mark.parametrize(
    ("expression", "topic", "matches"),
    [
        ("a/b", "a/b", True), ("a/b", "A/b", False), ("a/b", "a", False), ("a/b", "a/b/c", False),
        ("a/+", "a/b", True), ("a/+", "a", False), ("a/+", "a/b/c", False), ("+", "a", True),
        ("+/+", "a/b", True), ("+/b/+", "a/b/c", True), ("+/b/+", "a/c/c", False),
        ("a/#", "a/b", True), ("a/#", "a/b/c/d", True), ("a/#", "a", False), ("a/#", "a/", False),
        ("+/b/#", "a/b/c/d", True), ("+/b/#", "a/b", False), ("#", "a/b", True),
        ("a", "+", False), ("a/b", "a/#", False), ("a/+", "a/#", True),
        ("a/b/", "a/b", True), ("a/b", "a/b/", True), ("a/+", "a/", False), ("a//b", "a//b", True),
        ("a/+/b", "a//b", True), ("/a", "a", False),
    ],
)  # fmt: skip
def test_topics_match_level_by_level(expression: str, topic: str, matches: bool) -> None:
    """Exactly and by case; signs in a topic are letters; a slash at the end does not count."""
    assert TopicMatcher([check_topic(expression)]).matches([f"t:{topic}"]) is matches


def test_only_tags_with_the_prefix_are_topics() -> None:
    """The prefix is a setting; # alone needs no topic at all."""
    assert not TopicMatcher(["a"]).matches(["a", "u:a"])
    assert TopicMatcher(["a"], "u:").matches(["u:a"])
    assert not TopicMatcher(["a"], "u:").matches(["t:a"])
    assert TopicMatcher(["#"]).matches([])
    assert TopicMatcher(["#"]).matches(["plain"])
    assert TopicMatcher(["a", "b/#"]).matches(["x", "t:c", "t:b/c"])

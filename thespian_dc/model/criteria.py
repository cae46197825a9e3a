"""Filters: which entities, or which events, a consumer wants. Pure values and their algebra.

Exclude first, include overrides; nothing excluded: everything passes. `model/passing.py` evaluates.
Every value is checked when it is built, so that a `Filter` that exists can be evaluated.

    Exclude.regexes("test-.*") + Include.entity_ids("test-7")
    Include.tags("large")                      # given as a whole filter: only those

Unit: ids and regexes select entities. Tags and topics select entities too (an event that passes
brings the entity's earlier unhandled events before it), or, with events_only, single events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from thespian_dc.model.ids import NAME_BYTES_MAX
from thespian_dc.model.regexes import EVERY_ID, check_regex
from thespian_dc.model.stream_errors import FilterTooLargeError, InvalidFilterError
from thespian_dc.model.topics import check_topic

CRITERIA_MAX = 10_000
REGEXES_MAX = 100
TOPICS_MAX = 1_000
FILTER_BYTES_MAX = 512 << 10
TEXT_BYTES_MAX = 1 << 10
"""Of one tag or topic expression."""
SEQ_NR_MAX = (1 << 63) - 1


def _text(kind: str, text: Any) -> str:
    what = f"{text!r:.80} in {kind}"
    if not isinstance(text, str) or not text:
        raise InvalidFilterError(what, "it must be a non-empty text")
    limit = NAME_BYTES_MAX if kind == "entity_ids" else TEXT_BYTES_MAX
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidFilterError(what, "it is not valid Unicode") from error
    if size > limit:
        raise InvalidFilterError(what, f"it is {size} bytes, the limit is {limit}")
    return text


def _check_limit(what: str, found: int, limit: int) -> None:
    if found > limit:
        raise FilterTooLargeError(what, found, limit)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What selects: an event is selected where any criterion matches it or its entity.

    Each field is kept sorted, each text once. regexes: RE2, of the whole entity id. topics:
    expressions (model/topics.py). InvalidFilterError, FilterTooLargeError, MissingExtraError.
    """

    entity_ids: Sequence[str] = ()
    regexes: Sequence[str] = ()
    tags: Sequence[str] = ()
    topics: Sequence[str] = ()

    def __post_init__(self) -> None:
        for kind, texts in self.by_kind():
            if isinstance(texts, str):
                raise InvalidFilterError(f"{kind} {texts!r}", "it must be a list of texts")
            object.__setattr__(self, kind, tuple(sorted({_text(kind, text) for text in texts})))
        for limit, kind in ((REGEXES_MAX, "regexes"), (TOPICS_MAX, "topics")):
            _check_limit(kind, len(getattr(self, kind)), limit)
        for regex in self.regexes:
            check_regex(regex)
        for topic in self.topics:
            check_topic(topic)

    def __bool__(self) -> bool:
        return any(texts for _, texts in self.by_kind())

    def by_kind(self) -> list[tuple[str, Sequence[str]]]:
        """(name of the field, its criteria), for each kind."""
        return [(kind, getattr(self, kind)) for kind in KINDS]

    def __add__(self, other: Criteria) -> Criteria:
        return Criteria(*((*mine, *theirs) for (_, mine), (_, theirs) in self._beside(other)))

    def __sub__(self, other: Criteria) -> Criteria:
        pairs = self._beside(other)
        return Criteria(*(sorted({*mine} - {*theirs}) for (_, mine), (_, theirs) in pairs))

    def _beside(self, other: Criteria) -> Iterator[tuple[tuple[str, Sequence[str]], ...]]:
        return zip(self.by_kind(), other.by_kind(), strict=True)


KINDS = tuple(field.name for field in fields(Criteria))


@dataclass(frozen=True, slots=True)
class Filter:
    """Exclude first, include overrides; nothing excluded: everything passes.

    from_seq_nrs: (entity id, seq_nr) of included ids that are to be replayed from there at once,
    seq_nr >= 1. It stays with the consumer and is not sent. events_only: tags and topics select
    single events, and nothing is looked up for those that pass by them alone.
    `+` and `-` add and remove criteria; both keep the bounds.
    """

    exclude: Criteria = Criteria()
    include: Criteria = Criteria()
    events_only: bool = False
    from_seq_nrs: Sequence[tuple[str, int]] = ()

    def __post_init__(self) -> None:
        wanted: dict[str, int] = {}
        for entity_id, seq_nr in self.from_seq_nrs:
            if not 1 <= seq_nr <= SEQ_NR_MAX:
                raise InvalidFilterError(f"from_seq_nr {seq_nr} of {entity_id!r}", "1 is the first")
            wanted[entity_id] = max(seq_nr, wanted.get(entity_id, 0))
        stray = wanted.keys() - set(self.include.entity_ids)
        if stray:
            raise InvalidFilterError(f"a from_seq_nr of {min(stray)!r}", "the id is not included")
        object.__setattr__(self, "from_seq_nrs", tuple(sorted(wanted.items())))
        check_bounds(self, CRITERIA_MAX, FILTER_BYTES_MAX)

    def __bool__(self) -> bool:
        """Does it let through anything less than everything, or say how?"""
        return bool(self.exclude or self.include)

    def __add__(self, other: Filter) -> Filter:
        """Both's criteria; of two from_seq_nrs of one id the higher; events_only if one says so.
        In any order the same."""
        return Filter(
            self.exclude + other.exclude, self.include + other.include,
            self.events_only or other.events_only, (*self.from_seq_nrs, *other.from_seq_nrs),
        )  # fmt: skip

    def __sub__(self, other: Filter) -> Filter:
        """Without the other's criteria, whether they were there or not; an id that is no longer
        included loses its from_seq_nr; events_only goes where the other has it."""
        include = self.include - other.include
        left = set(include.entity_ids)
        return Filter(
            self.exclude - other.exclude, include, self.events_only and not other.events_only,
            [pair for pair in self.from_seq_nrs if pair[0] in left],
        )  # fmt: skip

    def spelled_out(self) -> Filter:
        """What it means where it is given as a whole (a setting, not a change): includes without
        any exclude let through nothing but what they include."""
        if self.include and not self.exclude:
            return replace(self, exclude=Criteria(regexes=(EVERY_ID,)))
        return self


def check_bounds(filter_: Filter, criteria_max: int, bytes_max: int) -> None:
    """FilterTooLargeError where it has more; bytes are those of its texts."""
    texts = [
        text for side in (filter_.exclude, filter_.include) for _, some in side.by_kind()
        for text in some
    ]  # fmt: skip
    _check_limit("criteria", len(texts), criteria_max)
    _check_limit("bytes", sum(len(text.encode()) for text in texts), bytes_max)


class VersionedFilter(NamedTuple):
    """A filter and its consumer's count of changes. Version 0 is no filter at all."""

    version: int
    filter: Filter


UNFILTERED = VersionedFilter(0, Filter())


class FilterInForce(NamedTuple):
    """From these offsets on, by slice, batches are evaluated under this version."""

    version: int
    starts: Mapping[int, int]


class Exclude:
    """Filters that exclude; combine them with `+`."""

    @staticmethod
    def all() -> Filter:
        """Everything; needs no RE2."""
        return Filter(Criteria(regexes=(EVERY_ID,)))

    @staticmethod
    def entity_ids(*ids: str) -> Filter:
        return Filter(Criteria(entity_ids=ids))

    @staticmethod
    def regexes(*patterns: str) -> Filter:
        """Entities whose whole id matches one of these (RE2, at most 1 KiB each)."""
        return Filter(Criteria(regexes=patterns))

    @staticmethod
    def tags(*tags: str, events_only: bool = False) -> Filter:
        return Filter(Criteria(tags=tags), events_only=events_only)

    @staticmethod
    def topics(*expressions: str, events_only: bool = False) -> Filter:
        return Filter(Criteria(topics=expressions), events_only=events_only)


class Include:
    """Filters that include; combine them with `+`. Alone, as a projection's filter, they let
    through only what they include (`Filter.spelled_out`); added to a filter while it runs, they
    override its excludes and nothing else."""

    @staticmethod
    def entity_ids(*ids: str, from_seq_nr: int = 0) -> Filter:
        """from_seq_nr: replay each from there at once, even from before the projection began; 0:
        what was not handled yet comes with its next event, from where the projection began."""
        start = [(entity_id, from_seq_nr) for entity_id in ids] if from_seq_nr else ()
        return Filter(include=Criteria(entity_ids=ids), from_seq_nrs=start)

    @staticmethod
    def regexes(*patterns: str) -> Filter:
        """Entities whose whole id matches one of these (RE2, at most 1 KiB each)."""
        return Filter(include=Criteria(regexes=patterns))

    @staticmethod
    def tags(*tags: str, events_only: bool = False) -> Filter:
        return Filter(include=Criteria(tags=tags), events_only=events_only)

    @staticmethod
    def topics(*expressions: str, events_only: bool = False) -> Filter:
        return Filter(include=Criteria(topics=expressions), events_only=events_only)


def plain_of(filter_: Filter) -> dict[str, Any]:
    """As plain values, for JSON, msgpack and databases; what is empty is left out."""
    plain: dict[str, Any] = {}
    for side in ("exclude", "include"):
        given = {kind: list(texts) for kind, texts in getattr(filter_, side).by_kind() if texts}
        plain |= {side: given} if given else {}
    if filter_.events_only:
        plain["events_only"] = True
    if filter_.from_seq_nrs:
        plain["from_seq_nrs"] = dict(filter_.from_seq_nrs)
    return plain


def filter_from(plain: Mapping[str, Any]) -> Filter:
    """The filter that `plain_of` wrote; InvalidFilterError names what is wrong or unknown."""
    what = "a stored filter"
    try:
        unknown = plain.keys() - {"exclude", "include", "events_only", "from_seq_nrs"}
        if unknown:
            raise InvalidFilterError(what, f"{min(unknown)!r} is not known to this version")
        return Filter(
            Criteria(**plain.get("exclude", {})), Criteria(**plain.get("include", {})),
            bool(plain.get("events_only", False)), tuple(plain.get("from_seq_nrs", {}).items()),
        )  # fmt: skip
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidFilterError(what, str(error)) from error

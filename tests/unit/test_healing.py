"""Healing, case by case: what random runs (test_healing_model.py) do not reach or do not name."""

from __future__ import annotations

import pytest

from thespian_dc.model.criteria import Exclude, Filter, Include, VersionedFilter
from thespian_dc.projection.api import LookedUp, Lookup
from thespian_dc.projection.healing import Healing
from thespian_dc.projection.lookups import HELD_MS, RETRY_MS
from thespian_dc.projection.memory import (
    STARTS_MAX,
    Debt,
    Mark,
    SliceMemory,
    Start,
    StoredMemory,
)
from thespian_dc.projection.views import CommitView

LARGE = Include.tags("large").spelled_out()


def healing(*filters: Filter, lookups_max: int = 8, **stored: Mark) -> Healing:
    """One slice; versions 1, 2, … are known, the last one is in force from offset 0 on."""
    core = Healing(lookups_max=lookups_max)
    for version, filter_ in enumerate(filters, 1):
        core.on_filter(VersionedFilter(version, filter_))
    core.on_version(0, len(filters), 0)
    core.on_marks(0, list(stored), stored)
    core.on_committed()
    return core


def judged(core: Healing, entity_id: str, seq_nr: int, offset: int, whole: bool = False) -> bool:
    core.on_marks(0, core.missing([entity_id]), {})
    return core.judge(0, 1, entity_id, seq_nr, offset, whole)


def answer(lookup: Lookup, *events: tuple[int, int], through: int, below: int = 0) -> LookedUp:
    """events: (seq_nr, offset)."""
    commits = [CommitView(offset, offset + 1, b"", 0, b"x") for _, offset in events]
    return LookedUp(lookup, commits, through, below, False)


def due(core: Healing, now_us: int = 0) -> list[Lookup]:
    return core.due(now_us, lambda _: False)


def owing(*entity_ids: str, lookups_max: int = 8) -> Healing:
    core = healing(LARGE, lookups_max=lookups_max)
    for offset, entity_id in enumerate(entity_ids, 10):
        assert not judged(core, entity_id, 3, offset)
    core.on_committed()
    return core


def test_without_a_filter_nothing_is_remembered() -> None:
    core = Healing()
    assert core.lets_all_pass(0, 0)
    assert not core.changes()


def test_a_gap_under_filters_that_let_the_entity_pass_is_no_debt() -> None:
    """The producer withholds something: nobody else can have."""
    core = healing(Exclude.entity_ids("other") + Include.tags("large"))
    assert judged(core, "a", 7, 40)
    core.on_committed()
    assert judged(core, "a", 9, 50)
    assert due(core) == []


@pytest.mark.parametrize("start", [88, 106])
def test_a_filter_in_force_from_below_the_position_owes_all_below_the_position(start: int) -> None:
    """A source may begin again below it. What comes from there is a duplicate, and the filter
    before held some of it back."""
    core = healing(Exclude.entity_ids("a"), a=Mark(3, 50))
    core.on_filter(VersionedFilter(2, Include.entity_ids("a").spelled_out()))
    assert core.on_in_force(2) == ("a",)
    core.on_version(0, 2, 106)
    core.include(0, 2, start, ["a"])
    assert core.changes().debts == [(0, "a", Debt(below_offset=106))]


def test_a_debt_asks_for_what_lies_between() -> None:
    """From behind the mark to the event that passed, both known."""
    core = healing(LARGE, a=Mark(4, 30))
    assert not judged(core, "a", 7, 40)
    core.on_committed()
    assert due(core) == [Lookup("a", 0, 5, 7, 30)]


@pytest.mark.parametrize(
    ("trimmed_to", "asked"),
    [
        (20, Lookup("a", 0, 2, 0, 20)),
        (50, Lookup("a", 0, 1, 0, 50)),
        (70, Lookup("a", 0, 2, 0, 70)),
    ],
)
def test_what_is_lost_is_not_asked_for_again(trimmed_to: int, asked: Lookup) -> None:
    """Also where a replay goes back behind where the projection began (50): of what is below it
    there is something left, nothing, or less than nothing. The mark that says so is stored."""
    replay = Include.entity_ids("a", from_seq_nr=2).spelled_out()
    core = healing(LARGE, replay)
    core.on_loaded(StoredMemory({0: SliceMemory(50, 50, [Start(50, 0)])}))
    core.on_version(0, 2, 100)
    core.on_marks(0, ["a"], {})
    core.include(0, 2, 100, ["a"])
    core.on_committed()
    [lookup] = due(core)
    assert lookup == Lookup("a", 0, 2, 0, 0)
    core.on_lost(0, "a", trimmed_to)
    [(_, _, mark)] = core.changes().marks
    assert mark == Mark(0, trimmed_to)
    core.on_committed()
    core.ask_anew(lookup)
    assert due(core) == [asked]


def test_an_event_that_stands_for_all_before_it_owes_nothing() -> None:
    """And pays what was owed, also from behind what the debt is limited to."""
    core = healing(LARGE)
    assert judged(core, "a", 7, 40, whole=True)
    core.on_committed()
    assert due(core) == []
    core = owing("a")
    [lookup] = due(core)
    assert core.judge_owed(0, "a", 9, 80, whole=True)
    core.on_paid(answer(lookup, (9, 80), through=9))
    assert core.changes().marks == [(0, "a", Mark(9, 81))]
    assert core.changes().debts == [(0, "a", None)]


def test_what_is_not_known_may_have_held_anything_back() -> None:
    """After more changes than are remembered an old entity is looked up, not taken for complete."""
    core = healing(*[Filter()] * (STARTS_MAX + 2), a=Mark(1, 0))
    starts = [Start(offset, offset) for offset in range(1, STARTS_MAX + 2)]
    known = SliceMemory(0, 0, starts[-STARTS_MAX:])
    core.on_loaded(StoredMemory({0: known}, {start.version: Filter() for start in starts}))
    assert not judged(core, "a", 5, 100)
    core = healing(Filter(), a=Mark(1, 50))
    core.on_loaded(StoredMemory({0: known}, {start.version: Filter() for start in starts}))
    assert judged(core, "a", 5, 100)


def test_a_failed_lookup_is_asked_again_after_growing_pauses() -> None:
    """The debt stays for as long as it takes."""
    core, now_us = owing("a"), 0
    for pause_ms in (100, 200, 400):
        [lookup] = due(core, now_us)
        core.on_failed(lookup, now_us)
        assert due(core, now_us + pause_ms * 1000 - 1) == []
        now_us += pause_ms * 1000
    for _ in range(20):
        [lookup] = due(core, now_us)
        core.on_failed(lookup, now_us)
        now_us += RETRY_MS[1] * 1000
    assert len(due(core, now_us)) == 1


def test_an_answer_that_brings_nothing_is_asked_again_later() -> None:
    """Another node of the producer may not be as far yet."""
    core = owing("a")
    [lookup] = due(core)
    short = answer(lookup, through=0, below=5)
    core.on_paid(short)
    assert core.changes().debts == []
    core.on_committed()
    core.on_answered(short, 0)
    assert due(core) == []
    assert due(core, RETRY_MS[0] * 1000) == [lookup]


def test_few_are_asked_at_a_time_and_the_rest_after_them() -> None:
    core = owing("a", "b", "c", lookups_max=2)
    first, second = due(core)
    assert due(core) == []
    for nr in (1, 2, 3):
        assert core.judge_owed(0, "a", nr, nr)
    paid = answer(first, (1, 1), (2, 2), (3, 3), through=3)
    core.on_paid(paid)
    core.on_committed()
    core.on_answered(paid, 0)
    [third] = due(core)
    assert [one.entity_id for one in (first, second, third)] == ["a", "b", "c"]


def test_the_debt_of_an_entity_that_is_held_waits() -> None:
    core = owing("a", "b")
    assert [one.entity_id for one in core.due(0, lambda one: one == "a")] == ["b"]
    assert [one.entity_id for one in due(core, HELD_MS * 1000)] == ["a"]


def test_what_a_lost_source_was_asked_is_asked_again() -> None:
    core = owing("a")
    assert len(due(core)) == 1
    core.on_source_lost()
    assert len(due(core)) == 1


def test_an_event_skipped_by_hand_counts_as_handled() -> None:
    """Wherever it comes from."""
    core = owing("a")
    core.on_loaded(StoredMemory({}, {}, {}, {}, {0: frozenset({2})}))
    due(core)
    assert [core.judge_owed(0, "a", nr, nr) for nr in (1, 2, 3)] == [True, False, True]
    assert core.changes().marks == [(0, "a", Mark(3, 4))]


def test_debts_are_part_of_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the transaction that moves the position past the event; taken back with it."""
    core = healing(LARGE)
    assert not judged(core, "a", 3, 10)
    assert core.changes().debts == [(0, "a", Debt(3, 11))]
    core.on_rolled_back()
    assert not core.changes()
    assert due(core) == []
    monkeypatch.setattr("thespian_dc.projection.healing.DEBTS_MAX", 1)
    assert owing("a").is_full

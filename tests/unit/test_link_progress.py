"""What a changed filter does to a link, and the stored form of its progress."""

from __future__ import annotations

import msgpack
import pytest

from thespian_dc.model.criteria import Criteria, Exclude, Filter, Include
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.link_progress import (
    LinkProgress,
    let_in,
    plain_of_progress,
    progress_of,
)
from thespian_dc.model.position import START, Position

ALL, NOTHING = Filter(), Exclude.all()
TESTS = Exclude.regexes("test-.*")
AT = {0: Position(7, b"w" * 16), 1: Position()}


@pytest.mark.parametrize(
    ("before", "after", "ids"),
    [
        (ALL, TESTS, set()),
        (ALL, ALL, set()),
        (TESTS, TESTS + Exclude.entity_ids("a"), set()),
        (NOTHING + Include.entity_ids("a"), NOTHING + Include.entity_ids("a", "b"), {"b"}),
        (NOTHING + Include.entity_ids("a"), NOTHING, set()),
        (Exclude.entity_ids("a", "b"), Exclude.entity_ids("b"), {"a"}),
        (Exclude.entity_ids("a"), ALL, {"a"}),
        (Exclude.entity_ids("a", "b"), NOTHING + Include.entity_ids("b"), {"b"}),
        (TESTS, ALL, None),
        (TESTS, TESTS + Include.regexes("test-7.*"), None),
        (NOTHING, NOTHING + Include.tags("large"), None),
    ],
)
def test_a_filter_lets_in(before: Filter, after: Filter, ids: set[str] | None) -> None:
    """Single ids where it can be told, None where anything may come in."""
    assert let_in(before, after) == ids


def test_ids_come_in_one_by_one() -> None:
    """Positions stay; what is not read as a whole yet is remembered, also over another change."""
    before = LinkProgress("j", 0, AT, NOTHING + Include.entity_ids("a"), frozenset("a"))
    after = before.under(NOTHING + Include.entity_ids("a", "b"))
    assert (after.positions, after.coming_in) == (AT, frozenset("ab"))
    assert after.under(NOTHING + Include.entity_ids("b")).coming_in == {"b"}
    assert after.under(Exclude.entity_ids("a")).positions == {}


def test_what_may_let_in_anything_begins_again() -> None:
    before = LinkProgress("j", 2, AT, TESTS, frozenset("a"))
    assert before.under(ALL) == LinkProgress("j", 2, {}, ALL)


def test_what_a_peer_shows_counts_likewise() -> None:
    before = LinkProgress("j", 0, AT, shown=Exclude.entity_ids("a", "b"))
    after = before.through(Exclude.entity_ids("b"))
    assert (after.positions, after.coming_in) == (AT, frozenset("a"))
    assert before._replace(shown=TESTS).through(ALL) == LinkProgress("j", 0)
    assert after.through(Exclude.entity_ids("a", "b")).coming_in == frozenset()


def test_what_one_end_leaves_out_does_not_come_in_at_the_other() -> None:
    """Of what is not shown there is nothing to read, and what is not wanted is not read: until the
    other end lets it in, too."""
    only_b = NOTHING + Include.entity_ids("b")
    unshown = LinkProgress("j", 0, AT, NOTHING, shown=only_b)
    wanted = unshown.under(NOTHING + Include.entity_ids("a", "b"))
    assert (wanted.positions, wanted.coming_in) == (AT, frozenset("b"))
    assert wanted.through(only_b + Include.entity_ids("a")).coming_in == {"a", "b"}
    unwanted = LinkProgress("j", 0, AT, only_b, shown=Exclude.entity_ids("a", "b"))
    assert unwanted.through(ALL).coming_in == {"b"}
    by_tag = unwanted._replace(filter=NOTHING + Include.tags("large"))
    assert by_tag.through(ALL).coming_in == {"a", "b"}


def test_another_log_begins_at_its_first_record() -> None:
    before = LinkProgress("j", 0, AT, TESTS, frozenset("a"))
    assert before.again("j", 1) == LinkProgress("j", 1, {}, TESTS)


def test_in_another_life_of_the_own_journal_a_log_begins_at_its_first_record() -> None:
    """Once: a process that dies before that is stored finds positions of another life."""
    before = LinkProgress("j", 2, AT, TESTS, frozenset("a"), joining={1: "b"})
    after = before.in_life(3)
    assert after == LinkProgress("j", 2, {}, TESTS, life=3)
    assert after._replace(positions=AT).in_life(3).positions == AT
    assert before.in_life(0) == before


def test_a_link_that_never_ran_has_nothing_to_read_again() -> None:
    assert LinkProgress().under(TESTS) == LinkProgress(filter=TESTS)


def test_the_stored_form_reads_back() -> None:
    wanted = Filter(exclude=Criteria(tags=["large"]))
    progress = LinkProgress("journal", 3, AT, wanted, frozenset(("a", "b")), shown=TESTS, life=2)
    stored = msgpack.unpackb(msgpack.packb(plain_of_progress(progress)))
    assert progress_of(stored) == progress
    assert progress_of(None) == LinkProgress()


@pytest.mark.parametrize("value", [{}, [], {"format": 9}, 7])
def test_another_value_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="progress of a link cannot be read"):
        progress_of(value)


def test_a_slice_that_joins_has_nothing_until_it_is_complete() -> None:
    """It begins where the peer's log does; what is said to others says nothing of it."""
    begun = LinkProgress("j", positions={0: Position(5, b"w"), 1: START, 2: START})
    joining = begun.joined({0: 3, 1: 7, 2: 0})
    assert joining.positions == {0: Position(5, b"w"), 1: Position(7), 2: START}
    assert joining.joining == {1: ""}
    assert joining.offsets == {0: 5, 1: 0, 2: 0}
    assert begun.joined({0: 3, 1: 0, 2: 0}) == begun
    page = joining.fetched(1, ["a", "b"])
    assert progress_of(msgpack.unpackb(msgpack.packb(plain_of_progress(page)))) == page
    assert page.joining == {1: "b"}
    assert page.fetched(1, []).offsets == {0: 5, 1: 7, 2: 0}
    assert page.again("k", 1).joining == {}

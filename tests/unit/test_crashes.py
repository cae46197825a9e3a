"""Which event kills the process: found by few deaths, at one note per batch, without a process."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.projection.attempts import Attempt
from thespian_dc.projection.crashes import Crashes, Extent, Refuse, Step, Try

REACH = 100


class World(NamedTuple):
    """What is left when all events are passed."""

    deaths: int
    notes: int
    refused: list[int]


def live(events: int, killers: set[int], batch: int, deaths_max: int, killed: bool) -> World:
    """Processes of one slice until one reaches the end. killed: the first finds that one before it
    vanished. A usual transaction takes all that waits."""
    stored, deaths, notes, refused = 0, 0, 0, list[int]()
    unclean, noted = killed, Try(0, 0, 0)
    while True:
        crashes = Crashes(deaths_max, REACH)
        crashes.on_began(0, stored, Attempt(unclean, *noted))
        unclean = True
        while stored < events:
            until = min(stored + batch, events)
            step = crashes.step(0, stored, until, events)
            if isinstance(step.note, Refuse):
                refused.append(stored)
                stored += 1
                continue
            if step.note is not None:
                noted, notes = step.note, notes + 1
            end = {Extent.USUAL: events, Extent.BATCH: until, Extent.EVENT: stored + 1}[step.extent]
            if any(stored <= killer < end for killer in killers):
                break
            stored = end
        else:
            return World(deaths, notes, refused)
        deaths += 1
        assert deaths < 1_000, "it never ends"


@given(
    events=st.integers(1, REACH),
    killers=st.sets(st.integers(0, REACH - 1), max_size=4),
    batch=st.integers(1, 30),
    deaths_max=st.integers(2, 5),
)
def test_exactly_the_killers_are_refused_after_few_deaths(
    events: int, killers: set[int], batch: int, deaths_max: int
) -> None:
    """However they lie: the second death tells the batch, and each costs at most one more than
    deaths_max."""
    killers = {killer for killer in killers if killer < events}
    found = live(events, killers, batch, deaths_max, killed=False)
    assert found.refused == sorted(killers)
    assert found.deaths <= len(killers) * (deaths_max + 1)


@given(events=st.integers(1, REACH), batch=st.integers(1, 30))
def test_a_kill_from_outside_costs_one_note_per_batch(events: int, batch: int) -> None:
    """Nothing is refused, and nobody dies."""
    assert live(events, set(), batch, 3, killed=True) == World(0, -(-events // batch), [])


def live_owing(owed: list[list[int]], killers: set[int], deaths_max: int, answer: int) -> World:
    """Processes that look up, one entity after the other, what each is owed of one slice: so many
    events to an answer. owed: by entity, the offsets of its events."""
    rest, deaths, notes, refused = [list(one) for one in owed], 0, 0, list[int]()
    unclean, noted = False, Try(0, 0, 0)
    while True:
        crashes = Crashes(deaths_max, REACH)
        crashes.on_began(0, 0, Attempt(unclean, 0, 0, 0, noted))
        crashes.on_owing({str(nr): 0 for nr, one in enumerate(rest) if one})
        unclean = True
        for nr, offsets in enumerate(rest):
            while offsets:
                some, step = offsets[:answer], Step(Extent.USUAL)
                if crashes.notes_owed(str(nr)):
                    step = crashes.step_owed(0, some[0], some[-1] + 1)
                if isinstance(step.note, Refuse):
                    refused.append(offsets.pop(0))
                    continue
                if step.note is not None:
                    noted, notes = step.note, notes + 1
                some = some[:1] if step.extent is Extent.EVENT else some
                if killers & set(some):
                    break
                del offsets[: len(some)]
            if offsets:
                break
            crashes.on_paid(str(nr))
        else:
            return World(deaths, notes, refused)
        deaths += 1
        assert deaths < 1_000, "it never ends"


@given(
    homes=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    killers=st.sets(st.integers(0, 59), max_size=4),
    deaths_max=st.integers(2, 5),
    answer=st.integers(1, 20),
)
def test_killers_among_what_is_owed_are_refused_after_few_deaths(
    homes: list[int], killers: set[int], deaths_max: int, answer: int
) -> None:
    """Whatever entities they are of: the events of several lie among each other in the log."""
    killers = {killer for killer in killers if killer < len(homes)}
    owed = [[at for at, home in enumerate(homes) if home == one] for one in range(5)]
    found = live_owing(owed, killers, deaths_max, answer)
    assert sorted(found.refused) == sorted(killers)
    assert found.deaths <= len(killers) * (deaths_max + 1)
    assert not killers or found.notes
    assert killers or found == World(0, 0, [])


def test_three_kills_from_outside_at_one_place_refuse_nothing() -> None:
    """One is met between transactions, one in a batch, one at its first event: none of them is that
    event's fault, and a third one there would be needed to say so."""
    noted = Try(0, 0, 0)
    for wanted in (Try(5, 9, 1), Try(5, 6, 1), Try(5, 6, 2)):
        crashes = Crashes(3, REACH)
        crashes.on_began(0, 5, Attempt(True, *noted))
        note = crashes.step(0, 5, 9, 9).note
        assert note == wanted
        noted = wanted
    crashes = Crashes(3, REACH)
    crashes.on_began(0, 5, Attempt(True, *noted))
    assert crashes.step(0, 5, 9, 9).note == Refuse(5, 3)


def test_after_a_clean_end_nothing_is_noted() -> None:
    """Whatever was noted before that."""
    crashes = Crashes(3, REACH)
    crashes.on_began(0, 5, Attempt(False, 5, 6, 2))
    assert crashes.step(0, 5, 9, 9) == Step(Extent.USUAL)
    assert not crashes.slices


def test_what_was_written_after_the_death_is_not_noted() -> None:
    """The first head that is told bounds what the dead process can have had."""
    crashes = Crashes(3, REACH)
    crashes.on_began(0, 5, Attempt(True, 0, 0, 0))
    assert crashes.step(0, 5, 9, 12) == Step(Extent.BATCH, Try(5, 9, 1))
    assert crashes.step(0, 9, 12, 50) == Step(Extent.BATCH, Try(9, 12, 1))
    assert crashes.notes(0)
    assert crashes.step(0, 12, 50, 50) == Step(Extent.USUAL)
    assert not crashes.notes(0)


@pytest.mark.parametrize("stored", [4, 6])
def test_a_note_of_another_place_says_nothing(stored: int) -> None:
    """It was passed, or somebody set the position."""
    crashes = Crashes(3, REACH)
    crashes.on_began(0, stored, Attempt(True, 5, 6, 2))
    assert crashes.step(0, stored, 9, 9) == Step(Extent.BATCH, Try(stored, 9, 1))

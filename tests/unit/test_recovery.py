"""What a recovery policy decides. No clock, no database: (policy, where, error, tries, now) in, a
verdict out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.model.delivery_settings import STRATEGIES, Recovery
from thespian_dc.model.errors import JournalUnavailableError, PositionConflictError, SettingsError
from thespian_dc.model.handler_errors import HandlerCrashedError
from thespian_dc.model.stream_errors import HandlerError, PositionStoreError, UnknownEventError
from thespian_dc.projection.recovery import (
    Fail,
    Park,
    RecoveryCore,
    Retry,
    Skip,
    of_the_event,
    pause_ms,
)

RAISED = HandlerError("p", 0, 5, "c-1", 3, "ValueError: no")
UNKNOWN = UnknownEventError("p", 0, 5, "c-1", 3, "no such type")
CRASHED = HandlerCrashedError("p", 0, 5, "c-1", 3, 3)


def verdicts(policy: Recovery, error: Exception, count: int) -> list[Any]:
    core = RecoveryCore(policy)
    return [core.on_raise(0, 5, error, 0) for _ in range(count)]


def test_each_strategy_says_what_it_is_called() -> None:
    """The whole table, for an event whose handler raises at every try."""
    twice: dict[str, Any] = {"retries": 2, "delay_ms": 10, "growth": 3.0}
    retries = [Retry(10_000), Retry(30_000)]
    assert verdicts(Recovery("fail"), RAISED, 2) == [Fail(), Fail()]
    assert verdicts(Recovery("skip"), RAISED, 1) == [Skip()]
    assert verdicts(Recovery("retry-and-fail", **twice), RAISED, 3) == [*retries, Fail()]
    assert verdicts(Recovery("retry-and-skip", **twice), RAISED, 3) == [*retries, Skip()]
    assert verdicts(Recovery("retry-and-park", **twice), RAISED, 3) == [*retries, Park(3)]


def test_tries_are_counted_for_one_event() -> None:
    """Another event begins anew, and so does the same one after a verdict that ended it."""
    core = RecoveryCore(Recovery("retry-and-skip", retries=1))
    assert isinstance(core.on_raise(0, 5, RAISED, 0), Retry)
    assert isinstance(core.on_raise(1, 5, RAISED, 0), Retry)
    assert core.on_raise(0, 5, RAISED, 0) == Skip()
    assert isinstance(core.on_raise(0, 6, RAISED, 0), Retry)
    assert core.on_raise(1, 5, RAISED, 0) == Skip()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_not_the_events_fault_fails_whatever_the_policy(strategy: str) -> None:
    """A full disk or a journal that is away would skip or park everything."""
    refused = HandlerError("p", 0, 5, "c-1", 3, "full")
    refused.__cause__ = PositionStoreError("sqlite:///x", "disk full")
    away = HandlerError("p", 0, 5, "c-1", 3, "away")
    away.__cause__ = JournalUnavailableError("cassandra://x/y", "away")
    for error in (refused, away, PositionConflictError("p", 0, 1, "x"), MemoryError()):
        assert RecoveryCore(Recovery(strategy)).on_raise(0, 5, error, 0) == Fail()


@pytest.mark.parametrize(
    ("strategy", "verdict"),
    [("fail", Fail()), ("skip", Fail()), ("retry-and-fail", Fail()), ("retry-and-skip", Fail()),
     ("retry-and-park", Park(1))],
)  # fmt: skip
def test_an_unknown_event_is_never_skipped_and_not_tried_again(strategy: str, verdict: Any) -> None:
    """Its type is missing in this process: no try mends that, and skipping would lose it."""
    assert verdicts(Recovery(strategy), UNKNOWN, 1) == [verdict]


@pytest.mark.parametrize(
    ("strategy", "verdict"),
    [("fail", Fail()), ("skip", Skip()), ("retry-and-fail", Fail()), ("retry-and-skip", Skip()),
     ("retry-and-park", Park(1))],
)  # fmt: skip
def test_an_event_that_kills_is_not_tried_again(strategy: str, verdict: Any) -> None:
    """It was tried by dying."""
    assert verdicts(Recovery(strategy), CRASHED, 1) == [verdict]


@given(st.floats(1, 10), st.integers(1, 1000), st.integers(1000, 10**6), st.integers(1, 500))
def test_pauses_grow_and_stay_below_the_longest(
    growth: float, first: int, longest: int, tries: int
) -> None:
    """For any policy, however often it is tried."""
    policy = Recovery("retry-and-fail", delay_ms=first, growth=growth, delay_ms_max=longest)
    pauses = [pause_ms(policy, nr) for nr in range(1, tries + 1)]
    assert pauses[0] == first
    assert pauses == sorted(pauses)
    assert pauses[-1] <= longest


@pytest.mark.parametrize(
    "wrong",
    [{"strategy": "pray"}, {"retries": 0}, {"delay_ms": 0}, {"growth": 0.5}, {"crashes_max": 1},
     {"delay_ms": 100, "delay_ms_max": 50}, {"parked_events_max": 0}, {"parked_bytes_max": 0}],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """When it is built, by its field's name."""
    with pytest.raises(SettingsError, match=r"recovery"):
        Recovery(**wrong)


def test_only_named_errors_of_events_are_the_events_fault() -> None:
    assert of_the_event(RAISED)
    assert not of_the_event(ValueError())

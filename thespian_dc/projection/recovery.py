"""Decide what follows when a handler raised at an event, or died with it. Pure: no clock, database
or thread.

in: where it raised, the error, how often the process died there    out: Verdict
Laws:
- A policy is for errors of events alone. What the database, the journal or the network refused
  would refuse every event: it always fails the run, whatever the policy.
- An event that cannot be decoded is never skipped by a policy: its type is missing here. It may be
  parked, because nothing of it is lost then.
- A position passes an event only after Skip or Park.
- What was trimmed before it could be looked up does not come back: it is not tried again.
"""

from __future__ import annotations

from typing import NamedTuple

from thespian_dc.model.delivery_settings import Recovery
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.handler_errors import HandlerCrashedError
from thespian_dc.model.projection_errors import HistoryLostError
from thespian_dc.model.stream_errors import HandlerError, UnknownEventError


class Retry(NamedTuple):
    """Hand the event over again at `at_us`, unless the projection is stopped before. What is
    handled already is committed meanwhile."""

    at_us: int


class Skip(NamedTuple):
    """Go on behind the event, and count it."""


class Park(NamedTuple):
    """Store the event, hold back its entity's later ones, go on behind it. attempts: how often it
    was tried."""

    attempts: int


class Fail(NamedTuple):
    """End the run; the position stands at the event."""


Verdict = Retry | Skip | Park | Fail


class RecoveryCore:
    """Counts the tries of one event per slice: slices go on in order. Outlives runs."""

    def __init__(self, policy: Recovery) -> None:
        self._policy = policy
        self._tried: dict[int, tuple[int, int]] = {}  # by slice: (offset, tries so far)

    def on_raise(self, slice_: int, offset: int, error: Exception, now_us: int) -> Verdict:
        """A handler raised `error` at this event; earlier events are handled."""
        if not of_the_event(error):
            return Fail()
        at, tries = self._tried.get(slice_, (offset, 0))
        tries = tries + 1 if at == offset else 1
        self._tried[slice_] = (offset, tries)
        verdict = decide(self._policy, error, tries, now_us)
        if not isinstance(verdict, Retry):
            self._tried.pop(slice_, None)
        return verdict


def decide(policy: Recovery, error: Exception, tries: int, now_us: int) -> Verdict:
    """What a policy says after so many tries of one event, the last of which ended in `error`."""
    known = not isinstance(error, UnknownEventError)
    again = known and not isinstance(error, HandlerCrashedError | HistoryLostError)
    if policy.retrying and again and tries <= policy.retries:
        return Retry(now_us + pause_ms(policy, tries) * 1000)
    if policy.strategy == "retry-and-park":
        return Park(tries)
    if policy.strategy in ("skip", "retry-and-skip") and known:
        return Skip()
    return Fail()


def pause_ms(policy: Recovery, tries: int) -> int:
    """The pause before the next try."""
    longest = float(policy.delay_ms_max)
    try:
        return int(min(longest, policy.delay_ms * policy.growth ** (tries - 1)))
    except OverflowError:
        return policy.delay_ms_max


def of_the_event(error: Exception) -> bool:
    """Whether an error is the event's: not if something of ours that may come back refused."""
    if not isinstance(error, HandlerError | UnknownEventError | HandlerCrashedError):
        return False
    cause = error.__cause__
    return not (isinstance(cause, ThespianDcError) and cause.retryable)

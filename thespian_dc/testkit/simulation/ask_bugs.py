"""Mistakes to put into questions to ordinary actors; see bugs.py."""

from __future__ import annotations

import contextlib

from thespian_dc.entity.asks import Asks, State, Target
from thespian_dc.entity.effects import OpenAsk
from thespian_dc.testkit.simulation.bug import Bug, patched
from thespian_dc.testkit.simulation.run import Simulation


def asked_without_settling() -> contextlib.AbstractContextManager[type[Simulation]]:
    """The next question goes out as soon as an answer came: another may follow it."""

    def wrong(self: Asks, target: Target) -> None:
        target.state = State.FREE
        self._next(target)

    return patched(Asks, "_settle", wrong)


def late_answer_not_awaited() -> contextlib.AbstractContextManager[type[Simulation]]:
    """A target that timed out is asked the next question at once, though it owes an answer."""

    def wrong(self: Asks, target: Target, question: OpenAsk) -> None:
        target.asked = None
        self._settle(target)

    return patched(Asks, "_await_owed", wrong)


BUGS: tuple[Bug, ...] = (asked_without_settling, late_answer_not_awaited)

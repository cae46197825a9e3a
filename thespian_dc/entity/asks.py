"""Questions that entities of one host have put to actors and entities. Pure.

An entity's answer carries the correlation. An ordinary actor's carries nothing: it is whatever that
actor sends to the host. So a target has one question outstanding, the rest wait; and between two
questions the host makes sure that what the target sent so far has arrived (Settle): a second answer
to the first question then cannot be taken for the answer to the next. After a time-out the target
may still owe an answer; the next question waits for that answer, or for several times as long.
What nobody asked for is a dead letter: counted, named, dropped.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from thespian_dc.entity.actions import Forward, Send, Settle
from thespian_dc.entity.effects import OpenAsk, Stage
from thespian_dc.entity.hosted import Hosted
from thespian_dc.entity.instance import Instance, Phase
from thespian_dc.entity.protocol import EntityRef, ReplyAddress, Status
from thespian_dc.entity.turn import Turn
from thespian_dc.model.entity_errors import OutcomeUnknownError
from thespian_dc.model.errors import AskTimeoutError

if TYPE_CHECKING:
    from thespian_dc.entity.release import Release
    from thespian_dc.entity.running import Running

OWED_TIMES, OWED_US = 10, (2_000_000, 60_000_000)
"""A target that timed out is asked nothing for so many times the time-out, within these bounds."""


class Ask:
    """One open question. turn: the command it belongs to."""

    __slots__ = ("correlation", "instance", "is_over", "question", "target", "turn")

    def __init__(
        self, correlation: int, instance: Instance, turn: Turn, question: OpenAsk
    ) -> None:
        self.correlation, self.instance, self.turn = correlation, instance, turn
        self.question = question
        self.target: Target | None = None
        self.is_over = False


class State(enum.Enum):
    """Of a target: FREE; ASKED; OWING: timed out, unanswered; SETTLING: nothing more is expected,
    what is on its way is awaited."""

    FREE = "free"
    ASKED = "asked"
    OWING = "owing"
    SETTLING = "settling"


class Target:
    """An ordinary actor that was asked something."""

    __slots__ = ("address", "asked", "queue", "state", "until_us")

    def __init__(self, address: Any) -> None:
        self.address, self.state = address, State.FREE
        self.asked: Ask | None = None
        self.queue: deque[Ask] = deque()  # bounded by limits.waiting_max: each belongs to a turn
        self.until_us = 0


class Asks:
    """All open questions of one host."""

    def __init__(self, hosted: Hosted, running: Running, release: Release) -> None:
        self._hosted, self._running, self._release = hosted, running, release
        self._open: dict[int, Ask] = {}
        self._targets: dict[str, Target] = {}
        self._due: list[tuple[int, int]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._open)

    def knows(self, address: Any) -> bool:
        """There is, or was a moment ago, a question to this actor."""
        return str(address) in self._targets

    def due_us(self) -> int | None:
        owing = [one.until_us for one in self._targets.values() if one.state is State.OWING]
        return min([*(one[0] for one in self._due[:1]), *owing], default=None)

    # --- asking ---
    def open(self, instance: Instance, turn: Turn, question: OpenAsk) -> None:
        """Put a question; its turn is open until on_reply or on_timeout has run."""
        self._count += 1
        due_us = self._hosted.now_us + question.timeout_us
        ask = Ask(self._count, instance, turn, question)
        self._open[ask.correlation] = ask
        instance.keepers += 1
        heappush(self._due, (due_us, ask.correlation))
        if isinstance(question.target, EntityRef):
            reply_to = ReplyAddress(self._hosted.address, self._hosted.member_id, ask.correlation)
            forward = Forward(question.target, question.body, reply_to, "")
            self._release.forward(forward)
            return
        key = str(question.target)
        ask.target = self._targets.get(key)
        if ask.target is None:
            ask.target = self._targets[key] = Target(question.target)
        ask.target.queue.append(ask)
        self._next(ask.target)

    def _next(self, target: Target) -> None:
        """Put the next question to a target that is free."""
        while target.state is State.FREE and target.queue:
            ask = target.queue.popleft()
            if not ask.is_over:
                target.state, target.asked = State.ASKED, ask
                self._hosted.out.append(Send(target.address, ask.question.body))
        if target.state is State.FREE:
            self._targets.pop(str(target.address), None)

    # --- answers ---
    def on_answer(self, correlation: int, status: Status, value: Any) -> None:
        """An entity's answer; value: the reply itself, or the exception."""
        ask = self._open.get(correlation)
        if ask is None:
            self._dead_letter(f"correlation {correlation}", value)
        elif status is Status.OK:
            self._finish(ask, partial(ask.question.on_reply, value))
        else:
            self._finish(ask, partial(_raise, value))

    def on_message(self, address: Any, message: Any) -> None:
        """An ordinary actor sent something to this host."""
        target = self._targets.get(str(address))
        ask = None if target is None else target.asked
        if target is None or ask is None:
            self._dead_letter(address, message)
            if target is not None and target.state is State.OWING:
                self._settle(target)
            return
        target.asked = None
        self._settle(target)
        self._finish(ask, partial(ask.question.on_reply, message))

    def on_settled(self, address: Any) -> None:
        """Whatever the target had sent has arrived."""
        target = self._targets.get(str(address))
        if target is not None and target.state is State.SETTLING:
            target.state = State.FREE
            self._next(target)

    def on_time(self) -> None:
        """Time-outs; and targets that owed an answer for so long that it will not come."""
        now_us = self._hosted.now_us
        while self._due and self._due[0][0] <= now_us:
            ask = self._open.get(heappop(self._due)[1])
            if ask is not None:
                self._time_out(ask)
        for target in [one for one in self._targets.values() if one.state is State.OWING]:
            if target.until_us <= now_us:
                self._settle(target)

    def _time_out(self, ask: Ask) -> None:
        question, target = ask.question, ask.target
        if target is not None and target.asked is ask:
            self._await_owed(target, question)
        self._hosted.counts["ask_timeouts"] += 1
        if question.on_timeout is not None:
            self._finish(ask, question.on_timeout)
            return
        seconds = question.timeout_us / 1e6
        error = AskTimeoutError(str(question.target), seconds, f"asked by {ask.instance.ref}")
        self._finish(ask, partial(_raise, error))

    def _await_owed(self, target: Target, question: OpenAsk) -> None:
        target.asked, target.state = None, State.OWING
        low, high = OWED_US
        owed_us = min(high, max(low, OWED_TIMES * question.timeout_us))
        target.until_us = self._hosted.now_us + owed_us

    def _settle(self, target: Target) -> None:
        target.state = State.SETTLING
        self._hosted.out.append(Settle(target.address))

    def _finish(self, ask: Ask, go_on: Callable[[], Any]) -> None:
        if ask.instance.phase in (Phase.RUNNING, Phase.LOOKING):
            self._close(ask)
            self._running.resume(ask.instance, ask.turn, Stage.ANSWERED, go_on)
        # Else the entity is on its way out of memory, and `go_on` belongs to that memory: the ask
        # stays open until it has left (release.py: leave), and ends like those without an answer.

    def _close(self, ask: Ask) -> None:
        ask.is_over = True
        del self._open[ask.correlation]
        ask.instance.keepers -= 1
        ask.instance.asks(ask.turn.command.command_id, -1)

    # --- the entity leaves memory ---
    def cancel(self, instance: Instance) -> list[Turn]:
        """Close all questions of an instance; returns their turns, each once. The answers will be
        dead letters."""
        if not instance.keepers:
            return []
        turns = []
        for ask in [one for one in self._open.values() if one.instance is instance]:
            self._close(ask)
            target = ask.target
            if target is not None and target.asked is ask:
                self._await_owed(target, ask.question)
            if ask.turn not in turns:
                ask.turn.put_aside()
                turns.append(ask.turn)
        return turns

    def may_run_again(self, turn: Turn) -> bool:
        """A turn lost its instance: it may start again, unless a part of it is durable; then its
        asker is told. A hook does not: it runs when the entity comes back. Nor does one that is
        over, because another part of it was lost or refused."""
        if turn.is_over:
            return False
        if turn.is_hook:
            turn.open = 1
            self._release.close(turn)
            return False
        if turn.persisted:
            command = turn.command
            ref = f"{command.entity_type}|{command.entity_id}"
            reason = "its open ask was lost, what it had persisted before stands"
            self._release.refuse(turn, OutcomeUnknownError(ref, reason))
            return False
        turn.begin_again()
        return True

    def _dead_letter(self, sender: object, message: Any) -> None:
        self._hosted.report("dead_letter", sender, type(message).__name__)


def _raise(error: Exception) -> None:
    raise error

"""A simulated ordinary actor that entities ask: it answers once, twice, late, or never.

What an actor sends to another arrives in order. It answers a settling message after all that it
was sent before, and behind what it sent while it handled that; an answer that it sends later, by
itself, comes behind that. Where two answers come, both are sent at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from thespian.actors import ActorAddress

from thespian_dc.testkit.simulation.process import Process
from thespian_dc.testkit.simulation.world import World

ORACLES = tuple(f"oracle{n}" for n in range(4))
DELAY_US = (200, 4_000)
LATE_US = (150_000, 1_000_000)
"""Behind the time-out of most questions, and before their host gives up what it is owed."""
ASK_TIMEOUT_S = 0.25
FATES = ("once", "once", "once", "twice", "late", "late", "never")


@dataclass(frozen=True, slots=True)
class Question:
    nonce: str
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to add, and for whom: an entity that gets another's shows it in the log."""

    nonce: str
    amounts: tuple[int, ...]


class Line:
    """From one actor to another: in order."""

    def __init__(self, world: World) -> None:
        self._world, self._last_us = world, 0

    def send(self, deliver: Callable[..., object], *args: Any) -> None:
        at_us = max(self._last_us, self._world.now_us + self._world.between(*DELAY_US))
        self._last_us = at_us
        self._world.after(at_us - self._world.now_us, deliver, *args)


def address_of(oracle: str) -> Any:
    """As entities have it of an ordinary actor: its details are its name."""
    return ActorAddress(oracle)


class Oracle(Process):
    """Never crashes: that what it owes is missing, it does anyway."""

    def boot(self) -> None:
        """It remembers nothing."""

    def on_question(self, question: Question, answer: Callable[[Advice], None]) -> None:
        world, advice = self.world, Advice(question.nonce, question.amounts)
        fate = world.rng.choice(FATES) if world.faulty else "once"
        if fate != "once":
            world.hit(f"fault: answer of an actor {fate}")
        if fate == "late":
            self.after(world.between(*LATE_US), answer, advice)
        elif fate != "never":
            for _ in range(2 if fate == "twice" else 1):
                answer(advice)


class Asking:
    """How one incarnation of a host reaches ordinary actors. on_message, on_settled: in the host's
    process."""

    def __init__(
        self,
        process: Process,
        oracles: Mapping[str, Oracle],
        on_message: Callable[[str, Any], None],
        on_settled: Callable[[str], None],
    ) -> None:
        self._process, self._oracles = process, oracles
        self._on_message = process.into(on_message)
        self._on_settled = process.into(on_settled)
        self._there: dict[str, Line] = {}
        self._back: dict[str, Line] = {}

    def ask(self, name: str, question: Question) -> None:
        oracle, back = self._oracles[name], self._line(self._back, name)

        def answer(advice: Advice) -> None:
            back.send(self._on_message, name, advice)

        self._line(self._there, name).send(oracle.into(oracle.on_question), question, answer)

    def settle(self, name: str) -> None:
        oracle, back = self._oracles[name], self._line(self._back, name)
        arrives = oracle.into(lambda: back.send(self._on_settled, name))
        self._line(self._there, name).send(arrives)

    def _line(self, lines: dict[str, Line], name: str) -> Line:
        return lines.setdefault(name, Line(self._process.world))

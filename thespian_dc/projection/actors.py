"""The handler that hands events to a Thespian actor and waits for its word.

One message is on its way at a time, so order and bound need no further care. Runs on the
projection's thread; the courier belongs to the actor that the thread lives in.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from thespian_dc.model.delivery_settings import ToActor
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.handler_errors import (
    ActorRefusedError,
    ActorSilentError,
    HandlingStoppedError,
)
from thespian_dc.projection.protocol import EventsHandled, EventsRefused, ProjectedEvents

Answer = EventsHandled | EventsRefused


class Courier(Protocol):
    """Brings messages of threads to actors, and answers back."""

    def deliver(
        self, to: ToActor, message: ProjectedEvents, answers: SimpleQueue[Answer | None]
    ) -> None:
        """From any thread. Answers to this message are put into `answers`, none or many; an
        EventsRefused also where it could not be sent."""

    def forget(self, number: str) -> None:
        """No answer to this message is wanted any more."""


class ActorHandler:
    """A grouped handler whose effects are an actor's."""

    def __init__(self, projection: str, to: ToActor, courier: Courier) -> None:
        self._projection, self._to, self._courier = projection, to, courier
        self._answers: SimpleQueue[Answer | None] = SimpleQueue()  # bounded: one is under way
        self._aborted = False

    def start(self) -> None:
        """Nothing: the actor is created or found when the first events go to it."""

    def stop(self) -> None:
        """Nothing: the actor lives on."""

    def abort(self) -> None:
        """From any thread: whoever waits for an answer waits no longer."""
        self._aborted = True
        self._answers.put(None)

    def handle(self, events: Sequence[Envelope[Any]]) -> None:
        """Hand them over and wait. ActorSilentError, ActorRefusedError, HandlingStoppedError."""
        message = ProjectedEvents(self._projection, uuid.uuid4().hex, tuple(events))
        self._courier.deliver(self._to, message, self._answers)
        try:
            answer = self._wait(message.number)
        finally:
            self._courier.forget(message.number)
        if isinstance(answer, EventsRefused):
            raise ActorRefusedError(self._name, answer.cause)

    def _wait(self, number: str) -> Answer:
        while not self._aborted:
            try:
                answer = self._answers.get(timeout=self._to.timeout_s)
            except Empty:
                raise ActorSilentError(self._name, self._to.timeout_s) from None
            if answer is not None and answer.number == number:
                return answer
        raise HandlingStoppedError(self._projection)

    @property
    def _name(self) -> str:
        return self._to.global_name or str(self._to.address)

"""Brings events from the threads of projections to actors, and their answers back.

Half of it runs on the leaf's main thread (`on_item`, `on_answer`), since only that may send;
`deliver` and `forget` come from any. No Thespian here: the leaf's own methods are given.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from thespian_dc.model.delivery_settings import ToActor
from thespian_dc.projection.api import Answer, EventsRefused, ProjectedEvents

CreateActor = Callable[..., Any]
Transmit = Callable[[Any, Any, Callable[[bool], None]], None]


class Errand(NamedTuple):
    """What crosses to the main thread."""

    to: ToActor
    message: ProjectedEvents
    answers: SimpleQueue[Answer | None]


class LeafCourier:
    """Implements projection.api.Courier for a leaf. put: crosses to its main thread."""

    def __init__(self, put: Callable[[Any], None], create: CreateActor, transmit: Transmit) -> None:
        self._put, self._create, self._transmit = put, create, transmit
        self._waiting: dict[str, Errand] = {}  # one per projection at most
        self._addresses: dict[str, Any] = {}  # by global name, as many as settings name

    def deliver(
        self, to: ToActor, message: ProjectedEvents, answers: SimpleQueue[Answer | None]
    ) -> None:
        """See Courier."""
        self._put(Errand(to, message, answers))

    def forget(self, number: str) -> None:
        """See Courier. Where no answer came, the actor is looked for anew the next time."""
        errand = self._waiting.pop(number, None)
        if errand is not None:
            self._addresses.pop(errand.to.global_name, None)

    # --- on the main thread ---

    def on_item(self, errand: Errand) -> None:
        """Send it."""
        message = errand.message
        self._waiting[message.number] = errand

        def done(sent: bool) -> None:
            if not sent:
                self.on_answer(message.refused("the message did not reach it"))

        try:
            self._transmit(self._address(errand.to), message, done)
        except Exception as error:  # noqa: BLE001 - of Thespian: no such class, no Admin, no pickle
            self.on_answer(message.refused(f"{type(error).__name__}: {error}"))

    def on_answer(self, answer: Answer) -> None:
        """An actor's word; of one that nobody waits for any more, nothing."""
        errand = self._waiting.get(answer.number)
        if errand is not None:
            if not isinstance(answer, EventsRefused):
                del self._waiting[answer.number]
            errand.answers.put(answer)

    def _address(self, to: ToActor) -> Any:
        if to.address is not None:
            return to.address
        address = self._addresses.get(to.global_name)
        if address is None:
            address = self._create(to.actor, globalName=to.global_name)
            self._addresses[to.global_name] = address
        return address

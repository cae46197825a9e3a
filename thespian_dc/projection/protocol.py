"""What travels between a projection and the actor that handles its events. They pickle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thespian_dc.model.envelope import Envelope
from thespian_dc.shell.protocol import NodeMessage


@dataclass(frozen=True, slots=True)
class EventsHandled(NodeMessage):
    """The actor's answer: all of them are handled, now the position may move."""

    shown = "projection"

    projection: str
    number: str


@dataclass(frozen=True, slots=True)
class EventsRefused(NodeMessage):
    """The actor's answer: they could not be handled, and why."""

    shown = "projection"

    projection: str
    number: str
    cause: str


@dataclass(frozen=True, slots=True)
class ProjectedEvents(NodeMessage):
    """Events for an actor, in seq_nr order per entity; no others come before its answer.

    number: names this message; the answers carry it. The same events may come again under another
    number: after a time-out, a refusal or a restart.
    """

    shown = "projection"

    projection: str
    number: str
    events: tuple[Envelope[Any], ...]

    def handled(self) -> EventsHandled:
        """To send back to the sender, once the effects are there."""
        return EventsHandled(self.projection, self.number)

    def refused(self, cause: str) -> EventsRefused:
        """To send back in its place; the projection's recovery policy decides what follows."""
        return EventsRefused(self.projection, self.number, cause)

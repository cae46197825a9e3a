"""The flight service's entity: an aircraft, event-sourced. It holds no check for duplicates of its
own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thespian_dc import EventSourcedActor, Transformation


@dataclass(frozen=True, slots=True)
class RecordFlight:
    """Command: one scheduled flight of this aircraft is over, or will never be."""

    carrier: str
    cancelled: bool
    arr_delay_min: int | None


@dataclass(frozen=True, slots=True)
class FlightRecorded:
    """Event."""

    carrier: str
    arr_delay_min: int | None


@dataclass(frozen=True, slots=True)
class FlightCancelled:
    """Event."""

    carrier: str


cancellations = Transformation().identity(FlightCancelled).drop(FlightRecorded)
"""What the pushed stream shows."""


class Aircraft(EventSourcedActor):
    entity_type = "aircraft"
    events = [FlightRecorded, FlightCancelled]
    snapshot_every = 100

    def empty_state(self) -> dict[str, int]:
        return {"flights": 0, "cancelled": 0}

    def receiveMsg_RecordFlight(self, command: RecordFlight, sender: Any) -> None:
        if command.cancelled:
            event: Any = FlightCancelled(command.carrier)
        else:
            event = FlightRecorded(command.carrier, command.arr_delay_min)
        self.persist(event).then_reply(lambda state: state["flights"] + state["cancelled"])

    def apply_event(self, state: dict[str, int], event: Any) -> dict[str, int]:
        state["cancelled" if isinstance(event, FlightCancelled) else "flights"] += 1
        return state

    def tags_for(self, state: dict[str, int], event: Any) -> Sequence[str]:
        return (event.carrier,)

"""The new part: loyalty points of a customer, as an event-sourced entity."""

from __future__ import annotations

from dataclasses import dataclass

from thespian_dc import EventSourcedActor


@dataclass(frozen=True)
class Earn:
    cents: int


@dataclass(frozen=True)
class PointsEarned:
    points: int


class Points(EventSourcedActor):
    entity_type = "points"
    events = [PointsEarned]

    def empty_state(self):
        return 0

    def receiveMsg_Earn(self, command, sender):
        self.persist(PointsEarned(command.cents // 10)).then_reply(lambda points: points)

    def apply_event(self, points, event):
        return points + event.points

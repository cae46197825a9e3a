"""What the filtered projection must come to: every flight of each aircraft that ever flew for one
of two airlines, and nothing of any other.

The first airline's are wanted from the beginning, the second's from a moment in between. A tag
brings an aircraft's whole history with its next event that has the tag, so it does not bring all:
not the aircraft that the second airline does not use again, nor flights for others that follow the
last one for it. Those are included by id.
"""

from __future__ import annotations

from collections.abc import Sequence

from flights import Figures, Flight, truth

PROJECTION = "fleets"
FIRST, SECOND = "B6", "UA"
"""JetBlue and United, as their events' tags."""


def fleets_of(flights: Sequence[Flight]) -> dict[str, Figures]:
    """Figures of each aircraft that is wanted in the end."""
    wanted = {flight.aircraft for flight in flights if flight.carrier in (FIRST, SECOND)}
    return truth((one for one in flights if one.aircraft in wanted), lambda one: one.aircraft)


def only_by_id(flights: Sequence[Flight], changed_before: int) -> list[str]:
    """The aircraft that tags alone do not bring whole where the second airline is included before
    flight `changed_before`; who flew first is first."""
    last: dict[str, int] = {}
    last_tagged: dict[str, int] = {}
    for number, flight in enumerate(flights):
        last[flight.aircraft] = number
        if flight.carrier in (FIRST, SECOND):
            last_tagged[flight.aircraft] = number

    def is_whole(aircraft: str) -> bool:
        number = last_tagged[aircraft]
        is_in_time = flights[number].carrier == FIRST or number >= changed_before
        return last[aircraft] == number and is_in_time

    return [one for one in last if one in last_tagged and not is_whole(one)]

"""What the filtered projection must come to, straight from the file: every flight of each aircraft
that ever flew for one of two airlines, and nothing of any other.

The first airline's are wanted from the beginning, the second's from a moment in between. A tag
brings an aircraft's whole history with its next event that has the tag, so it does not bring all:
not the aircraft that the second airline does not use again, nor flights for others that follow the
last one for it. Those are included by id.
"""

from __future__ import annotations

from itertools import islice

from flights import Figures, read_flights, truth

PROJECTION = "fleets"
FIRST, SECOND = "B6", "UA"
"""JetBlue and United, as their events' tags."""


class Wanted:
    """figures: per aircraft, of the first `flights` flights. by_id: the aircraft to include by id
    where the second airline is included before flight `changed_before`; who flew first is first."""

    def __init__(self, flights: int, changed_before: int) -> None:
        last: dict[str, int] = {}  # in the order of first flights
        last_tagged: dict[str, tuple[int, str]] = {}
        for number, flight in enumerate(islice(read_flights(), flights)):
            last[flight.aircraft] = number
            if flight.carrier in (FIRST, SECOND):
                last_tagged[flight.aircraft] = number, flight.carrier
        every = truth(flights, lambda flight: flight.aircraft)
        self.figures: dict[str, Figures] = {one: every[one] for one in last_tagged}
        self.by_id = [
            one
            for one in last
            if one in last_tagged and not _brought(last[one], *last_tagged[one], changed_before)
        ]


def _brought(last: int, tagged: int, carrier: str, changed_before: int) -> bool:
    """The tags alone bring all flights of an aircraft."""
    return last == tagged and (carrier == FIRST or tagged >= changed_before)

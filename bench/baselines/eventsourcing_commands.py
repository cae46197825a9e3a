"""The `eventsourcing` library on SQLite: command to event saved, one by one, `synchronous` read
back as FULL."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


class EventsourcingCommands:
    def __init__(self, folder: Path, entities: int, text: str) -> None:
        from eventsourcing.application import Application
        from eventsourcing.domain import Aggregate, event

        class Thing(Aggregate):
            @event("Started")
            def __init__(self) -> None:
                self.total = 0

            @event("Added")
            def add(self, text: str, amount: int) -> None:
                self.total += amount

        environment = {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(folder / "eventsourcing.db"),
        }
        self.application: Any = Application(env=environment)
        self.text, self.ids = text, []
        for _ in range(entities):
            thing = Thing()
            self.application.save(thing)
            self.ids.append(thing.id)

    def synchronous(self) -> int:
        """2 is FULL."""
        with self.application.recorder.datastore.transaction(commit=False) as cursor:
            cursor.execute("pragma synchronous")
            return int(cursor.fetchone()[0])

    def rate(self, seconds: float) -> float:
        """Commands per second, each saved before the next."""
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            thing = self.application.repository.get(self.ids[count % len(self.ids)])
            thing.add(self.text, 1)
            self.application.save(thing)
            count += 1
        return count / (time.perf_counter() - started)

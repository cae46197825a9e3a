"""Two services, 336,776 real flights, three kills; at the end every figure is compared with the
file's own.

The flight service holds aircraft as event-sourced entities and takes the flights as commands, some
of them twice. The punctuality service reads its events over gRPC, exactly once. Half-way the
consumer, the producer and an entity host are killed (SIGKILL) and come back by themselves. Any
difference at the end is an error.

Run it with `make demo`, or `make demo CASSANDRA=1` for a flight service on a real Cassandra.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from flight_service import RESEND_EVERY
from flights import Figures, truth
from progress import Progress
from punctuality import QUERY
from service import Service

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.ids import SliceKey

CATCH_UP_S = 120
FLIGHTS_MIN = 20_000


class Demo:
    def __init__(self, folder: Path, journal: str, flights: int) -> None:
        self.folder, self.journal_url, self.total = folder, journal, flights
        self.database = folder / "punctuality.db"
        self.journal: Journal | None = None
        self.kills: list[str] = []
        self.progress = Progress(flights)

    def run(self) -> bool:
        listen = f"127.0.0.1:{free_port()}"
        self.flights = Service(
            "flight_service.py", self.folder / "flights.log",
            "--admin-port", str(free_port()), "--journal", self.journal_url, "--listen", listen,
        )  # fmt: skip
        self.punctuality = Service(
            "punctuality_service.py", self.folder / "punctuality.log",
            "--admin-port", str(free_port()), "--producer", listen,
            "--database", f"sqlite:///{self.database}",
        )  # fmt: skip
        try:
            for service in (self.flights, self.punctuality):
                service.wait_for("ready", 60)
            self.journal = open_journal(self.journal_url)
            self.victims = [
                (share, role.rstrip("s"), service.status()[role][0]["pid"])
                for share, service, role in (
                    (0.5, self.punctuality, "consumers"),
                    (0.6, self.flights, "producers"),
                    (0.7, self.flights, "hosts"),
                )
            ]
            self.send_all()
            self.catch_up()
            return self.compare()
        finally:
            self.progress.close()
            self.punctuality.stop()
            self.flights.stop()
            if self.journal is not None:
                self.journal.close()

    def send_all(self) -> None:
        """Send everything; when 50, 60 and 70 % are acknowledged, kill one process each."""
        self.flights.order(do="send", first=0, until=self.total)
        while "done" not in self.flights.latest:
            if self.flights.process.poll() is not None or "failed" in self.flights.latest:
                why = self.flights.latest.get("failed", "it ended")
                raise SystemExit(f"the flight service failed: {why}; see {self.flights.log}")
            acknowledged = self.flights.latest.get("acknowledged", 0)
            self.show(acknowledged)
            while self.victims and acknowledged >= self.victims[0][0] * self.total:
                self.kill(*self.victims.pop(0)[1:])
            time.sleep(0.02)
        self.acknowledged = self.flights.latest["acknowledged"]

    def kill(self, role: str, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.kills.append(role)
        self.progress.note(f"killed the {role} (pid {pid}) with SIGKILL; it comes back by itself")

    def show(self, acknowledged: int, at_once: bool = False) -> None:
        """Progress; the lag is true: the heads of the journal's slices minus what is handled."""
        if at_once or self.progress.is_due():
            handled = self.handled()  # first: what is stored meanwhile only makes the lag larger
            self.progress.show(acknowledged, handled, events_in(self.journal) - handled)

    def handled(self) -> int:
        """Events that the punctuality service has handled and stored."""
        return sum(f.flights for f in self.figures().values())

    def figures(self) -> dict[str, Figures]:
        if not self.database.exists():
            return {}
        with contextlib.closing(sqlite3.connect(self.database, timeout=10)) as reader:
            try:
                return {row[0]: Figures(*row[1:]) for row in reader.execute(QUERY)}
            except sqlite3.OperationalError:  # its table is not there yet
                return {}

    def catch_up(self) -> None:
        deadline = time.monotonic() + CATCH_UP_S
        while self.handled() < self.total and time.monotonic() < deadline:
            self.show(self.acknowledged)
            time.sleep(0.1)
        self.show(self.acknowledged, at_once=True)

    def compare(self) -> bool:
        self.progress.close()
        resent = -(-self.total // RESEND_EVERY)
        stored = events_in(self.journal)
        duplicates = self.acknowledged - stored
        wanted = truth(self.total)
        table, equal = report(wanted, self.figures())
        print(table)
        print(f"kills: {len(self.kills)} ({', '.join(self.kills)})")
        print(f"commands re-sent with the same id: {resent}")
        print(
            f"commands acknowledged: {self.acknowledged}, events stored: {stored}, duplicates "
            f"dropped: {duplicates}"
        )
        checks = {
            "every figure equals the file's": equal,
            "every flight is stored exactly once": stored == self.total,
            "three processes were killed": len(self.kills) == 3,
            "commands were re-sent": resent > 0,
            "each re-sent command was dropped as a duplicate": duplicates == resent,
        }
        for fact, holds in checks.items():
            print(f"{'ok ' if holds else 'NOT'} {fact}")
        return all(checks.values())


def report(wanted: dict[str, Figures], found: dict[str, Figures]) -> tuple[str, bool]:
    """The figures per carrier as a table, and whether each equals the wanted one."""
    lines, equal = ["carrier  flights  cancelled  mean delay min"], wanted.keys() == found.keys()
    for carrier, figures in sorted(found.items()):
        mark = (
            ""
            if figures == wanted.get(carrier)
            else f"   DIFFERS from the file: {wanted.get(carrier)}"
        )
        equal = equal and not mark
        mean = figures.delay_min / figures.arrived if figures.arrived else 0.0
        lines.append(
            f"{carrier:>7}  {figures.flights:>7}  {figures.cancelled:>9}  {mean:>14.2f}{mark}"
        )
    lines.append(
        f"  total  {sum(f.flights for f in found.values()):>7}  "
        f"{sum(f.cancelled for f in found.values()):>9}"
    )
    return "\n".join(lines), equal


def events_in(journal: Journal | None) -> int:
    """Records in the flight service's journal: each slice's head, added up."""
    assert journal is not None, "it is open while the services run"
    slices = journal.slice_counts()["aircraft"]
    return sum(journal.find_head(SliceKey("aircraft", s)).head for s in range(slices))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def journal_for(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The URL of an empty journal: a file, or a keyspace of a Cassandra that runs as long as the
    demo does."""
    if not options.cassandra:
        yield f"sqlite:///{folder / 'flights.db'}"
        return
    from thespian_dc.journal.api import apply_schema
    from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra

    print("starting Cassandra …", flush=True)
    with EmbeddedCassandra() as server:
        url = f"cassandra://127.0.0.1:{server.port}/flights"
        apply_schema(url)
        yield url


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cassandra",
        action="store_true",
        help="keep the flight service's journal in a real Cassandra",
    )
    parser.add_argument(
        "--flights", type=int, default=336_776, help="how many of the flights (for a quick look)"
    )
    options = parser.parse_args()
    if options.flights < FLIGHTS_MIN:
        parser.error(f"with less than {FLIGHTS_MIN} flights it is over before three kills are done")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its services end with it
    folder = Path(tempfile.mkdtemp(prefix="thespian_dc_demo_"))
    started = time.monotonic()
    with journal_for(options, folder) as journal:
        good = Demo(folder, journal, options.flights).run()
    print(
        f"{'all figures agree' if good else 'FAILED: see above'} "
        f"({time.monotonic() - started:.0f} s)"
    )
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"logs and databases: {folder}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

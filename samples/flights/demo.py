"""Two services, 336,776 real flights, three kills; at the end every figure is compared with the
file's own.

The flight service holds aircraft as event-sourced entities and takes the flights as commands, some
of them twice. The punctuality service reads its events over gRPC, exactly once, in two projections:
figures per carrier from all events, and figures per aircraft from those of one airline. While
events flow another airline is included from the command line, and what its aircraft did before is
brought up. Half-way the consumer, the producer and an entity host are killed (SIGKILL) and come
back by themselves. Any difference at the end is an error.

Run it with `make demo`, or `make demo CASSANDRA=1` for a flight service on a real Cassandra.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from fleets import FIRST, PROJECTION, SECOND, Wanted
from flight_service import RESEND_EVERY
from flights import Figures, truth
from progress import Progress
from read_model import ReadModel
from service import Service

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.ids import SliceKey

CATCH_UP_S = 120
COMMANDS = Path(sys.executable).parent
"""Where this environment keeps its console commands."""
FLIGHTS_MIN = 20_000


class Demo:
    def __init__(self, folder: Path, journal: str, flights: int) -> None:
        self.folder, self.journal_url, self.total = folder, journal, flights
        self.punctuality_db = ReadModel(folder / "punctuality.db")
        self.fleets_db = ReadModel(folder / "fleets.db")
        self.journal: Journal | None = None
        self.kills: list[str] = []
        self.changes: list[Future[int]] = []
        self.beside = ThreadPoolExecutor(1)
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
            "--database", self.punctuality_db.url, "--fleets", self.fleets_db.url,
        )  # fmt: skip
        try:
            self.wanted = Wanted(self.total, changed_before=self.total // 2)
            for service in (self.flights, self.punctuality):
                service.wait_for("ready", 60)
            self.journal = open_journal(self.journal_url)
            self.plan()
            self.send_all()
            self.catch_up()
            return self.compare()
        finally:
            self.progress.close()
            self.punctuality.stop()
            self.flights.stop()
            if self.journal is not None:
                self.journal.close()

    def plan(self) -> None:
        """What is done when which share of the flights is acknowledged."""
        first, *others = self.wanted.by_id
        consumer, producer, host = (
            partial(self.kill, role.rstrip("s"), service.status()[role][0]["pid"])
            for service, role in (
                (self.punctuality, "consumers"),
                (self.flights, "producers"),
                (self.flights, "hosts"),
            )
        )
        self.due: list[tuple[float, Callable[[], None]]] = [
            (0.2, partial(self.include, "--tag", SECOND, "--id", first)),
            (0.5, consumer),
            (0.55, partial(self.include, *(text for one in others for text in ("--id", one)))),
            (0.6, producer),
            (0.7, host),
        ]

    def send_all(self) -> None:
        """Send everything; do what is due meanwhile. The second half is sent when the second
        airline is known to be included: so the file alone says what its tag must bring."""
        self.acknowledged = 0
        half = self.total // 2
        self.send(0, half)
        self.await_included(self.wanted.by_id[0])
        self.send(half, self.total)

    def send(self, first: int, until: int) -> None:
        before = self.acknowledged
        self.flights.order(do="send", first=first, until=until)
        done = False
        while not done:
            done = "done" in self.flights.latest
            if self.flights.process.poll() is not None or "failed" in self.flights.latest:
                why = self.flights.latest.get("failed", "it ended")
                raise SystemExit(f"the flight service failed: {why}; see {self.flights.log}")
            self.acknowledged = before + self.flights.latest.get("acknowledged", 0)
            self.show()
            while self.due and self.acknowledged >= self.due[0][0] * self.total:
                self.due.pop(0)[1]()
            time.sleep(0.02)

    def include(self, *criteria: str) -> None:
        """Change the filter of the fleets' projection as a user would, by a process of its own,
        while events flow."""
        command = ["thespian-dc", "filters", "include", PROJECTION, *criteria]
        shown = " ".join([*command[:10], "…"] if len(command) > 10 else command)
        self.progress.note(f"$ {shown} --positions {self.fleets_db.url}")
        self.changes.append(self.beside.submit(self.run_command, *command))

    def run_command(self, name: str, *options: str) -> int:
        """How many commands were acknowledged while it ran; CalledProcessError if it failed."""
        before = self.acknowledged
        command = [str(COMMANDS / name), *options, "--positions", self.fleets_db.url]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return self.acknowledged - before

    def await_included(self, aircraft: str) -> None:
        """What is included by id is brought up at once, and with it the new filter is in force."""
        self.changes[0].result()
        deadline = time.monotonic() + CATCH_UP_S
        while aircraft not in self.fleets_db.figures():
            if time.monotonic() > deadline:
                raise SystemExit(f"{aircraft} was included and never came; see {self.folder}")
            self.show()
            time.sleep(0.02)

    def kill(self, role: str, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.kills.append(role)
        self.progress.note(f"killed the {role} (pid {pid}) with SIGKILL; it comes back by itself")

    def show(self, at_once: bool = False) -> None:
        """Progress; the lag is true: the heads of the journal's slices minus what is handled."""
        if at_once or self.progress.is_due():
            handled = self.punctuality_db.flights()
            # Handled first: what is stored meanwhile only makes the lag larger.
            self.progress.show(self.acknowledged, handled, events_in(self.journal) - handled)

    def catch_up(self) -> None:
        self.flowed = [change.result() for change in self.changes]
        deadline = time.monotonic() + CATCH_UP_S
        fleets = sum(figures.flights for figures in self.wanted.figures.values())
        while time.monotonic() < deadline and (
            self.punctuality_db.flights() < self.total or self.fleets_db.flights() < fleets
        ):
            self.show()
            time.sleep(0.1)
        self.show(at_once=True)

    def compare(self) -> bool:
        self.progress.close()
        half = self.total // 2
        resent = -(-half // RESEND_EVERY) - (-(self.total - half) // RESEND_EVERY)
        stored = events_in(self.journal)
        duplicates = self.acknowledged - stored
        wanted = truth(self.total, lambda flight: flight.carrier)
        table, equal = report(wanted, self.punctuality_db.figures())
        print(table)
        fleets = self.fleets_db.figures()
        print(
            f"{len(fleets)} aircraft of {FIRST} and {SECOND}, the filter changed "
            f"{len(self.flowed)} times, meanwhile {sum(self.flowed)} commands acknowledged: "
            f"{sum(f.flights for f in fleets.values())} flights, "
            f"{sum(f.cancelled for f in fleets.values())} cancelled"
        )
        print(f"kills: {len(self.kills)} ({', '.join(self.kills)})")
        print(f"commands re-sent with the same id: {resent}")
        print(
            f"commands acknowledged: {self.acknowledged}, events stored: {stored}, duplicates "
            f"dropped: {duplicates}"
        )
        checks = {
            "every figure equals the file's": equal,
            "so does every figure of the filtered projection": self.fleets_agree(fleets),
            "events flowed while its filter was changed twice": len(self.flowed) == 2
            and all(self.flowed),
            "every flight is stored exactly once": stored == self.total,
            "three processes were killed": len(self.kills) == 3,
            "commands were re-sent": resent > 0,
            "each re-sent command was dropped as a duplicate": duplicates == resent,
        }
        for fact, holds in checks.items():
            print(f"{'ok ' if holds else 'NOT'} {fact}")
        return all(checks.values())

    def fleets_agree(self, found: dict[str, Figures]) -> bool:
        wanted = self.wanted.figures
        differing = [one for one in {**wanted, **found} if wanted.get(one) != found.get(one)]
        for aircraft in differing[:10]:
            print(
                f"{aircraft} DIFFERS: {found.get(aircraft)}, from the file {wanted.get(aircraft)}"
            )
        return not differing


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

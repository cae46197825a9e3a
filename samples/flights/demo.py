"""Two services, 336,776 real flights, four kills; at the end every figure is compared with the
file's own.

The flight service holds aircraft as event-sourced entities and takes the flights as commands, some
of them twice. The punctuality service reads its events over gRPC, exactly once, in two projections:
figures per carrier from all events, and figures per aircraft from those of one airline. While
events flow another airline is included from the command line, and what its aircraft did before is
brought up. Cancelled flights are pushed by the flight service into the other one's own journal.
Half-way the consumer, the producer, an entity host and who receives the pushed stream are killed
(SIGKILL) and come back by themselves. Any difference at the end is an error.

Run it with `make demo`, or `make demo CASSANDRA=1` for a flight service on a real Cassandra.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from comparison import counts, expectations, table
from fleets import FIRST, PROJECTION, SECOND, only_by_id
from flight_service import RESEND_EVERY
from flights import read_flights
from progress import Progress
from read_model import ReadModel
from service import Service

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.ids import SliceKey

CATCH_UP_S = 120
IN_FLIGHT_MAX = 4000
COMMANDS = Path(sys.executable).parent
"""Where this environment keeps its console commands."""
FLIGHTS_MIN = 20_000


class Demo:
    def __init__(self, folder: Path, journal: str, flights: int) -> None:
        self.folder, self.journal_url, self.total = folder, journal, flights
        self.figures, self.fleets, self.cancellations = (
            ReadModel(folder / f"{name}.db") for name in ("punctuality", "fleets", "cancellations")
        )
        self.journal: Journal | None = None
        self.kills: list[str] = []
        self.changes: list[Future[int]] = []
        self.beside = ThreadPoolExecutor(1)
        self.progress = Progress(flights)

    def run(self) -> bool:
        """Whether everything holds. However it ends, its services end before it."""
        with contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self.close_journal)
            self.start(at_the_end)
            at_the_end.callback(ignore_signals)
            flights = list(islice(read_flights(), self.total))
            self.expected = expectations(flights, self.figures, self.fleets, self.cancellations)
            self.by_id = only_by_id(flights, changed_before=self.total // 2)
            for service in (self.flights, self.punctuality):
                service.wait_for("ready", 60)
            self.journal = open_journal(self.journal_url)
            self.plan()
            self.send_all()
            self.catch_up()
            return self.compare()

    def start(self, at_the_end: contextlib.ExitStack) -> None:
        listen, receive = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.flights = Service(
            "flight_service.py", self.folder / "flights.log",
            "--admin-port", str(free_port()), "--journal", self.journal_url, "--listen", listen,
            "--push-to", receive,
        )  # fmt: skip
        at_the_end.callback(self.flights.stop)
        self.punctuality = Service(
            "punctuality_service.py", self.folder / "punctuality.log",
            "--admin-port", str(free_port()), "--producer", listen,
            "--database", self.figures.url, "--fleets", self.fleets.url,
            "--cancellations", self.cancellations.url, "--listen", receive,
            "--journal", f"sqlite:///{self.folder / 'received.db'}",
        )  # fmt: skip
        at_the_end.callback(self.punctuality.stop)
        at_the_end.callback(self.progress.close)

    def close_journal(self) -> None:
        if self.journal is not None:
            self.journal.close()

    def plan(self) -> None:
        """What is done when which share of the flights is acknowledged."""
        first, *others = self.by_id
        consumer, producer, receiver, host = (
            partial(self.kill, name, service.status()[role][0]["pid"])
            for name, service, role in (
                ("consumer", self.punctuality, "consumers"),
                ("producer", self.flights, "producers"),
                ("receiver", self.punctuality, "producers"),
                ("host", self.flights, "hosts"),
            )
        )
        self.due: list[tuple[float, Callable[[], None]]] = [
            (0.2, partial(self.include, [first], "--tag", SECOND)),
            (0.5, consumer),
            (0.55, partial(self.include, others)),
            (0.6, producer),
            (0.65, receiver),
            (0.7, host),
        ]

    def send_all(self) -> None:
        """Send everything; do what is due meanwhile. The second half is sent when the second
        airline is known to be included: so the file alone says what its tag must bring."""
        self.acknowledged = 0
        half = self.total // 2
        self.send(0, half)
        while not self.changes[0].done():
            self.show()
            time.sleep(0.02)
        self.changes[0].result()  # raises what went wrong
        self.send(half, self.total)

    def send(self, first: int, until: int) -> None:
        before = self.acknowledged
        in_flight = min(IN_FLIGHT_MAX, self.total // 40)
        self.flights.order(do="send", first=first, until=until, in_flight=in_flight)
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

    def include(self, aircraft: Sequence[str], *criteria: str) -> None:
        """Change the filter of the fleets' projection as a user would, by a process of its own,
        while events flow."""
        ids = [text for one in aircraft for text in ("--id", one)]
        command = ["thespian-dc", "filters", "include", PROJECTION, *criteria, *ids]
        shown = " ".join([*command[:10], "…"] if len(command) > 10 else command)
        self.progress.note(f"$ {shown} --positions {self.fleets.url}")
        self.changes.append(self.beside.submit(self.change, command, aircraft))

    def change(self, command: Sequence[str], aircraft: Sequence[str]) -> tuple[int, int]:
        """How many commands were acknowledged when it was asked for, and when these aircraft were
        there: what is included by id is brought up at once, and with it the new filter is in
        force."""
        before = self.acknowledged
        program = [str(COMMANDS / command[0]), *command[1:], "--positions", self.fleets.url]
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + CATCH_UP_S
        while not self.fleets.figures().keys() >= set(aircraft):
            if time.monotonic() > deadline:
                raise TimeoutError(f"what was included does not come; see {self.folder}")
            time.sleep(0.02)
        return before, self.acknowledged

    def kill(self, role: str, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.kills.append(role)
        self.progress.note(f"killed the {role} (pid {pid}) with SIGKILL; it comes back by itself")

    def show(self, at_once: bool = False) -> None:
        """Progress; the lag is true: the heads of the journal's slices minus what is handled."""
        if at_once or self.progress.is_due():
            handled = self.figures.flights()
            # Handled first: what is stored meanwhile only makes the lag larger.
            self.progress.show(self.acknowledged, handled, events_in(self.journal) - handled)

    def catch_up(self) -> None:
        self.changed = [change.result() for change in self.changes]  # raises what went wrong
        deadline = time.monotonic() + CATCH_UP_S
        while time.monotonic() < deadline and not all(one.is_there() for one in self.expected):
            self.show()
            time.sleep(0.1)
        self.show(at_once=True)

    def compare(self) -> bool:
        self.progress.close()
        half = self.total // 2
        resent = -(-half // RESEND_EVERY) - (-(self.total - half) // RESEND_EVERY)
        stored = events_in(self.journal)
        duplicates = self.acknowledged - stored
        print(table(self.figures.figures()))
        print(f"  {FIRST},{SECOND}  {counts(self.fleets.figures())}")
        print(f" pushed  {counts(self.cancellations.figures())}")
        print(f"kills: {len(self.kills)} ({', '.join(self.kills)})")
        print(f"commands re-sent with the same id: {resent}")
        print(
            f"commands acknowledged: {self.acknowledged}, events stored: {stored}, duplicates "
            f"dropped: {duplicates}"
        )
        for asked, there in self.changed:
            print(f"the filter was changed after {asked} commands, and it counted after {there}")
        checks = {f"every {one.what} equals the file's": one.agrees() for one in self.expected}
        checks |= {
            "every flight is stored exactly once": stored == self.total,
            "four processes were killed": len(self.kills) == 4,
            "the filter was changed twice while events flowed": len(self.changed) == 2
            and all(0 < asked < self.acknowledged for asked, _ in self.changed),
            "commands were re-sent": resent > 0,
            "each re-sent command was dropped as a duplicate": duplicates == resent,
        }
        for fact, holds in checks.items():
            print(f"{'ok ' if holds else 'NOT'} {fact}")
        return all(checks.values())


def events_in(journal: Journal | None) -> int:
    """Records in the flight service's journal: each slice's head, added up."""
    assert journal is not None, "it is open while the services run"
    slices = journal.slice_counts()["aircraft"]
    return sum(journal.find_head(SliceKey("aircraft", s)).head for s in range(slices))


def free_port() -> int:
    """Below those that the system gives to anybody else until it is bound."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def ignore_signals() -> None:
    """It ends already: whoever asks for it again must not keep it from ending its services."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def end(*_: object) -> None:
    """A signal's: its services end with it."""
    ignore_signals()
    sys.exit(143)


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
        parser.error(f"with less than {FLIGHTS_MIN} flights it is over before four kills are done")
    signal.signal(signal.SIGTERM, end)
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

"""From a command (a Thespian tell) to the handler in another process, 100 events per second, open
loop; beside it a bare tell, and a bare pipeline from commit to handler, without this package.

An open loop sends when a send is due, whatever became of the ones before. Ages are taken from
CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from thespian.actors import ActorSystem, ActorTypeDispatcher

from bench.entities import TEXT, Account, Add
from bench.harness import Result, digest, interleaved, median, must_equal, percentiles_ms
from bench.process import child
from bench.world import actor_system, folder, node_of, serving
from thespian_dc import Client, Settings, Stream

RATE, SAMPLES, WARM_UP, ENTITIES = 100.0, 1000, 200, 50
FIRST_OUT_WITHIN_S = 30.0


class Listener(ActorTypeDispatcher):
    """The bare tell's receiver: notes ages, answers with them."""

    def __init__(self) -> None:
        super().__init__()
        self.ages_ns: list[int] = []

    def receiveMsg_Add(self, message: Add, sender: Any) -> None:
        self.ages_ns.append(time.monotonic_ns() - message.amount)

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        self.send(sender, self.ages_ns)
        self.ages_ns = []


def open_loop(send: Callable[[int, int], None], count: int) -> None:
    """send(number, stamp_ns), `count` times at RATE. The stamp is the time of the call; of a send
    that the one before it held up, the time it was due."""
    start, returned = time.monotonic_ns(), 0
    for number in range(count):
        due = start + int(number / RATE * 1e9)
        time.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
        send(number, due if returned > due else time.monotonic_ns())
        returned = time.monotonic_ns()


class Sides:
    """Each method takes one round of a side: SAMPLES events, the first time WARM_UP; ages of all
    but the first round are kept."""

    def __init__(
        self, path: Path, system: ActorSystem, client: Client, port: int, probed: str = ""
    ) -> None:
        self.path, self.system, self.client, self.port = path, system, client, port
        self.probed = probed  # see bench/stages.py
        self.spans: list[tuple[int, int]] = []
        self.listener = system.createActor(Listener)
        self.ages_s: dict[str, list[float]] = {"ours": [], "bare tell": [], "bare pipeline": []}
        self.sent: Counter[str] = Counter()
        self._rounds: Counter[str] = Counter()
        self._numbers = itertools.count()

    def ours(self) -> float:
        count = self._count("ours")
        positions = str(self.path / "positions.db")
        with child(
            "bench.stream_ends", "follow", port=self.port, positions=positions, events=count,
            probed=self.probed,
        ) as consumer:  # fmt: skip
            consumer.hear()  # it follows the head
            open_loop(self._tell_entity, count)
            said = consumer.hear()
        self.spans += said["spans"]
        must_equal("events handled", count, len(said["spans"]))
        must_equal("hash of (entity, last seq_nr)", digest(self.sent), digest(said["last"]))
        return self._note("ours", [handled - sent for sent, handled in said["spans"]])

    def bare_tell(self) -> float:
        count = self._count("bare tell")
        open_loop(lambda _, stamp: self.system.tell(self.listener, Add(TEXT, stamp)), count)
        ages = self.system.ask(self.listener, "ages", FIRST_OUT_WITHIN_S)
        must_equal("tells received", count, len(ages))
        return self._note("bare tell", ages)

    def bare_pipeline(self) -> float:
        count, number = self._count("bare pipeline"), next(self._numbers)
        journal = str(self.path / f"bare-{number}.db")
        positions = str(self.path / f"bare-positions-{number}.db")
        module = "bench.bare"
        with child(module, "produce", journal=journal, rate=RATE, events=count) as producer:
            port = producer.hear()["port"]
            with child(
                module, "consume", port=port, positions=positions, events=count, handler="L"
            ) as consumer:
                ages = consumer.hear()["ages_ns"]
        must_equal("events of the bare pipeline", count, len(ages))
        return self._note("bare pipeline", ages)

    def _tell_entity(self, number: int, stamp_ns: int) -> None:
        entity_id = f"l-{number % ENTITIES}"
        self.sent[entity_id] += 1
        self.client.entity("account", entity_id).tell(Add(TEXT, stamp_ns))

    def _count(self, side: str) -> int:
        self._rounds[side] += 1
        return SAMPLES if self._rounds[side] > 1 else WARM_UP

    def _note(self, side: str, ages_ns: list[int]) -> float:
        if self._rounds[side] > 1:
            self.ages_s[side] += [age / 1e9 for age in ages_ns]
        return median(ages_ns) / 1e9


@contextlib.contextmanager
def sides(journal: str = "", probed: str = "") -> Iterator[Sides]:
    """journal: its URL, or "" for one in SQLite. probed: see bench/stages.py."""
    with folder() as path, actor_system() as system:
        settings = Settings(
            "bench", journal=journal or f"sqlite:///{path / 'j.db'}", entities=[Account],
            streams=[Stream("accounts", Account)], listen="127.0.0.1:0",
        )  # fmt: skip
        with serving(system, settings) as client:
            port = node_of(system, settings).status()["producers"][0]["port"]
            yield Sides(path, system, client, port, probed)


def spans_of_ours(journal: str, probed: str) -> list[tuple[int, int]]:
    """When each event was sent and handled, in monotonic nanoseconds, after a warm-up."""
    with sides(journal, probed) as taken:
        interleaved({"ours": taken.ours})
        return taken.spans[WARM_UP:]


def run() -> list[Result]:
    with sides() as taken:
        interleaved(
            {
                "ours": taken.ours,
                "bare tell": taken.bare_tell,
                "bare pipeline": taken.bare_pipeline,
            }
        )
    found = {side: percentiles_ms(ages) for side, ages in taken.ages_s.items()}
    bare = {p: found["bare tell"][p] + found["bare pipeline"][p] for p in ("p50_ms", "p99_ms")}
    against = {**found, "samples": len(taken.ages_s["ours"])}
    over_ms = found["ours"]["p50_ms"] - bare["p50_ms"]
    times = found["ours"]["p99_ms"] / bare["p99_ms"]
    return [
        Result("latency_p50", over_ms, 0.7, "ms over both bare p50", "lower", against),
        Result("latency_p99", times, 1.3, "x both bare p99", "lower", against),
    ]

"""One ask at a time on an idle node, SQLite FULL, beside a bare Thespian ask of an actor that
answers at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from thespian.actors import ActorTypeDispatcher

from bench.entities import TEXT, Account, Add
from bench.harness import Result, interleaved, median, must_equal, percentiles_ms
from bench.world import actor_system, folder, serving
from thespian_dc import Settings

ASKS = 300


class Echo(ActorTypeDispatcher):
    """The bare side."""

    def receiveMsg_Add(self, message: Add, sender: Any) -> None:
        self.send(sender, message.amount)


def latencies(ask: Callable[[], Any], into: list[float]) -> float:
    """The median of ASKS asks, one after the other, in seconds."""
    fresh = []
    for _ in range(ASKS):
        started = time.perf_counter()
        ask()
        fresh.append(time.perf_counter() - started)
    into += fresh
    return median(fresh)


def run() -> list[Result]:
    ours: list[float] = []
    bare: list[float] = []
    with folder() as path, actor_system() as system:
        echo = system.createActor(Echo)
        settings = Settings("bench", journal=f"sqlite:///{path / 'j.db'}", entities=[Account])
        with serving(system, settings) as client:
            account = client.entity("account", "a-1")
            figures = interleaved(
                {
                    "ours": lambda: latencies(lambda: account.ask(Add(TEXT, 1)), ours),
                    "bare": lambda: latencies(lambda: system.ask(echo, Add(TEXT, 1), 5), bare),
                }
            )
            must_equal("total", len(ours) + 1, account.ask(Add(TEXT, 1)))
    over_ms = (median(figures["ours"]) - median(figures["bare"])) * 1e3
    against = {"ours": percentiles_ms(ours), "bare_thespian_ask": percentiles_ms(bare)}
    return [Result("single_ask", over_ms, 1.5, "ms over bare", "lower", against)]

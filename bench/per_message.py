"""Catching up in batches, against the same stream with one event in each message; the position is
stored per 500 events in both."""

from __future__ import annotations

import contextlib
from functools import partial

from bench.catch_up import Source
from bench.harness import Result, interleaved, median
from bench.world import folder

BATCHED, SINGLE = 1_000_000, 20_000
POSITION_EVENTS = 500
ASKED = 15.0


def run() -> list[Result]:
    with folder() as path, contextlib.ExitStack() as stack:
        batched = Source(path, BATCHED, message_events=POSITION_EVENTS)
        single = Source(path, SINGLE, per_commit=1, message_events=1)
        for source in (batched, single):
            stack.enter_context(source.serving())
        per_500 = {"position_events": POSITION_EVENTS}
        sides = {
            "batched": partial(batched.consume, "S", **per_500),
            "single": partial(single.consume, "S", **per_500, waits=True),
        }
        figures = {name: median(taken) for name, taken in interleaved(sides).items()}
    against = {f"{name}_per_s": round(1 / figure) for name, figure in figures.items()}
    times = figures["single"] / figures["batched"]
    return [Result("catch_up_per_message", times, ASKED, "x one per message", "higher", against)]

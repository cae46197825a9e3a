"""How a process that has many short-lived objects in flight looks for cycles among them."""

from __future__ import annotations

import gc

THRESHOLDS = (400_000, 5, 20)
"""A command makes some 13 objects that live until its commit is durable, and hardly a cycle: each
look for cycles among the young walks all that are in flight. With Python's defaults (700, 10, 10)
that took a quarter of a host's time, with 50,000 still 3 us a command. 400,000 is above what 20,000
commands in flight hold; what cycles keep meanwhile is bounded by it: some 50 MiB of small
objects."""


def collect_seldom() -> None:
    """Call it once, when the process has begun: what is imported and compiled by then stays for
    good, and no collection walks it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)

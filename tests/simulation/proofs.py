"""What every simulator has to show of its seeds: clean ones hold, bugs are caught, each replays."""

from __future__ import annotations

import os
import subprocess
import sys

from thespian_dc.testkit.simulation.seeds import Seeds


def check_clean(of: Seeds, seeds: range, seconds: float | None) -> None:
    """They hold until so much CPU time is over, and together meet all that they are to meet; fails
    with the command that replays the first broken one."""
    totals, broken = of.run(seeds, seconds=seconds)
    if broken is not None:
        first = "; ".join(map(str, broken.broken[:5]))
        plan = f" ({broken.plan})" if broken.plan else ""
        raise AssertionError(f"seed {broken.seed}{plan}: {first}; again: {of.replay(broken.seed)}")
    assert totals.missing() == []


def check_caught(of: Seeds, bug: str, seeds: int, seconds: float) -> None:
    """The bug is caught in the first of so many seeds, within so much CPU time."""
    totals, ended = of.run(range(seeds), bug, seconds)
    assert ended is not None, f"{bug} was not caught in {totals.seeds} seeds, {seconds:.0f} s"
    print(f"{bug}: seed {ended.seed}: {ended.unsafe[0]}; again: {of.replay(ended.seed, bug)}")


def check_same_again(of: Seeds, seed: int) -> None:
    """In another process, with other hashes, the seed prints the same."""
    outputs = {
        subprocess.run(
            [sys.executable, "-m", of.module, "--seed", str(seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=100,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1

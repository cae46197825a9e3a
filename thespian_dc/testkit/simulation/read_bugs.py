"""Mistakes to put into what a host answers from memory, and into how a trimmed log is read; see
bugs.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

from thespian_dc.entity import release
from thespian_dc.entity.effects import Effects
from thespian_dc.entity.release import Release
from thespian_dc.projection.history import Placed, SliceHistory
from thespian_dc.testkit.simulation.bug import Bug, patched
from thespian_dc.testkit.simulation.run import Simulation


@contextlib.contextmanager
def ownership_never_proved_again() -> Iterator[type[Simulation]]:
    """Who took a slice over once answers from memory for ever."""
    with patch.object(release, "CONFIRMED_FOR_US", 1 << 60):
        yield Simulation


def commit_taken_for_a_proof() -> contextlib.AbstractContextManager[type[Simulation]]:
    """What waits for a commit goes out with it, though others may long have gone on from there."""
    answer_all = Release.release

    def wrong(self: Release, effects: Effects) -> None:
        for follower in effects.followers or ():
            follower.ran_us = effects.instance.slice.confirmed_us
        answer_all(self, effects)

    return patched(Release, "release", wrong)


def trimmed_part_passed_over() -> contextlib.AbstractContextManager[type[Simulation]]:
    """Who wants last states goes on where the log begins; what is left of what was before is not
    brought."""
    next_restored = SliceHistory._next_restored

    def wrong(self: SliceHistory, trimmed_to: int) -> list[Placed]:
        next_restored(self, trimmed_to)
        return []

    return patched(SliceHistory, "_next_restored", wrong)


BUGS: tuple[Bug, ...] = (
    commit_taken_for_a_proof, ownership_never_proved_again, trimmed_part_passed_over,
)  # fmt: skip

"""How far epochs and generations can have come by now. Pure.

Both are numbers that only grow, that any peer may tell, and that are kept for ever: one wrong word
must not use up what there is of them. No group ever promoted or restored so often as the clock
allows since 2020, and what it allows grows: so honest replicas never meet these bounds, however
long they were apart, and after a lie there is room again a moment later.
"""

from __future__ import annotations

from collections.abc import Iterator

from thespian_dc.model.replication_handshake import Known, ReplicaStart, ReplicaStarted
from thespian_dc.model.role_errors import AheadOfTimeError

BEGAN_US = 1_577_836_800_000_000
"""2020-01-01: no replica is older."""
EPOCH_US, GENERATION_US = 1_000_000, 256_000_000
"""Epochs: at most one a second. Generations, of one journal: at most one in 256 s, so that the 23
bits there are for them last until 2088."""
ALWAYS = 1 << 16
"""So many may be whatever the clock says: one that was never set says 1970."""


def most_epochs(now_us: int) -> int:
    """No epoch is above it."""
    return max(ALWAYS, (now_us - BEGAN_US) // EPOCH_US)


def most_generations(now_us: int) -> int:
    """No generation of any journal is above it."""
    return max(ALWAYS, (now_us - BEGAN_US) // GENERATION_US)


def check_attainable(
    said: ReplicaStart | ReplicaStarted | Known, entity_type: str, speaker: str, now_us: int
) -> None:
    """AheadOfTimeError where a number is among it that cannot be."""
    check_epoch(said.epoch, entity_type, speaker, most_epochs(now_us))
    most = most_generations(now_us)
    for generation in _generations(said):
        if generation > most:
            raise AheadOfTimeError(entity_type, speaker, "generation", generation, most)


def check_epoch(epoch: int, entity_type: str, speaker: str, most: int) -> None:
    """The same of one epoch. most: `most_epochs`."""
    if epoch > most:
        raise AheadOfTimeError(entity_type, speaker, "epoch", epoch, most)


def _generations(said: ReplicaStart | ReplicaStarted | Known) -> Iterator[int]:
    for one in said.origins:
        yield one.generation
    for retiring in said.retiring:
        for stage in retiring.stages:
            yield stage.generation
    if isinstance(said, ReplicaStart):
        yield said.generation
        for known in said.known:
            yield known.generation
    elif isinstance(said, ReplicaStarted):
        yield said.generation
        yield said.seen_generation

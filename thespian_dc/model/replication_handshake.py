"""What replicas say to each other when one opens the other's replica stream, and while it is open.
Pure values.

A replica stream is the log of an entity type as it is stored, events of every origin. Its id is
`replica_stream_id(entity_type)` of model/replication_settings.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from thespian_dc.model.criteria import UNFILTERED, VersionedFilter
from thespian_dc.model.position import Position
from thespian_dc.model.replication import OFFSET_BITS

REPLICAS_MAX = 128
"""Of one group, those that were retired included."""
ORIGIN_POSITIONS_MAX = 2 * REPLICAS_MAX
"""In one list: an origin may stand there with several generations of its journal."""
GENERATION_BITS = 63 - OFFSET_BITS
"""Of `offset_in_origin`, which fits 63 bits."""


class OriginFacts(NamedTuple):
    """The journal of one replica. journal_id "" and slices 0: not known yet."""

    replica: str
    journal_id: str = ""
    slices: int = 0
    generation: int = 0


class OriginPositions(NamedTuple):
    """Everything that `replica` wrote in this generation below these offsets of its own log, one
    for each of its slices, is stored at who says so, or does not replicate there."""

    replica: str
    generation: int
    offsets: tuple[int, ...]


class RetiringStage(NamedTuple):
    """The replica `at` has read all it can from its peers `round` times since it takes nothing from
    a retiring one any more. heads: of its own log in this generation, by slice, when it had."""

    at: str
    generation: int
    round: int
    heads: tuple[int, ...]


class Retiring(NamedTuple):
    """A replica whose events are exchanged for the last time, and how far the others are."""

    replica: str
    stages: tuple[RetiringStage, ...] = ()


class ReplicaStart(NamedTuple):
    """Who opens a replica stream. replicas: all ids it knows, its own included. epoch, active: of
    being active, 0 and "" where all are. generation: of its own journal; what it wrote in earlier
    ones it may have lost."""

    replica_id: str
    entity_type: str
    replicas: tuple[str, ...]
    epoch: int = 0
    active: str = ""
    generation: int = 0
    origins: tuple[OriginFacts, ...] = ()
    known: tuple[OriginPositions, ...] = ()
    retiring: tuple[Retiring, ...] = ()
    retired: tuple[str, ...] = ()


class Known(NamedTuple):
    """What the receiver has by now; origins: only those whose positions moved. The others as in
    ReplicaStart, always whole."""

    origins: tuple[OriginPositions, ...] = ()
    epoch: int = 0
    active: str = ""
    retiring: tuple[Retiring, ...] = ()
    retired: tuple[str, ...] = ()


class ReplicaStarted(NamedTuple):
    """The replica whose stream it is. seen: how far it has the asker's own log, by the asker's
    slice, of the journal and generation named; none where it has nothing of it yet. shown: which
    entities it shows to anybody."""

    replica_id: str
    entity_type: str
    replicas: tuple[str, ...]
    epoch: int = 0
    active: str = ""
    generation: int = 0
    origins: tuple[OriginFacts, ...] = ()
    seen_journal_id: str = ""
    seen_generation: int = 0
    seen: Mapping[int, Position] = {}
    shown: VersionedFilter = UNFILTERED
    retiring: tuple[Retiring, ...] = ()
    retired: tuple[str, ...] = ()

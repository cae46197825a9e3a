"""What the two stream actors begin with. Pure values; they pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from thespian_dc.model.access import Access
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.settings import Destination, Projection, Push, Stream, Tls
from thespian_dc.shell.protocol import LeafSpec, NodeMessage

PRODUCER_ACTOR = "thespian_dc.stream.producer_actor.ProducerActor"
CONSUMER_ACTOR = "thespian_dc.stream.consumer_actor.ConsumerActor"


@dataclass(frozen=True, slots=True)
class StartProducer(NodeMessage):
    """Settings of a ProducerActor: the streams of one service over one journal, what it pushes of
    them, what others push to it, and the entity types that other replicas read from it.

    journal: URL. listen: host:port, port 0 takes a free one, "" to listen nowhere. slices: of
    entity types that this journal does not know yet.
    """

    shown = "service"

    service: str
    journal: str
    streams: tuple[Stream, ...]
    listen: str
    slices: int
    tls: Tls | None = None
    plaintext_beyond_loopback: bool = False
    access: Access = field(default_factory=Access)
    pushes: tuple[Push, ...] = ()
    destinations: tuple[Destination, ...] = ()
    replication: tuple[Replication, ...] = ()


@dataclass(frozen=True, slots=True)
class StartConsumer(NodeMessage):
    """Settings of a ConsumerActor: the projections that one process runs.

    journal: the node's own URL, for projections with a Local source that names none. worker: from
    0; process 0 runs the first worker of each projection, each further worker has a process.
    """

    shown = "service"

    service: str
    journal: str
    projections: tuple[Projection, ...]
    worker: int = 0


def worker_leaves(
    first: str, settings: StartConsumer, workers: Mapping[str, int]
) -> dict[str, LeafSpec]:
    """The processes of all workers but the first of each projection, by name. first: the name of
    the process that runs those. workers: how many there are to be, by projection."""
    leaves = {}
    for projection in settings.projections:
        for worker in range(1, workers[projection.name]):
            name = f"{first}:{projection.name}:{worker}"
            begins = replace(settings, projections=(projection,), worker=worker)
            leaves[name] = LeafSpec(name, "consumers", CONSUMER_ACTOR, begins)
    return leaves

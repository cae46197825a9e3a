"""What the two stream actors begin with. Pure values; they pickle."""

from __future__ import annotations

from dataclasses import dataclass

from thespian_dc.model.settings import Projection, Stream, Tls
from thespian_dc.shell.protocol import NodeMessage

PRODUCER_ACTOR = "thespian_dc.stream.producer_actor.ProducerActor"
CONSUMER_ACTOR = "thespian_dc.stream.consumer_actor.ConsumerActor"


@dataclass(frozen=True, slots=True)
class StartProducer(NodeMessage):
    """Settings of a ProducerActor: the streams of one service over one journal.

    journal: URL. listen: host:port, port 0 takes a free one. slices: of entity types that this
    journal does not know yet.
    """

    shown = "service"

    service: str
    journal: str
    streams: tuple[Stream, ...]
    listen: str
    slices: int
    tls: Tls | None = None
    plaintext_beyond_loopback: bool = False


@dataclass(frozen=True, slots=True)
class StartConsumer(NodeMessage):
    """Settings of a ConsumerActor: the projections that one process runs.

    journal: the node's own URL, for projections with a Local source that names none.
    """

    shown = "service"

    service: str
    journal: str
    projections: tuple[Projection, ...]

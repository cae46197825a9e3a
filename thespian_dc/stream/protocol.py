"""What the two stream actors begin with. Pure values; they pickle, and their `__str__` is cheap on
purpose."""

from __future__ import annotations

from dataclasses import dataclass

from thespian_dc.model.settings import Projection, Stream, Tls

PRODUCER_ACTOR = "thespian_dc.stream.producer_actor.ProducerActor"
CONSUMER_ACTOR = "thespian_dc.stream.consumer_actor.ConsumerActor"


@dataclass(frozen=True, slots=True)
class StartProducer:
    """Settings of a ProducerActor: the streams of one service over one journal.

    journal: URL. listen: host:port, port 0 takes a free one. slices: of entity types that this
    journal does not know yet.
    """

    service: str
    journal: str
    streams: tuple[Stream, ...]
    listen: str
    slices: int
    tls: Tls | None = None
    plaintext_beyond_loopback: bool = False

    def __str__(self) -> str:
        return f"StartProducer {self.service}"


@dataclass(frozen=True, slots=True)
class StartConsumer:
    """Settings of a ConsumerActor: the projections that one process runs.

    journal: the node's own URL, for projections with a Local source that names none.
    """

    service: str
    journal: str
    projections: tuple[Projection, ...]

    def __str__(self) -> str:
        return f"StartConsumer {self.service}"

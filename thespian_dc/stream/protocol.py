"""What travels between a node's coordinator, its hosts and the two stream actors. Pure values; all
of them pickle.

`__str__` is cheap on purpose: Thespian prints every message it sends and receives.
"""

from __future__ import annotations

from dataclasses import dataclass

from thespian_dc.model.record import Commit
from thespian_dc.model.settings import Projection, Stream, Tls
from thespian_dc.projection.api import ProjectionStatus


@dataclass(frozen=True, slots=True)
class StartProducer:
    """The first message to a ProducerActor; the answer is ProducerReady or ProducerFailed.

    journal: URL. listen: host:port; port 0 takes a free one. slices: of entity types this journal
    does not know yet.
    """

    service: str
    journal: str
    streams: tuple[Stream, ...]
    listen: str
    slices: int
    tls: Tls | None = None
    plaintext_beyond_loopback: bool = False

    def __str__(self) -> str:
        return f"StartProducer({self.service})"


@dataclass(frozen=True, slots=True)
class ProducerReady:
    """The producer listens on `port`."""

    port: int


@dataclass(frozen=True, slots=True)
class StreamActorFailed:
    """A stream actor could not start, and exits. error: pickles, as all errors of this package."""

    error: Exception

    def __str__(self) -> str:
        return f"StreamActorFailed({type(self.error).__name__})"


@dataclass(frozen=True, slots=True)
class PublishedFrame:
    """Fresh, durable commits of one host, in order of each slice: a hint to the ProducerActor,
    never answered.

    Losing one costs a poll's delay and nothing else: a host may drop what does not fit into one
    frame.
    """

    commits: tuple[Commit, ...]

    def __str__(self) -> str:
        return "PublishedFrame"


@dataclass(frozen=True, slots=True)
class StartConsumer:
    """The first message to a ConsumerActor, which runs these projections; the answer is
    ConsumerReady.

    journal: the node's own, for projections with a Local source that names none.
    """

    service: str
    journal: str
    projections: tuple[Projection, ...]

    def __str__(self) -> str:
        return f"StartConsumer({self.service})"


@dataclass(frozen=True, slots=True)
class ConsumerReady:
    """The projections run, each on a thread of its own."""

    projections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskStreamStatus:
    """To either stream actor, from anybody; the answer is a StreamStatus."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """port and calls of a producer (0 of a consumer), projections of a consumer (none of a
    producer)."""

    port: int
    calls: int
    projections: tuple[ProjectionStatus, ...]

    def __str__(self) -> str:
        return "StreamStatus"

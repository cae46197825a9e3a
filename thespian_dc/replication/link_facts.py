"""What others may know of a link: values that pickle and that any thread may read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from thespian_dc.model.replication import Listed
from thespian_dc.replication.blocked import Blocked

LENT = "lent"


class LinkFacts(NamedTuple):
    """A link to one peer.

    state: "starting", "up", "down" (the peer does not answer: it is tried again), "failed" (error
    says why; it is tried again, more slowly), "closed" (nothing is taken from this peer any more),
    "lent" (another node of this replica reads it: `node`; cursors are those that it stored).
    cursors: by slice of the peer, all below is here. heads: where the peer's slices ended when last
    heard. generation: of the peer's log. waits: entities that hold a cursor, the longest first;
    waiting: how many there are. coming_in: ids that came into scope and are not read yet. joining:
    slices whose trimmed part is being fetched. taken: events since this process began. listed: the
    newest; counts: all, by what. replicas: all that the peer knows. relayed_by: those that show
    entities which the peer withholds.
    """

    peer: str
    state: str
    error: str = ""
    cursors: Mapping[int, int] = {}
    heads: Mapping[int, int] = {}
    generation: int = 0
    waits: tuple[Blocked, ...] = ()
    waiting: int = 0
    coming_in: int = 0
    joining: int = 0
    taken: int = 0
    listed: tuple[Listed, ...] = ()
    counts: Mapping[str, int] = {}
    replicas: tuple[str, ...] = ()
    relayed_by: tuple[str, ...] = ()
    node: str = ""

    @property
    def connected(self) -> bool:
        return self.state == "up"

    @property
    def lag(self) -> int:
        """Records of the peer's log that are not here, as far as it is known."""
        return sum(max(0, at - self.cursors.get(n, 0)) for n, at in self.heads.items())

    def plain(self) -> dict[str, Any]:
        """As plain values, for status rows and `node.status()`."""
        return {
            "peer": self.peer,
            "state": self.state,
            "error": self.error,
            "lag": self.lag,
            "slices": [
                [n, at, self.heads.get(n, at)] for n, at in sorted(self.cursors.items())
            ],
            "generation": self.generation,
            "waiting": self.waiting,
            "waits": [
                {
                    "slice": one.slice, "entity_id": one.entity_id, "since_us": one.since_us,
                    "missing": list(one.missing or ()), "text": one.text,
                }
                for one in self.waits
            ],
            "coming_in": self.coming_in,
            "joining": self.joining,
            "taken": self.taken,
            "listed": [list(one) for one in self.listed],
            "counts": dict(self.counts),
            "replicas": list(self.replicas),
            "relayed_by": list(self.relayed_by),
            "node": self.node,
        }  # fmt: skip

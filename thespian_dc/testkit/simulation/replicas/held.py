"""What the checker of replicas has counted of each one's log so far."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from thespian_dc.testkit.simulation.replicas.ledger import Event

Slots = dict[str, int]


class Stored(NamedTuple):
    """A record in a replica's log."""

    entity_id: str
    origin: str
    n: int
    kind: int


class Held:
    """What one replica's log holds, as the checker counts it."""

    def __init__(self, slices: int) -> None:
        self.vectors: dict[str, Slots] = defaultdict(dict)
        self.leaders: dict[str, tuple[int, str]] = {}
        self.logs: list[list[Stored | None]] = [[] for _ in range(slices)]
        self.nonces: dict[str, int] = {}
        self.late: set[tuple[str, str, int]] = set()
        self.events: dict[tuple[str, str, int], Event] = {}
        self.flags: dict[tuple[str, str, str], set[bool]] = defaultdict(set)
        self.aside: set[tuple[str, str, int]] = set()
        self.checked: dict[tuple[str, int], tuple[Any, int]] = {}
        self.seen: dict[str, int] = {}

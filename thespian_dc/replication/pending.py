"""What a link holds of its peer's log: batches that are not done, entities with something to do,
and those that are read as a whole. No decisions here: see link_core.py."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from thespian_dc.model.position import Position
from thespian_dc.projection.api import SourceBatch
from thespian_dc.replication.reading import Item

PAUSE_US = (50_000, 5_000_000)
BATCHES_TIDIED = 256


class Tracked:
    """A batch. left: portions that hold the cursor; open: those of them that hold the credit."""

    __slots__ = ("batch", "end", "left", "open", "position")

    def __init__(self, batch: SourceBatch) -> None:
        self.batch: SourceBatch | None = batch
        self.end = batch.next_offset
        self.position = Position(batch.next_offset, batch.commits[-1].write_id)
        self.left = self.open = 0


class Portion:
    """One entity's events of one batch that are not done."""

    __slots__ = ("batch", "is_open", "items")

    def __init__(self, items: list[Item], batch: Tracked, is_open: bool) -> None:
        self.items, self.batch, self.is_open = items, batch, is_open


class Reading:
    """An entity that is behind. hold: the batch that it holds. until: what came of it lies below
    this offset. page: what was read and is not taken yet. is_stale: the peer's state did not do."""

    __slots__ = (
        "below", "from_seq_nr", "hold", "is_stale", "is_under_way", "more", "next", "page", "until",
    )  # fmt: skip

    def __init__(self) -> None:
        self.hold: Tracked | None = None
        self.until = self.below = 0
        self.from_seq_nr = self.next = 1
        self.is_under_way = self.is_stale = False
        self.more = True
        self.page: list[Item] = []


class Waited(NamedTuple):
    """What an entity was held up by last. Known events that come again before those that wait for
    it are no progress."""

    missing: tuple[str, int]
    since_us: int
    pause_us: int


class Pending:
    """An entity with something to do."""

    __slots__ = (
        "due_us", "entity_id", "is_blocked", "is_read", "missing", "pause_us", "portions",
        "reading", "since_us", "slice", "taken", "text", "waited",
    )  # fmt: skip

    def __init__(self, entity_id: str, slice_: int) -> None:
        self.entity_id, self.slice = entity_id, slice_
        self.portions: deque[Portion] = deque()  # bounded by the window and BLOCKED_EVENTS_MAX
        self.taken = 0  # so many items are under way
        self.reading: Reading | None = None
        self.is_read = False  # to be read as a whole, once nothing is under way
        self.is_blocked = False
        self.since_us = self.due_us = 0
        self.pause_us = PAUSE_US[0]
        self.missing: tuple[str, int] | None = None
        self.text = ""
        self.waited: Waited | None = None


class Lane:
    """A slice of the peer's log: batches that came, the first ones not done."""

    __slots__ = ("batches", "cursor", "tidy_at")

    def __init__(self, cursor: Position) -> None:
        self.cursor = cursor
        self.batches: deque[Tracked] = deque()  # bounded: see tidy
        self.tidy_at = BATCHES_TIDIED

    def advance(self) -> None:
        """Over the batches at the front that nothing holds."""
        while self.batches and not self.batches[0].left:
            self.cursor = self.batches.popleft().position

    def tidy(self) -> None:
        """Batches that are done, behind one that is not, need no place but the last one's."""
        if len(self.batches) > self.tidy_at:
            *most, last = self.batches
            # bounded: what is left holds the cursor, by an entity that is blocked or under way
            self.batches = deque([one for one in most if one.left] + [last])
            self.tidy_at = max(BATCHES_TIDIED, 2 * len(self.batches))

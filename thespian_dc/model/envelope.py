"""What a projection handler receives. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

E = TypeVar("E")


@dataclass(slots=True)
class Envelope(Generic[E]):
    """One event with what is known of it. Slotted and not frozen: it is built once per event, on
    the hot path.

    seq_nr: from 1 per entity, gapless. offset: ordinal in the slice log. timestamp_us: microseconds
    since 1970 UTC.
    """

    payload: E
    entity_type: str
    entity_id: str
    seq_nr: int
    slice: int
    offset: int
    timestamp_us: int
    tags: list[str]
    manifest: str
    meta: dict[str, Any] | None = None

    @property
    def timestamp(self) -> datetime:
        return datetime.fromtimestamp(self.timestamp_us / 1e6, UTC)

"""What a projection handler receives. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from thespian_dc.model.replication import ORIGIN_META

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

    @property
    def origin(self) -> str | None:
        """The id of the replica that wrote it; "": the one whose log this is, also where the type
        is not replicated. None: a stored state, in which are events of whatever replicas."""
        said = None if self.meta is None else self.meta.get(ORIGIN_META)
        if said is None or type(said[0]) is int:
            return ""
        return said[0] if type(said[0]) is str else None


def own_origin(event: Envelope[Any]) -> bool:
    """For `Stream(filter=own_origin)`: show what was written here, not what other replicas wrote
    and this one took over."""
    return event.origin == ""

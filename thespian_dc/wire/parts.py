"""What several messages have in common: texts, positions, filters, credit, each checked once, here.
MalformedMessageError where a field makes no sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from thespian_dc.model.criteria import KINDS, Criteria, Filter, VersionedFilter
from thespian_dc.model.history import History
from thespian_dc.model.ids import NAME_BYTES_MAX, SLICES_MAX
from thespian_dc.model.position import Position
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.wire import streams_pb2 as pb

OFFSET_MAX = (1 << 63) - 1
WRITE_ID_BYTES_MAX = 64
TEXT_BYTES_MAX = 2 * NAME_BYTES_MAX


class Credit(NamedTuple):
    """Allowance in bytes of bodies and in events."""

    bytes: int
    events: int


def credit_of(credit: pb.Credit) -> Credit:
    """A sent Credit; MalformedMessageError."""
    if credit.bytes > OFFSET_MAX or credit.events > OFFSET_MAX:
        raise MalformedMessageError("a Credit", "it is greater than 63 bits hold")
    return Credit(credit.bytes, credit.events)


def check_texts(what: str, message: Any, *names: str) -> None:
    """MalformedMessageError where one of these fields is longer than a name may be."""
    for name in names:
        if len(getattr(message, name)) > TEXT_BYTES_MAX:
            raise MalformedMessageError(what, f"{name} is longer than {TEXT_BYTES_MAX} characters")


def check_slices(what: str, slices: int) -> None:
    """MalformedMessageError where it is no slice count."""
    if not 1 <= slices <= SLICES_MAX or slices & (slices - 1):
        raise MalformedMessageError(what, f"{slices} is no slice count")


def history_of(what: str, value: int) -> History:
    """The History with this number; MalformedMessageError."""
    try:
        return History(value)
    except ValueError as error:
        raise MalformedMessageError(what, f"{value} is no History of this version") from error


def position_of(at: pb.SlicePosition) -> Position:
    """MalformedMessageError."""
    if at.offset > OFFSET_MAX:
        raise MalformedMessageError("a position", f"offset {at.offset} is beyond 63 bits")
    if len(at.write_id) > WRITE_ID_BYTES_MAX:
        raise MalformedMessageError("a position", "its write_id is too long")
    return Position(at.offset, at.write_id)


def positions_in(what: str, sent: Sequence[pb.SlicePosition]) -> dict[int, Position]:
    """Positions by slice, each slice once; MalformedMessageError."""
    if len(sent) > SLICES_MAX:
        raise MalformedMessageError(what, f"it has more than {SLICES_MAX} positions")
    positions = {at.slice: position_of(at) for at in sent}
    if len(positions) < len(sent):
        raise MalformedMessageError(what, "a slice stands in it twice")
    return positions


def write_positions(positions: Mapping[int, Position]) -> list[pb.SlicePosition]:
    """Positions as they stand in messages."""
    return [
        pb.SlicePosition(slice=slice_, offset=at.offset, write_id=at.write_id)
        for slice_, at in positions.items()
    ]


def filter_of(sent: pb.Filter) -> VersionedFilter:
    """InvalidFilterError, FilterTooLargeError or MissingExtraError for what it holds."""
    if not 1 <= sent.version <= OFFSET_MAX:
        raise MalformedMessageError("a Filter", f"version {sent.version}; they begin with 1")
    exclude, include = (
        Criteria(*(tuple(getattr(side, kind)) for kind in KINDS))
        for side in (sent.exclude, sent.include)
    )
    return VersionedFilter(sent.version, Filter(exclude, include, sent.events_only))


def write_filter(wanted: VersionedFilter) -> pb.Filter:
    """The filter as it stands in messages."""
    exclude, include = (
        pb.Criteria(**dict(side.by_kind())) if side else None
        for side in (wanted.filter.exclude, wanted.filter.include)
    )
    return pb.Filter(
        version=wanted.version, exclude=exclude, include=include,
        events_only=wanted.filter.events_only,
    )  # fmt: skip

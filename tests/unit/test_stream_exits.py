"""`sys.exit` in what users wrote for a stream or a destination is the failure of one event, by its
name: let through, it would end the loop or the thread of all."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from thespian_dc.codec.api import Registered, Registry, Upcaster
from thespian_dc.journal.api import StateRow
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.push_errors import DestinationTransformError
from thespian_dc.model.record import EVENT, Commit, Record, make_commit, pack_record
from thespian_dc.model.settings import Destination, Stream
from thespian_dc.model.state_body import pack_state
from thespian_dc.model.stream_errors import TransformError
from thespian_dc.model.transformation import Transformation
from thespian_dc.projection.api import CommitView, Placed, SourceBatch
from thespian_dc.stream.destination_events import DestinationEvents
from thespian_dc.stream.history import StateShower
from thespian_dc.stream.producer_filter import ProducerFilter
from thespian_dc.stream.transform import view_for
from thespian_dc.wire.conversion import Offer


@dataclass(frozen=True, slots=True)
class Added:
    quantity: int


@dataclass(frozen=True, slots=True)
class Total:
    items: int


def leaves(_: Any) -> Any:
    sys.exit("a secret")


async def leaves_later(_: Any) -> Any:
    await asyncio.sleep(0)
    sys.exit("a secret")


class Leaving:
    """Public; it stores itself."""

    def to_stored(self) -> Any:
        sys.exit("a secret")

    @classmethod
    def from_stored(cls, _: Any) -> Leaving:
        return cls()


def to_leaving(_: Any) -> Leaving:
    return Leaving()


async def to_leaving_later(_: Any) -> Leaving:
    return Leaving()


def second_leaves(event: Envelope[Added]) -> Any:
    return event if event.payload.quantity == 1 else leaves(event)


def added_of(state: Envelope[Total]) -> Added:
    return Added(state.payload.items)


class Cart:
    """As much of an entity class as a stream looks at."""

    entity_type = "cart"
    events = (Added,)
    states = (Total,)


class Upcasting(Cart):
    """Its stored types went on; the function that brings the stored ones up leaves."""

    events = (Registered(Added, version=2),)
    states = (Registered(Total, version=2),)
    upcasters = (Upcaster("Added", 1, 2, leaves), Upcaster("Total", 1, 2, leaves))


STORED = Registry([Added, Total])
OFFER = Offer(1, "carts", "shop", "journal", "cart", 4)


def packed(quantity: int) -> bytes:
    manifest, payload = STORED.encode(Added(quantity))
    return pack_record(Record(EVENT, "c-1", quantity, manifest, payload, []))


def a_commit() -> Commit:
    return make_commit(SliceKey("cart", 1), 40, b"w" * 16, 1, 7, [("c-1", packed(1))])


def a_state() -> Placed:
    manifest, payload = STORED.encode(Total(3))
    return Placed(StateRow("c-1", 3, 42, pack_state(manifest, payload, [])), [])


def shower(**changes: Any) -> StateShower:
    stream = Stream("carts", **({"entity": Cart, "events": [Added]} | changes))
    return StateShower(stream, view_for(stream), ProducerFilter(stream))


@pytest.mark.parametrize("function", [leaves, leaves_later])
def test_a_from_snapshot_that_exits_names_its_state(function: Any) -> None:
    with pytest.raises(TransformError, match="its state: SystemExit: a secret") as caught:
        asyncio.run(shower(from_snapshot=function).show(1, 5, a_state()))
    assert (caught.value.entity_id, caught.value.slice, caught.value.offset) == ("c-1", 1, 42)


def test_a_filter_that_exits_names_the_event_or_the_state() -> None:
    filter_ = ProducerFilter(Stream("carts", Cart, filter=leaves))
    with pytest.raises(TransformError, match="SystemExit") as caught:
        filter_.passing(a_commit())
    assert (caught.value.entity_id, caught.value.offset) == ("c-1", 40)
    with pytest.raises(TransformError, match="its state: SystemExit") as caught:
        shower(filter=leaves).passes(1, a_state())
    assert caught.value.entity_id == "c-1"


def test_an_upcaster_that_exits_names_the_event_or_the_state() -> None:
    to_public = Transformation().identity(Added)
    view: Any = view_for(Stream("carts", Upcasting, to_public, [Added]))
    with pytest.raises(TransformError, match="SystemExit") as caught:
        view(a_commit())
    assert (caught.value.entity_id, caught.value.offset) == ("c-1", 40)
    of_states = shower(entity=Upcasting, from_snapshot=added_of)
    with pytest.raises(TransformError, match="its state: SystemExit"):
        asyncio.run(of_states.show(1, 5, a_state()))


@pytest.mark.parametrize("function", [to_leaving, to_leaving_later])
def test_a_to_stored_that_exits_names_the_event(function: Any) -> None:
    stream = Stream("carts", Cart, Transformation().payload(Added, function), [Leaving])
    seeing: Any = view_for(stream)

    async def seen() -> None:
        view = seeing(a_commit())
        if asyncio.iscoroutine(view):
            await view

    with pytest.raises(TransformError, match="SystemExit: a secret") as caught:
        asyncio.run(seen())
    assert (caught.value.entity_id, caught.value.offset) == ("c-1", 40)


def test_a_destinations_transform_that_exits_names_its_event() -> None:
    """Nothing of the batch is stored: it comes again once the transform is mended."""
    setting = Destination(
        "carts", "far-cart", origins={"shop": "shop"}, events=[Added], transform=second_leaves
    )
    body = b"\x92" + packed(1) + packed(2)
    batch = SourceBatch(1, 40, 42, 42, [CommitView(40, 42, b"w" * 16, 7, body)])
    with pytest.raises(DestinationTransformError, match="SystemExit: a secret") as caught:
        DestinationEvents(setting).pushed(OFFER, batch)
    error = caught.value
    assert (error.origin, error.entity_id, error.slice, error.offset) == ("shop", "c-1", 1, 41)

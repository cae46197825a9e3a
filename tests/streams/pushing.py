"""What the tests of push share: a destination, what it wrote, and transforms by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.streams.material import ENTITY_TYPE, SLICES, Added
from tests.streams.processes import Child
from thespian_dc.journal.api import open_journal
from thespian_dc.model.access_errors import CallRefusedError
from thespian_dc.model.envelope import Envelope
from thespian_dc.model.errors import JournalUnavailableError
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.record import Record, records_of
from thespian_dc.model.settings import Destination, Push, Stream
from thespian_dc.stream import push_core as key
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.server import StreamServer
from thespian_dc.testkit.eventually import eventually

FAR_TYPE = "far-cart"
FAR_SLICES = 8
ON_BOTH = pytest.mark.parametrize(
    "far_url", ["sqlite", pytest.param("cassandra", marks=pytest.mark.cassandra)], indirect=True
)
"""The destination's journal is of either kind."""


def destination(**changes: Any) -> Destination:
    settings: dict[str, Any] = {
        "stream_id": "carts", "entity_type": FAR_TYPE, "origins": {"shop": ""},
        "without_identity": True,
    }  # fmt: skip
    return Destination(**(settings | changes))


def answers(url: str) -> bool:
    """A server that was started for this test may be too slow for its first conditional write."""
    journal = open_journal(url)
    try:
        return journal.slices(FAR_TYPE, FAR_SLICES) == FAR_SLICES
    except JournalUnavailableError:
        return False
    finally:
        journal.close()


def stored(url: str) -> dict[str, list[Record]]:
    """What the destination wrote, by entity, in the order of the log."""
    journal = open_journal(url)
    found: dict[str, list[Record]] = {}
    for slice_ in range(journal.slice_counts().get(FAR_TYPE, 0)):
        offset = 0
        slice_key = SliceKey(FAR_TYPE, slice_)
        while commits := journal.read(slice_key, offset):
            for commit in commits:
                for record in records_of(commit):
                    assert slice_of(record.entity_id, FAR_SLICES) == slice_
                    found.setdefault(record.entity_id, []).append(record)
            offset = commits[-1].end_offset
    assert journal.verify() == []
    journal.close()
    return found


def all_that_came(url: str) -> dict[str, list[int]]:
    """The source seq_nr of each stored event, by entity, whose own are 1, 2, 3, …"""
    came = {}
    for entity_id, records in stored(url).items():
        assert [one.seq_nr for one in records] == list(range(1, len(records) + 1))
        came[entity_id] = [one.meta[key.SEQ_NR] for one in records if one.meta]
    return came


def came_from(url: str, entity_id: str) -> list[int]:
    """Of one entity; [] where nothing came. Reads the whole log."""
    return all_that_came(url).get(entity_id, [])


def total(url: str) -> int:
    return sum(map(len, stored(url).values()))


def error_of(pusher: StreamServer) -> str:
    """Why the last call of its push ended."""
    (facts,) = pusher.facts()["pushes"]
    return str(facts["error"])


def comes(url: str, entity_id: str, seq_nrs: list[int]) -> bool:
    return came_from(url, entity_id) == seq_nrs


def no_pushes(call: Any) -> CallRefusedError | None:
    refused = (call.kind, call.stream_id, call.consumer) == ("Push", "carts", "shop")
    return CallRefusedError("PERMISSION_DENIED", "not today") if refused else None


def with_token(call: Any) -> CallRefusedError | None:
    if call.kind == "Push" and call.metadata.get("authorization") == "Bearer two":
        return None
    return CallRefusedError("UNAUTHENTICATED", "no valid token")


def to_far(event: Envelope[Added]) -> Envelope[Added] | None:
    """One far entity per sku, tagged with the origin; no figs."""
    assert event.meta is not None
    if event.payload.sku == "fig":
        return None
    event.entity_id, event.tags = f"sku-{event.payload.sku}", [f"from-{event.meta[key.ORIGIN]}"]
    event.payload = Added(event.payload.sku.upper(), event.payload.quantity)
    return event


def forget(url: str, slices: int = SLICES) -> None:
    """Take away how far the destination was, also where what it last wrote arrives only now."""
    journal = open_journal(url)
    back = [[slice_, 0, b""] for slice_ in range(slices)]

    def put_back() -> bool:
        name, entry = "pushed:carts:shop", journal.entry("pushed:carts:shop")
        return journal.put_entry(name, entry.version, {**entry.value, "positions": back})

    eventually(put_back)
    journal.close()


def broken(event: Envelope[Added]) -> Envelope[Added]:
    if event.payload.sku == "bad":
        raise ValueError("no such thing")
    return event


class Ends:
    """A destination and a pusher, each a process; both are killed with the test."""

    def __init__(self, shop: str, far: str, port: int, recorded: Callable[[int], int]) -> None:
        push = Push(Stream("carts", ENTITY_TYPE), f"127.0.0.1:{port}")
        self._settings = {
            "far": StartProducer("far", far, (), f"127.0.0.1:{port}", FAR_SLICES,
                                 destinations=(destination(),)),
            "shop": StartProducer("shop", shop, (), "", FAR_SLICES, pushes=(push,)),
        }  # fmt: skip
        self._recorded = recorded
        self.children: dict[str, Child] = {}
        for which in self._settings:
            self.start(which)

    def start(self, which: str) -> None:
        child = self.children[which] = Child(self._settings[which])
        self._recorded(child.process.pid)

    def kill(self, which: str) -> None:
        self.children[which].kill()

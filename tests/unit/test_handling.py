"""BatchHandler: how often it opens a commit. What it does with events is shown over real
databases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import pytest

from thespian_dc.codec.api import Registry
from thespian_dc.model.errors import CorruptRecordError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import EVENT, Record, make_commit, pack_record
from thespian_dc.projection import handling
from thespian_dc.projection.api import CommitView, SourceBatch
from thespian_dc.projection.handling import BatchHandler

KEY = SliceKey("cart", 0)


@dataclass(frozen=True, slots=True)
class Added:
    nr: int


class Tx:
    fresh = True


REGISTRY = Registry([Added])


def batch(base: int, count: int, kept: tuple[int, ...] = ()) -> SourceBatch:
    """One commit. kept: places in it of what is shown, where that is not all."""
    packed = []
    for nr in kept or range(count):
        record = Record(EVENT, "c-1", base + nr + 1, *REGISTRY.encode(Added(base + nr)))
        packed.append(("c-1", pack_record(record)))
    body = make_commit(KEY, base, b"w", 1, 0, packed).body
    view = CommitView(base, base + count, b"w", 0, body, kept)
    return SourceBatch(0, base, base + count, base + count, [view])


@pytest.mark.parametrize("kept", [(), tuple(range(0, 40, 2))])
def test_a_commit_handled_one_event_at_a_time_is_opened_once(
    monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...]
) -> None:
    """One that a host wrote under load has thousands of events: opened for each of them, it took
    minutes."""
    opened: list[bytes] = []

    def unpack(body: bytes) -> Any:
        opened.append(body)
        return msgpack.unpackb(body)

    monkeypatch.setattr(handling, "_unpack", unpack)
    handled: list[Any] = []
    handler = BatchHandler("p", "cart", REGISTRY, lambda event, _: handled.append(event), Tx())
    for one in (batch(100, 40, kept), batch(140, 40, kept)):
        offset = one.base_offset
        while (stopped := handler.handle(one, offset, 0.0)) is not None:
            assert stopped.raised is None
            offset = stopped.offset
    assert len(opened) == 2
    expected = [base + nr for base in (100, 140) for nr in kept or range(40)]
    assert [event.offset for event in handled] == expected
    assert [event.payload.nr for event in handled] == expected


def test_another_commit_of_the_same_place_is_opened_anew() -> None:
    """A source that takes the place of a lost one brings it again, perhaps otherwise evaluated."""
    handled: list[Any] = []
    handler = BatchHandler("p", "cart", REGISTRY, lambda event, _: handled.append(event), Tx())
    assert handler.handle(batch(0, 3), 0, 0.0) is not None
    assert handler.handle(batch(0, 3, (2,)), 1, float("inf")) is None
    assert [event.offset for event in handled] == [0, 2]
    broken = batch(0, 3)
    view = broken.commits[0]
    wrong = CommitView(0, 4, b"w", 0, view.body)
    stopped = handler.handle(SourceBatch(0, 0, 4, 4, [wrong]), 0, 0.0)
    assert stopped is not None
    assert stopped.raised is not None
    assert isinstance(stopped.raised.error, CorruptRecordError)

"""Two that trim one destination at the same moment: neither fails by it, nothing is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import Any

import pytest

from tests.streams.material import Writer
from tests.unit.meeting import Meets
from thespian_dc.journal.api import Journal
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import EVENT, Record
from thespian_dc.projection.api import Trimmed, note_consumer
from thespian_dc.shell.clock import now_us
from thespian_dc.stream import destination_baselines
from thespian_dc.stream import push_core as meta
from thespian_dc.stream.destination_baselines import remembered
from thespian_dc.stream.destination_trimming import trim_destination

FAR = "far-cart"
KEY = SliceKey(FAR, 0)
EVENTS, PASSED = 12, 7
SLOW = "local far/sales"


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Journal]]:
    """Destinations, each a log of commits of two entities that is read in several pages, and a
    projection that has passed the first half."""
    monkeypatch.setattr(destination_baselines, "READ_BYTES", 200)
    opened: list[Writer] = []

    def start() -> Journal:
        writer = Writer(f"memory:{uuid.uuid4()}", 1, FAR)
        opened.append(writer)
        for n in range(1, EVENTS + 1):
            entity_id, seq_nr = f"c-{n % 2}", (n + 1) // 2
            came = {meta.ORIGIN: "shop", meta.STREAM: "carts", meta.ENTITY_ID: entity_id}
            came[meta.SEQ_NR] = 10 * seq_nr
            writer.put([Record(EVENT, entity_id, seq_nr, "Added", b"{}", (), meta=came)])
        journal = writer.journal
        journal.advance_index(KEY, EVENTS)
        note_consumer(journal, FAR, SLOW, {0: PASSED}, now_us())
        return journal

    yield start
    for writer in opened:
        writer.close()


def trimmed(journal: Any, without: Collection[str]) -> Trimmed:
    (row,) = trim_destination(journal, FAR, without)
    return row


@pytest.mark.parametrize("ours", [(), (SLOW,)], ids=["less", "all"])
@pytest.mark.parametrize("theirs", [(), (SLOW,)], ids=["less", "all"])
def test_another_trims_between_any_two_of_our_calls(
    far: Callable[[], Journal], ours: Collection[str], theirs: Collection[str]
) -> None:
    """Less or more than we do: both say what is gone, and each source is known as before."""
    wanted = max(EVENTS if one else PASSED for one in (ours, theirs))
    met = 0
    for at in count(1):
        journal = far()
        other: list[Trimmed] = []
        view = Meets(journal, at, lambda: other.append(trimmed(journal, theirs)))  # noqa: B023
        row = trimmed(view, ours)
        if view.calls < at:
            break
        met += 1
        assert max(row.after, other[0].after) == wanted
        assert row.after >= (EVENTS if ours else PASSED)
        for n in (0, 1):
            known = meta.after(*remembered(journal, KEY, f"c-{n}", EVENTS))
            assert known == meta.Baseline(6, {("shop", "carts", f"c-{n}"): 60})
        assert journal.verify() == []
    assert met > 8

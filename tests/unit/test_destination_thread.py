"""The thread that writes a destination: what breaks in it takes nobody else along."""

from __future__ import annotations

from typing import Any

import pytest

from thespian_dc.journal.api import Appended, Outcome
from thespian_dc.journal.memory import MemoryJournal, MemoryStorage
from thespian_dc.model.criteria import Filter
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import EVENT, Record, make_commit, pack_record
from thespian_dc.model.settings import Destination
from thespian_dc.stream.destination_filters import begin_destination_filter
from thespian_dc.stream.destination_thread import DestinationWriter
from thespian_dc.testkit.eventually import eventually
from thespian_dc.wire.conversion import Offer


class Call:
    """What the writer says to it."""

    def __init__(self, origin: str) -> None:
        self.offer = Offer(1, "carts", origin, "j", "cart", 1)
        self.setting = Destination("carts", "cart", origins={origin: origin})
        self.said: list[str] = []

    def begin(self, *_: Any) -> None:
        self.said.append("begin")

    def end(self, error: Exception) -> None:
        self.said.append(type(error).__name__)


def test_what_breaks_an_input_does_not_take_the_next_one_along() -> None:
    """A call that comes in the same round is begun: nobody else would, or end it."""
    journal = MemoryJournal("memory:destination", MemoryStorage(8))
    journal.slices("cart", 1)
    begin_destination_filter(journal, "carts", Filter())
    writer = DestinationWriter(journal, "cart", 1, {}, lambda _: None)
    nobodys = SliceKey("cart", 7)
    record = pack_record(Record(EVENT, "c-1", 1, "added", 1, b""))
    commit = make_commit(nobodys, 0, bytes(16), 1, 0, [("c-1", record)])
    call = Call("shop")
    writer._inbox.put(Appended(commit, Outcome.DONE))
    writer.open(call)
    writer.start()
    try:
        eventually(lambda: call.said)
        assert call.said == ["begin"]
    finally:
        writer.stop(10)
        journal.close()


def test_a_journal_that_does_not_answer_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whether it was looked at for owners, twice a second, or for a call that came."""
    journal = MemoryJournal("memory:gone", MemoryStorage(8))
    journal.slices("cart", 1)
    begin_destination_filter(journal, "carts", Filter())
    writer = DestinationWriter(journal, "cart", 1, {}, lambda _: None)
    first, *later = [Call(f"shop {n}") for n in range(4)]
    writer.start()
    try:
        writer.open(first)
        eventually(lambda: first.said)
        journal.close()
        for call in later:
            writer.open(call)
        eventually(lambda: all(call.said for call in later))
    finally:
        writer.stop(10)
    assert {said for call in later for said in call.said} == {"JournalUnavailableError"}
    assert [one.message for one in caplog.records] == ["destination_journal_unavailable"]
    for _ in range(3):
        writer._step(lambda: writer._slices.look_for_owners(0))
    [said] = caplog.records
    assert "was closed" in said.__dict__["reason"]

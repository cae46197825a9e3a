"""What a log shows whose formatter knows none of our facts."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator

import pytest

from thespian_dc.shell.facts import show_facts


@pytest.fixture(autouse=True)
def shown() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    show_facts()
    yield
    logging.setLogRecordFactory(before)


def text_of(name: str, event: str, facts: dict[str, object]) -> str:
    """As Thespian brings it to its logger process: the text in place of the event, then pickled."""
    record = logging.getLogger(name).makeRecord(
        name, logging.WARNING, __file__, 1, event, (), None, extra=facts
    )
    record.msg = record.getMessage()
    record.__dict__["actorAddress"] = "a"
    packed = pickle.dumps(record)
    logging.setLogRecordFactory(logging.LogRecord)  # that process is none of ours
    there = pickle.loads(packed)
    assert type(there) is logging.LogRecord
    return str(there.getMessage())


def test_an_event_is_shown_with_its_facts() -> None:
    text = text_of("thespian_dc.entity.host_actor", "user_code_failed", {"where": "cart|c-1"})
    assert text == "user_code_failed where='cart|c-1'"


def test_facts_from_elsewhere_stay_on_their_line() -> None:
    text = text_of("thespian_dc.stream.gate", "call_ended", {"peer": "a\nERROR b", "count": 2})
    assert text == "call_ended peer='a\\nERROR b' count=2"


def test_records_of_others_stay_as_they_are() -> None:
    assert text_of("shop.cart", "paid", {"where": "c-1"}) == "paid"


def test_another_kind_of_records_stays() -> None:
    class Mine(logging.LogRecord):
        """A user's own."""

    logging.setLogRecordFactory(Mine)
    show_facts()
    assert logging.getLogRecordFactory() is Mine

"""What a log shows whose formatter knows none of our facts."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import ActorSystem

from thespian_dc import Client, Node, Settings
from thespian_dc.model.errors import JournalUrlError
from thespian_dc.shell.facts import show_facts
from thespian_dc.testkit.entities import Account, Do


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


def logging_to(file: Path) -> Any:
    """An actor system of this process that logs there, as a user would have it."""
    handler = {"class": "logging.FileHandler", "filename": str(file)}
    defs = {"version": 1, "disable_existing_loggers": False, "handlers": {"file": handler},
            "root": {"handlers": ["file"], "level": "INFO"}}  # fmt: skip
    return ActorSystem("simpleSystemBase", transientUnique=True, logDefs=defs)


def test_a_node_that_cannot_open_its_journal_says_just_that(tmp_path: Path) -> None:
    """What was begun of it ends in silence: there was a long traceback about a host it lacked."""
    system = logging_to(tmp_path / "log")
    with pytest.raises(JournalUrlError, match="nowhere"):
        Node.start(system, Settings("bank", "sqlite:////nowhere/x.db", entities=[Account]))
    assert "InlineHostActor" not in (tmp_path / "log").read_text(encoding="utf-8")


def test_what_user_code_raises_is_shown_in_a_users_test_too(tmp_path: Path) -> None:
    """Where nobody waits for an answer. On simpleSystemBase it was counted, and that was all."""
    system = logging_to(tmp_path / "log")
    node = Node.start(system, Settings("bank", "memory:facts", entities=[Account]))
    Client.connect(system, "bank").entity(Account, "a").tell(Do("raise"))
    assert node.run_until_idle()
    node.stop()
    shown = (tmp_path / "log").read_text(encoding="utf-8")
    assert "user_code_failed where='account|a' what=" in shown
    assert "entities.py:" in shown


def test_another_kind_of_records_stays() -> None:
    class Mine(logging.LogRecord):
        """A user's own."""

    logging.setLogRecordFactory(Mine)
    show_facts()
    assert logging.getLogRecordFactory() is Mine

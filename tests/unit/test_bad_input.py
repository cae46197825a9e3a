"""What users get wrong in a command or an event: named to the asker, nothing lost or written."""

from __future__ import annotations

from typing import Any

import pytest

from thespian_dc.entity.recording import checked_tags
from thespian_dc.model.entity_errors import CommandFailedError
from thespian_dc.model.errors import TooLargeError
from thespian_dc.testkit.entities import Account, Balance, Deposit
from thespian_dc.testkit.local_entities import LocalEntities


@pytest.fixture
def entities() -> LocalEntities:
    one = LocalEntities(Account)
    one.ask(Account, "a", Deposit(5))
    return one


def check_unharmed(entities: LocalEntities) -> None:
    """One event as before; the entity and the journal go on, also for whoever comes next."""
    assert entities.ask(Account, "a", Deposit(1)) == Balance(6)
    entities.restart()
    assert entities.ask(Account, "a", Deposit(1)) == Balance(7)
    assert entities.journal.verify() == []


@pytest.mark.parametrize("value", [1j, object(), {1, 2}.__iter__()])
def test_an_event_that_cannot_be_encoded(entities: LocalEntities, value: Any) -> None:
    """Its type is registered, what stands in it cannot be stored: the path to it is named."""
    with pytest.raises(CommandFailedError, match=r"UnencodableError.*Deposited\.amount"):
        entities.ask(Account, "a", Deposit(value))
    check_unharmed(entities)


def test_events_of_more_than_a_mebibyte(entities: LocalEntities) -> None:
    """The default bound, of one command's events together; the entity's state is not spoilt."""
    with pytest.raises(TooLargeError, match="1048576"):
        entities.ask(Account, "a", Deposit(1 << 60, in_parts=65_000))
    check_unharmed(entities)


@pytest.mark.parametrize("tags", ["large", None, 5, ["large", 5]])
def test_tags_that_are_no_list_of_strings(tags: Any) -> None:
    with pytest.raises(TypeError, match="tags_for must return a list of strings"):
        checked_tags(tags)


def test_tags_that_are_made_one_by_one_are_kept() -> None:
    """They were looked at, and gone when they were to be stored."""
    assert checked_tags(one for one in ("large", "red")) == ("large", "red")

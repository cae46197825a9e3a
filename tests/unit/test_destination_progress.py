"""Which change of a destination's filter may go on in the same call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.criteria import Exclude, Filter
from thespian_dc.model.push_errors import PushBeginsAgainError
from thespian_dc.stream.destination_filters import (
    begin_destination_filter,
    set_destination_filter,
)
from thespian_dc.stream.destination_progress import KeptProgress
from thespian_dc.wire.conversion import PROTOCOL, Offer

OFFER = Offer(PROTOCOL, "carts", "shop", "journal", "cart", 2)


@pytest.fixture
def journal(tmp_path: object) -> Iterator[Journal]:
    opened = open_journal(f"sqlite:///{tmp_path}/far.db")
    begin_destination_filter(opened, "carts", Exclude.entity_ids("c-1", "c-2"))
    yield opened
    opened.close()


def test_a_filter_that_lets_in_more_begins_again_though_nothing_is_written_yet(
    journal: Journal,
) -> None:
    """What is on its way was evaluated under the old one: behind it an entity that is let in would
    come with a hole, which nothing fills afterwards."""
    kept = KeptProgress(journal, OFFER)
    set_destination_filter(journal, "carts", Exclude.entity_ids("c-1"))
    with pytest.raises(PushBeginsAgainError):
        kept.changed_filter()
    set_destination_filter(journal, "carts", Filter())
    with pytest.raises(PushBeginsAgainError):
        kept.changed_filter()


def test_a_filter_that_leaves_out_more_goes_on(journal: Journal) -> None:
    kept = KeptProgress(journal, OFFER)
    wanted = set_destination_filter(journal, "carts", Exclude.entity_ids("c-1", "c-2", "c-3"))
    sent = kept.changed_filter()
    assert sent is not None
    assert sent.version == wanted.version
    assert kept.changed_filter() is None

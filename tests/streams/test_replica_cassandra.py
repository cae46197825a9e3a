"""A replica's log in Cassandra, as its peers read it: what `test_replica_streams` shows of a log in
SQLite."""

from __future__ import annotations

import pytest

from tests.streams.test_replica_streams import (
    test_a_position_above_the_head_says_that_this_journal_is_older,
    test_a_restored_replica_looks_up_its_own_events_too,
    test_a_stored_state_is_answered_as_it_is,
    test_both_sides_say_who_they_are,
    test_entities_with_a_stored_state_are_listed,
    test_events_of_every_origin_come_as_they_are_stored,
    test_lookups_bring_events_of_others_with_their_commits,
    test_what_is_not_shown_is_withheld_whole,
    test_what_is_reported_while_connected_is_left_out_from_then_on,
)
from thespian_dc.journal.api import apply_schema

pytestmark = [pytest.mark.cassandra]

__all__ = [
    "test_a_position_above_the_head_says_that_this_journal_is_older",
    "test_a_restored_replica_looks_up_its_own_events_too",
    "test_a_stored_state_is_answered_as_it_is", "test_both_sides_say_who_they_are",
    "test_entities_with_a_stored_state_are_listed",
    "test_events_of_every_origin_come_as_they_are_stored",
    "test_lookups_bring_events_of_others_with_their_commits",
    "test_what_is_not_shown_is_withheld_whole",
    "test_what_is_reported_while_connected_is_left_out_from_then_on",
]  # fmt: skip


@pytest.fixture
def journal_url(cassandra_url: str) -> str:
    apply_schema(cassandra_url)
    return cassandra_url

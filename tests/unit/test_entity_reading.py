"""What a lookup reads of an entity whose first records are trimmed."""

from __future__ import annotations

import pytest

from tests.unit.test_history import KEY, Log
from thespian_dc.model.errors import TrimmedError
from thespian_dc.projection.api import EntityReading, Lookup


def seq_nrs(log: Log, lookup: Lookup) -> list[int]:
    found = EntityReading(log.journal, KEY, lookup, 1 << 20, 100).read()
    return [one.record.seq_nr for one in found]


@pytest.fixture
def log() -> Log:
    """Records of "a" are at 0, 1 and 4; below 3 all is trimmed."""
    made = Log()
    made.write("a", "a")
    made.write("b")
    made.write("b", "a")
    made.keep(1)
    assert made.trim(3) == 3
    return made


def test_what_a_stored_state_shows_to_be_unwanted_is_passed_over(log: Log) -> None:
    """All up to the state is below the offset; what else is trimmed is of others."""
    assert seq_nrs(log, Lookup("a", 1, 1, 0, 2)) == [3]


def test_a_record_that_is_wanted_and_trimmed_is_missed_by_name(log: Log) -> None:
    with pytest.raises(TrimmedError, match="a"):
        seq_nrs(log, Lookup("a", 1, 1, 0, 1))


def test_without_a_state_nobody_knows_what_was_trimmed() -> None:
    """Maybe it was wanted."""
    log = Log()
    log.write("a", "b")
    log.write("a")
    assert log.trim(2) == 2
    with pytest.raises(TrimmedError):
        seq_nrs(log, Lookup("a", 1, 1, 0, 1))

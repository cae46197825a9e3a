"""What is said of a registry that does not answer: enough, and not twice a second for ever."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from thespian_dc.entity.membership import Membership
from thespian_dc.journal.api import Member, open_journal
from thespian_dc.model.outage import CALM_US, SAID_EVERY_US, Outage
from thespian_dc.slices.allocation import Announce

HALF_A_SECOND = 500_000


def test_the_first_failure_is_said_and_then_one_a_minute_with_how_many_there_were() -> None:
    outage = Outage()
    minutes = range(0, 3 * SAID_EVERY_US, HALF_A_SECOND)
    said = {now: times for now in minutes if (times := outage.on_failure(now))}
    assert said == {0: 1, SAID_EVERY_US: 120, 2 * SAID_EVERY_US: 120}


def test_that_it_works_again_is_said_once_with_how_long_it_did_not() -> None:
    outage = Outage()
    for now in range(0, 10_000_000, HALF_A_SECOND):
        outage.on_failure(now)
    said = [outage.on_turn(now) for now in range(10_000_000, 30_000_000, HALF_A_SECOND)]
    assert [one for one in said if one] == [9_500_000]
    assert outage.on_failure(30_000_000) == 1, "another outage is said at once"


def test_what_works_only_now_and_then_does_not_work_again() -> None:
    """On a full disk reads go on, and a small write may find room."""
    outage = Outage()
    outage.on_failure(0)
    for now in range(0, SAID_EVERY_US, CALM_US - 1):
        assert outage.on_turn(now) == 0
        assert outage.on_failure(now) == 0


def test_what_never_failed_is_never_said_to_work_again() -> None:
    assert Outage().on_turn(10**15) == 0


def test_a_hosts_registry_that_cannot_be_written_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was one at each beat."""
    path = tmp_path / "shop.db"
    journal = open_journal(f"sqlite:///{path}?lock_timeout_s=0")
    me = Member("a", "", "node", (), 1)
    membership = Membership(journal, me, {}, lambda _: None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    for _ in range(5):
        membership._perform([Announce(me)])
    other.close()
    journal.close()
    [said] = [one for one in caplog.records if one.message == "registry_unavailable"]
    assert "held its lock" in said.__dict__["reason"]

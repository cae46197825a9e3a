"""A host has no more appends under way than its journal wants at once; who waits gathers more."""

from __future__ import annotations

from tests.unit.host_core import Host
from thespian_dc.entity.append_gate import SLOW_US
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.slices.actions import Append
from thespian_dc.testkit.entities import Account, Balance, Deposit

SLICES, AT_ONCE = 8, 2
IDS = [next(f"a{n}" for n in range(1000) if slice_of(f"a{n}", SLICES) == s) for s in range(SLICES)]
"""One entity of each slice."""


def host() -> Host:
    """All entities are in memory, and nothing is under way."""
    made = Host(Account, slices=SLICES, appends_at_once=AT_ONCE).own()
    deposit(made)
    made.run()
    made.answers.clear()
    return made


def deposit(to: Host, amount: int = 1) -> None:
    """One command for each slice, all in one input."""
    to.send(*(to.command(Account, entity_id, Deposit(amount)) for entity_id in IDS))


def appends(of: Host) -> list[Append]:
    return [action for action in of.pending if isinstance(action, Append)]


def test_only_so_many_slices_append_at_once_and_the_rest_follow_in_order() -> None:
    """Each answer lets one that waited go; nobody is forgotten and nobody goes twice."""
    busy = host()
    deposit(busy)
    order = []
    while appends(busy):
        assert len(appends(busy)) <= AT_ONCE
        order.append(appends(busy)[0].commit.key.slice)
        busy.step(Append)
    assert sorted(order) == list(range(SLICES))
    assert list(busy.answers.values()) == [Balance(2)] * SLICES


def test_who_waits_gathers_one_commit() -> None:
    """That is what the waiting is for."""
    busy = host()
    for _ in range(3):
        deposit(busy)
    counts: dict[SliceKey, list[int]] = {}
    while appends(busy):
        commit = appends(busy)[0].commit
        counts.setdefault(commit.key, []).append(commit.count)
        busy.step(Append)
    assert sorted(counts.values()) == [[1, 2]] * AT_ONCE + [[3]] * (SLICES - AT_ONCE)
    assert len(busy.answers) == 3 * SLICES


def test_a_command_that_waits_for_no_append_goes_at_once() -> None:
    """The gate is no delay: with nothing under way an append starts in the input it came with."""
    idle = host()
    idle.send(idle.command(Account, IDS[0], Deposit(1)))
    assert len(appends(idle)) == 1


def test_appends_without_an_answer_do_not_stop_the_other_slices() -> None:
    """Their replicas are away; after SLOW_US the others have the journal for themselves."""
    stuck = host()
    deposit(stuck)
    lost = stuck.drop(Append)
    assert len(lost) == AT_ONCE
    due_us = stuck.core.wakeup_us()
    assert due_us is not None
    assert due_us <= stuck.now_us + SLOW_US
    stuck.pass_time(SLOW_US)
    stuck.run()
    assert len(stuck.answers) == SLICES - AT_ONCE


def test_a_slow_append_that_is_answered_counts_again_with_its_next_one() -> None:
    """Its slot is not lost for good."""
    slow = host()
    deposit(slow)
    late = slow.drop(Append)
    slow.pass_time(SLOW_US).run()
    for append in late:
        slow.perform(append)
    slow.run()
    assert len(slow.answers) == SLICES
    deposit(slow)
    assert len(appends(slow)) == AT_ONCE

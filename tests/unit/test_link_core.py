"""Links between replicas: a random walk of all of them, the bugs it must catch, and the rules one
by one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.link_world import BrokenError, World
from thespian_dc.entity.api import Absorbed, RemoteEvent, Replicated, ReplicatedState
from thespian_dc.model.ids import slice_of
from thespian_dc.model.replication import Listed
from thespian_dc.model.replication_errors import ReplicatedEntityFailedError
from thespian_dc.projection.api import CommitView, Lookup, SourceBatch
from thespian_dc.replication.blocked import BLOCKED_EVENTS_MAX
from thespian_dc.replication.link_actions import (
    COMMAND_BYTES_MAX,
    COMMAND_EVENTS_MAX,
    Action,
    Handled,
    LookUp,
    Submit,
)
from thespian_dc.replication.link_core import LinkCore
from thespian_dc.replication.pending import BATCHES_TIDIED, PAUSE_US
from thespian_dc.replication.whole_entities import LOOK_UPS_MAX

BUGS = (
    "own_origin_only", "skip_linked_origins", "no_wait", "position_before_apply",
    "report_before_apply", "dedup_by_arrival",
)  # fmt: skip
SEEDS = 60


def test_replicas_come_to_hold_the_same_events() -> None:
    """Under crashes, one-way cuts, lost commands and answers, stale reports, chains, narrower
    scopes and a lost replica."""
    assert sum(World(seed).run() for seed in range(SEEDS)) > 50 * SEEDS


@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_is_caught(bug: str) -> None:
    for seed in range(SEEDS):
        try:
            World(seed, bug).run()
        except BrokenError:
            return
    pytest.fail(f"{bug} went unnoticed")


# --- rule by rule ---

AFTER_US = 1_000_000
S0, S1 = "x", "u"
"""Two entities in different slices of two."""


def event(n: int, size: int = 1) -> RemoteEvent:
    return RemoteEvent("m", b"p" * size, (), ["us", n, {}, n, 0])


class One:
    """One link of two slices; keeps what is asked of others."""

    def __init__(self, **more: Any) -> None:
        self.core = LinkCore("us", 2, {}, AFTER_US, **more)
        self.submits: list[Submit] = []
        self.given_back: list[int] = []
        self.lookups: list[Lookup] = []
        self.states: list[str] = []
        self.fresh: list[bool] = []
        self.at = [0, 0]

    def do(self, actions: list[Action]) -> One:
        for action in actions:
            if isinstance(action, Submit):
                self.submits.append(action)
            elif isinstance(action, Handled):
                self.given_back.append(action.batch.next_offset)
            elif isinstance(action, LookUp):
                self.lookups.append(action.lookup)
            else:
                self.states.append(action.entity_id)
                self.fresh.append(action.fresh)
        return self

    def batch(self, entity_id: str, *events: RemoteEvent, now_us: int = 0) -> None:
        number = slice_of(entity_id, 2)
        base = self.at[number]
        self.at[number] = until = base + max(1, len(events))
        view = CommitView(base, until, b"w", 0, b"")
        found: dict[str, list[Any]] = {entity_id: list(events)} if events else {}
        batch = SourceBatch(number, base, until, until, [view])
        self.do(self.core.on_batch(batch, found, now_us))

    def answer(self, outcome: Absorbed, now_us: int = 0) -> None:
        self.do(self.core.on_outcome(self.submits.pop(0).pending, outcome, now_us))

    def sent(self) -> list[int]:
        """The n of the events in the one command that is under way."""
        (submit,) = self.submits
        assert isinstance(submit.command, Replicated)
        return [one.meta[1] for one in submit.command.events]

    def cursor(self, entity_id: str) -> int:
        return self.core.cursors()[slice_of(entity_id, 2)].offset


def waits(through: int = 0) -> Absorbed:
    return Absorbed(through, "waits", ("ap", 1))


def test_the_entities_are_of_two_slices() -> None:
    assert slice_of(S0, 2) != slice_of(S1, 2)


def test_a_batch_of_which_nothing_is_for_us_is_done_at_once() -> None:
    one = One()
    one.batch(S0)
    assert (one.cursor(S0), one.given_back) == (1, [1])


def test_the_cursor_moves_when_the_entity_has_answered() -> None:
    one = One()
    one.batch(S0, event(1), event(2))
    assert (one.cursor(S0), one.given_back) == (0, [])
    one.answer(Absorbed(2))
    assert (one.cursor(S0), one.given_back, one.core.is_idle) == (2, [2], True)


def test_one_command_of_an_entity_is_under_way_and_the_rest_goes_together() -> None:
    one = One()
    for n in (1, 2, 3):
        one.batch(S0, event(n))
    assert one.sent() == [1]
    one.answer(Absorbed(1))
    assert one.sent() == [2, 3]


def test_a_later_batch_may_be_done_before_but_not_passed() -> None:
    one = One()
    same_slice = next(f"e{n}" for n in range(99) if slice_of(f"e{n}", 2) == slice_of(S0, 2))
    one.batch(S0, event(1))
    one.batch(same_slice, event(1))
    one.do(one.core.on_outcome(one.submits.pop().pending, Absorbed(1), 0))
    assert (one.cursor(S0), one.given_back) == (0, [2])
    one.answer(Absorbed(1))
    assert one.cursor(S0) == 2


def test_commands_are_bounded() -> None:
    """In events and in bytes; one event alone may be larger."""
    one = One()
    one.batch(S0, *(event(n) for n in range(1, COMMAND_EVENTS_MAX + 2)))
    assert len(one.sent()) == COMMAND_EVENTS_MAX
    other = One()
    half = COMMAND_BYTES_MAX // 2
    other.batch(S0, event(1, 3 * half), event(2, half), event(3, half), event(4))
    assert other.sent() == [1]
    other.answer(Absorbed(1))
    assert other.sent() == [2, 3]


def test_what_waits_holds_its_entity_and_its_slice_alone() -> None:
    one = One()
    one.batch(S0, event(1), event(2))
    one.answer(waits(through=1))
    one.batch(S1, event(1))
    one.answer(Absorbed(1))
    assert (one.cursor(S0), one.cursor(S1)) == (0, 1)
    assert sorted(one.given_back) == [1, 2], "the window does not fill with what waits"
    (blocked,) = one.core.blocked(9)
    assert (blocked.entity_id, blocked.missing, blocked.since_us) == (S0, ("ap", 1), 0)


def test_it_is_tried_when_another_link_brought_something_and_now_and_then() -> None:
    one = One()
    one.batch(S0, event(1))
    one.answer(waits())
    assert not one.do(one.core.poke([S1], 5)).submits
    assert one.do(one.core.poke([S0], 5)).sent() == [1]
    one.answer(waits())
    due_us = one.core.wakeup_us()
    assert due_us is not None
    assert one.do(one.core.on_tick(due_us + PAUSE_US[1])).sent() == [1]
    one.answer(Absorbed(1))
    assert (one.cursor(S0), one.core.blocked(9)) == (1, [])


def test_after_a_while_the_entity_is_read_as_a_whole() -> None:
    """What came meanwhile is left to that reading; piece by piece, from its first event."""
    one = One()
    one.batch(S0, event(3))
    one.answer(waits(), 0)
    one.do(one.core.on_tick(PAUSE_US[1]))
    one.answer(waits(), AFTER_US)
    assert one.lookups == [Lookup(S0, slice_of(S0, 2), 1)]
    one.batch(S0, event(4))
    one.do(one.core.on_looked_up(S0, [event(1), event(2)], 2, 1, more=True))
    assert one.sent() == [1, 2]
    one.answer(Absorbed(2))
    assert one.lookups[1].from_seq_nr == 3
    one.do(one.core.on_looked_up(S0, [event(3)], 3, 1, more=False))
    one.answer(Absorbed(1))
    assert (one.cursor(S0), one.lookups[2].from_seq_nr) == (0, 4), "one came after the reading"
    one.do(one.core.on_looked_up(S0, [event(4)], 4, 2, more=False))
    one.answer(Absorbed(1))
    assert (one.cursor(S0), one.core.is_idle) == (2, True)


def test_what_is_read_again_and_waits_for_the_same_event_has_waited_all_along() -> None:
    """The known events before it are no progress: the pauses grow, and people see since when."""
    one, now_us, pauses = One(), AFTER_US, []
    one.batch(S0, event(3))
    one.answer(waits(), 0)
    one.do(one.core.on_tick(AFTER_US))
    one.answer(waits(), AFTER_US)
    one.do(one.core.on_looked_up(S0, [event(1)], 1, 1, more=True))
    one.answer(Absorbed(1), now_us)
    for _ in range(5):
        assert one.lookups[-1].from_seq_nr == 2, "the piece that waits"
        one.do(one.core.on_looked_up(S0, [event(2), event(3)], 3, 1, more=False))
        one.answer(waits(through=1), now_us)
        (blocked,) = one.core.blocked(9)
        assert (blocked.missing, blocked.since_us) == (("ap", 1), 0)
        due_us = one.core.wakeup_us()
        assert due_us is not None
        pauses.append(due_us - now_us)
        now_us = due_us
        one.do(one.core.on_tick(now_us))
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]


def test_where_a_filter_is_in_force_it_is_read_at_once() -> None:
    one = One(filtered=True)
    one.batch(S0, event(3))
    one.answer(waits())
    assert len(one.lookups) == 1


def test_an_entity_that_is_trimmed_begins_with_a_state() -> None:
    one = One()
    one.do(one.core.come_in([S0]))
    assert one.core.coming_in == {S0}
    one.do(one.core.on_trimmed(S0))
    assert one.states == [S0]
    state = ReplicatedState("m", b"", {"us": 7}, {})
    one.do(one.core.on_state(S0, state, 7))
    assert one.submits[0].command is state
    one.answer(Absorbed(1))
    assert one.lookups[-1].from_seq_nr == 8
    one.do(one.core.on_looked_up(S0, [], 7, 9, more=False))
    assert (one.core.coming_in, one.core.is_idle) == (set(), True)


def test_a_state_that_is_not_taken_holds_the_cursor_and_nothing_else() -> None:
    """It is asked for again after pauses; meanwhile others are read, and it is seen why."""
    one, ids = One(), [f"e{n}" for n in range(LOOK_UPS_MAX)]
    one.do(one.core.come_in([S0, *ids]))
    one.batch(S0, event(9))
    one.do(one.core.on_trimmed(S0))
    one.do(one.core.on_state(S0, ReplicatedState("m", b"", {"us": 9}, {}), 9))
    assert ids[-1] not in [lookup.entity_id for lookup in one.lookups]
    one.answer(Absorbed(0, "waits", error=ReplicatedEntityFailedError("x", "no such type")))
    assert one.lookups[-1].entity_id == ids[-1]
    [blocked] = one.core.blocked(9)
    assert (blocked.entity_id, blocked.missing) == (S0, None)
    assert "no such type" in blocked.text
    one.do(one.core.on_looked_up(ids[0], [], 0, 9, more=False))
    due_us = one.core.wakeup_us()
    assert due_us is not None
    one.do(one.core.on_tick(due_us))
    assert (one.lookups[-1], one.cursor(S0)) == (Lookup(S0, slice_of(S0, 2), 1), 0)


def test_where_a_state_in_the_peers_log_does_not_do_its_stored_one_is_asked_for() -> None:
    """It lacks what this replica took and trimmed, and stays as it is; what follows it in the log
    may bring that, but comes after it."""
    one = One()
    state = ReplicatedState("m", b"", {"us": 9}, {})
    one.do(one.core.come_in([S0]))
    for times in (1, 2):
        one.do(one.core.on_looked_up(S0, [state, event(10)], 2, 9, more=False))
        one.answer(waits())
        due_us = one.core.wakeup_us()
        assert due_us is not None
        one.do(one.core.on_tick(due_us))
        assert one.fresh == [True] * times
        # None is stored so far: its log is tried again meanwhile.
        one.do(one.core.on_look_up_failed(S0, "it keeps no state of it", due_us))
        due_us = one.core.wakeup_us()
        assert due_us is not None
        one.do(one.core.on_tick(due_us))
        assert one.lookups == [Lookup(S0, slice_of(S0, 2), 1)] * (times + 1)
    one.do(one.core.on_looked_up(S0, [state], 1, 9, more=True))
    one.answer(waits())
    due_us = one.core.wakeup_us()
    assert due_us is not None
    one.do(one.core.on_tick(due_us))
    one.do(one.core.on_state(S0, ReplicatedState("m", b"", {"us": 10}, {}), 3))
    one.answer(Absorbed(1))
    assert one.lookups[-1] == Lookup(S0, slice_of(S0, 2), 4)
    one.do(one.core.on_looked_up(S0, [], 3, 9, more=False))
    assert one.core.coming_in == set()
    assert one.core.is_idle


def test_where_the_stored_state_does_not_do_a_fresh_one_is_asked_for() -> None:
    """It lacks what this replica took and trimmed; by now the peer may have that, too."""
    one = One()
    one.do(one.core.come_in([S0]))
    one.do(one.core.on_trimmed(S0))
    one.do(one.core.on_state(S0, ReplicatedState("m", b"", {"us": 9}, {}), 9))
    one.answer(waits())
    due_us = one.core.wakeup_us()
    assert due_us is not None
    one.do(one.core.on_tick(due_us))
    assert (one.states, one.fresh) == ([S0, S0], [False, True])


def test_few_entities_are_read_at_once() -> None:
    one = One()
    ids = [f"e{n}" for n in range(LOOK_UPS_MAX + 3)]
    one.do(one.core.come_in(ids))
    assert len(one.lookups) == LOOK_UPS_MAX
    one.do(one.core.on_look_up_failed(one.lookups[0].entity_id, "the peer is down", 0))
    assert len(one.lookups) == LOOK_UPS_MAX + 1
    assert one.core.blocked(1)[0].text == "the peer is down"


def test_an_event_that_is_set_aside_is_passed_by() -> None:
    one = One()
    one.batch(S0, event(1), event(2), event(3))
    refused = Listed("refused", S0, "us", 2, 0)
    one.answer(Absorbed(1, "set_aside", listed=(refused,)))
    assert one.sent() == [3]
    one.answer(Absorbed(1))
    assert one.cursor(S0) == 3
    assert (one.core.counts, list(one.core.listed.values())) == ({"refused": 1}, [refused])


def test_of_a_forked_entity_nothing_is_taken() -> None:
    one = One()
    one.batch(S0, event(1), event(2))
    forked = Listed("forked", S0, "us", 1, 0)
    one.answer(Absorbed(0, "set_aside", listed=(forked,)))
    assert (one.cursor(S0), one.submits) == (2, [])


def test_what_its_class_delays_comes_again_then() -> None:
    one = One()
    one.batch(S0, event(1))
    one.answer(Absorbed(0, "delayed", delay_us=700_000), 1)
    assert not one.do(one.core.on_tick(700_000)).submits
    assert one.do(one.core.on_tick(700_001)).sent() == [1]


def test_a_command_that_failed_is_sent_again_after_growing_pauses() -> None:
    one, now_us, pauses = One(), 0, []
    one.batch(S0, event(1))
    for _ in range(12):
        one.do(one.core.on_failed(one.submits.pop().pending, "HostBusyError", now_us))
        due_us = one.core.wakeup_us()
        assert due_us is not None
        pauses.append(due_us - now_us)
        now_us = due_us
        one.do(one.core.on_tick(now_us))
    assert pauses[:3] == [PAUSE_US[0], 2 * PAUSE_US[0], 4 * PAUSE_US[0]]
    assert pauses[-1] == PAUSE_US[1]
    assert one.core.blocked(1)[0].text == "HostBusyError"


def test_what_waits_keeps_its_credit_once_there_is_much_of_it() -> None:
    """So the window fills, and nothing more comes."""
    one = One()
    one.batch(S0, event(1))
    one.answer(waits())
    many = [event(n) for n in range(2, BLOCKED_EVENTS_MAX + 2)]
    one.batch(S0, *many)
    one.batch(S0, event(BLOCKED_EVENTS_MAX + 2))
    assert one.given_back == [1, BLOCKED_EVENTS_MAX + 1]


def test_batches_that_are_done_behind_one_that_is_not_take_little() -> None:
    one = One()
    one.batch(S0, event(1))
    one.answer(waits())
    for _ in range(5 * BATCHES_TIDIED):
        one.batch(S0)
    assert len(one.core._batches._lanes[slice_of(S0, 2)].batches) <= 2 * BATCHES_TIDIED
    one.do(one.core.poke([S0], 0))
    one.answer(Absorbed(1))
    assert one.cursor(S0) == 5 * BATCHES_TIDIED + 1

"""Every queue of a host is bounded, and entities leave memory when they may (invariant I7)."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from thespian.actors import ActorAddress

from tests.unit.host_core import SECOND, Host
from thespian_dc.entity.actions import Forward, Report
from thespian_dc.entity.actor import EventSourcedActor
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.inline import InlineHost
from thespian_dc.entity.protocol import (
    SENT_BEFORE,
    Command,
    EntityRef,
    ReplyAddress,
    Route,
)
from thespian_dc.journal.api import open_journal
from thespian_dc.model.entity_errors import HostBusyError, StashOverflowError
from thespian_dc.model.errors import TooLargeError, UnknownEntityTypeError
from thespian_dc.model.settings import Limits
from thespian_dc.slices.actions import Append
from thespian_dc.testkit.entities import (
    Account,
    Balance,
    Deposit,
    Deposited,
    Do,
    GetBalance,
    Profile,
    Put,
    Question,
)


def test_busy_host_refuses_at_once() -> None:
    """Retryable, nothing done; as soon as there is room it accepts again."""
    host = Host(Account, limits=Limits(waiting_max=3)).own()
    numbers = host.send(*[host.command(Account, "a", Deposit(1)) for _ in range(5)])
    assert [isinstance(host.answers.get(n), HostBusyError) for n in numbers] == [False] * 3 + [
        True
    ] * 2
    host.run()
    [later] = host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    assert host.answers[later] == Balance(4)


def test_busy_host_still_wakes_its_entities() -> None:
    """A timer that is set anew each time it fires must not end because others were busy."""
    host = Host(Account, limits=Limits(waiting_max=2)).own()
    host.send(host.command(Account, "a", Do("wake", 1.0)))
    host.run()
    host.send(*[host.command(Account, "b", Deposit(1)) for _ in range(2)])
    host.pass_time(2 * SECOND)
    host.take(host.core.on_commands([Command("account", "a", Deposit(1))], host.now_us))
    assert [one.event for one in host.world if isinstance(one, Report)] == ["command_dropped"]
    host.run()
    [number] = host.send(host.command(Account, "a", Do("facts")))
    host.run()
    assert host.answers[number][1:3] == (0, 1)


def test_full_stash_answers_with_its_limit() -> None:
    """And keeps what is stashed."""
    host = Host(Account, limits=Limits(stash_max=2)).own()
    numbers = host.send(
        *[host.command(Account, "a", Do("stash_until_closed", n)) for n in range(3)]
    )
    host.run()
    assert list(host.answers) == [numbers[2]]
    assert isinstance(host.answers[numbers[2]], StashOverflowError)
    host.send(host.command(Account, "a", Do("close")))
    host.run()
    assert [host.answers[n] for n in numbers[:2]] == [
        "0 at 0, number 1", "1 at 0, number 2",
    ]  # fmt: skip
    assert host.core.status()["open_commands"] == 0


def test_oversized_command_is_refused_before_anything_is_written() -> None:
    """By the size of its events together."""
    host = Host(Account, limits=Limits(command_bytes_max=100)).own()
    large, small = host.send(
        host.command(Account, "a", Deposit(1, in_parts=50)),
        host.command(Account, "a", Deposit(1, in_parts=2)),
    )
    host.run()
    assert isinstance(host.answers[large], TooLargeError)
    assert host.answers[small] == Balance(2)


def test_a_durable_states_change_event_counts_too() -> None:
    """It stands in the same record as the state: either alone would be small enough."""
    host = Host(Profile, limits=Limits(command_bytes_max=100)).own()
    large, small = host.send(
        host.command(Profile, "p", Put("x" * 60)), host.command(Profile, "p", Put("x" * 30))
    )
    host.run()
    refused = host.answers[large]
    assert isinstance(refused, TooLargeError)
    assert 120 < refused.size_bytes < 160
    assert host.answers[small] == ("x" * 30, 1)


def test_idle_entities_leave_memory() -> None:
    """And come back by their next command, with the timer's and ask's keepers gone."""
    host = Host(Account, limits=Limits(passivate_after_s=10)).own()
    host.send(host.command(Account, "a", Deposit(1)), host.command(Account, "b", Deposit(1)))
    host.run().pass_time(6 * SECOND).run()
    host.send(host.command(Account, "b", GetBalance()))
    host.run().pass_time(5 * SECOND).run()
    assert host.core.peek(EntityRef("account", "a")) is None
    assert host.core.peek(EntityRef("account", "b")) is not None
    [number] = host.send(host.command(Account, "a", Do("facts")))
    host.run()
    assert host.answers[number][1] == 1
    assert host.core.counts["passivated"] == 1


@pytest.mark.parametrize(
    "keeper",
    [
        Do("wake", 100.0),
        Do("stash_until_closed"),
        Do("ask", (ActorAddress("oracle"), Question("?", "never"), 100.0)),
    ],
    ids=["timer", "stash", "ask"],
)
def test_entity_that_waits_for_something_stays(keeper: Do) -> None:
    """A timer, a stashed command, an open question."""
    host = Host(Account, limits=Limits(passivate_after_s=10)).own()
    host.send(host.command(Account, "a", keeper))
    host.run().pass_time(50 * SECOND).run()
    assert host.core.peek(EntityRef("account", "a")) is not None


def test_entity_with_a_commit_in_flight_stays() -> None:
    """Passivated now, it would be recovered from a log that lacks its last event."""
    host = Host(Account, limits=Limits(passivate_after_s=1)).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run(but=Append)
    host.pass_time(4 * SECOND)
    assert host.core.peek(EntityRef("account", "a")) is not None


def test_residents_are_bounded_least_recently_used_first() -> None:
    """limits.resident_max; the one used last stays."""
    host = Host(Account, limits=Limits(resident_max=10)).own()
    for n in range(10):
        host.send(host.command(Account, f"e-{n}", Deposit(1)))
        host.run()
    host.send(host.command(Account, "e-0", GetBalance()))
    for n in range(10, 15):
        host.send(host.command(Account, f"e-{n}", Deposit(1)))
        host.run()
    assert host.core.status()["resident"] == 10
    assert host.core.peek(EntityRef("account", "e-0")) is not None
    assert host.core.peek(EntityRef("account", "e-1")) is None


# --- who owns the slice ---
def test_command_for_another_hosts_slice_is_sent_on() -> None:
    """An asker's router learns the route; what nobody waits for is forwarded from here."""
    host = Host(Account, slices=1)
    [key] = host.keys
    route = Route("account", 0, "10.0.0.1:7", 3)
    host.take(host.core.on_assigned([], host.now_us, {key: route}))
    [number] = host.send(host.command(Account, "a", Deposit(1)))
    assert host.answers[number] == route
    host.take(host.core.on_commands([Command("account", "a", Deposit(2))], host.now_us))
    sender = ActorAddress("raw")
    command = Command("account", "a", Deposit(2), sender, "id")
    actions = host.core.on_commands([command], host.now_us)
    assert [(one.ref, one.reply_to, one.command_id) for one in actions if isinstance(one, Forward)]
    assert host.core.status()["open_commands"] == 0


def test_commands_wait_for_a_slice_that_is_being_taken() -> None:
    """And go on to its owner when another gets it."""
    host = Host(Account)
    host.take(host.core.on_assigned(host.keys, host.now_us))
    waiting = host.send(host.command(Account, "a", Deposit(1)), host.command(Account, "b", 0))
    assert not host.answers
    route = Route("account", 0, "10.0.0.1:7", 3)
    host.take(host.core.on_assigned([], host.now_us, {host.keys[0]: route}))
    assert [host.answers[number] for number in waiting] == [route, route]


def test_released_slice_writes_what_was_submitted_first() -> None:
    """A clean hand-over loses nothing, and answers before it redirects."""
    host = Host(Account).own()
    [first] = host.send(host.command(Account, "a", Deposit(1)))
    host.run(but=Append)
    host.take(host.core.release(host.keys, host.now_us))
    host.run()
    assert host.answers[first] == Balance(1)
    assert host.core.owned() == []
    [second] = host.send(host.command(Account, "a", Deposit(1)))
    assert isinstance(host.answers[second], Route)


def test_unknown_entity_type_is_named() -> None:
    """With what is served."""
    host = Host(Account).own()
    to = ReplyAddress("client", "client", 99)
    host.take(host.core.on_commands([Command("carts", "a", 1, to)], host.now_us))
    assert isinstance(host.answers[99], UnknownEntityTypeError)


def test_entities_that_answer_each_other_for_ever_do_not_stop_the_host() -> None:
    """Two entities in a read-only ping-pong get their share; everybody else is served."""

    class Ping(EventSourcedActor):
        entity_type = "ping"
        events = (Deposited,)
        count = 0

        def receiveMsg_EntityRef(self, other: EntityRef, sender: Any) -> None:
            self.count += 1
            self.send(other, self.ref)

        def receiveMsg_str(self, what: str, sender: Any) -> None:
            self.reply(self.count)

        def apply_event(self, state: Any, event: Any) -> Any:
            return 0

    host = Host(Ping).own()
    b = EntityRef("ping", "b")
    host.take(host.core.on_commands([Command("ping", "a", b)], host.now_us))
    host.run()
    [number] = host.send(host.command(Ping, "c", "?"))
    host.run()
    assert host.answers[number] == 0
    assert host.core.wakeup_us() == host.now_us, "the rest goes on at the next input"


def test_answers_leave_in_the_order_of_an_entitys_commands() -> None:
    """Reads and writes alike."""
    host = Host(Account).own()
    numbers = host.send(
        *[host.command(Account, "a", Deposit(n) if n % 3 else GetBalance()) for n in range(20)]
    )
    host.run()
    assert list(host.answers) == numbers


def test_a_tell_that_nobody_takes_does_not_go_round_at_full_speed() -> None:
    """The registry names a host that does not hold the slice (any more). What has been sent on
    before waits there until it looks at the members again, and is then sent on once."""
    host = Host(Account).own()
    host.take(host.core.on_assigned((), host.now_us))
    host.take(host.core.release(host.keys, host.now_us))
    host.run()
    tell = Command("account", "a", Deposit(1), None, "id-1", SENT_BEFORE)
    host.take(host.core.on_commands([tell._replace(epoch=1, command_id="id-2")], host.now_us))
    assert [one.command_id for one in host.drop(Forward)] == ["id-2"]
    for _ in range(3):
        host.take(host.core.on_commands([tell], host.now_us))
        assert not host.drop(Forward)
        assert not host.core.idle
        host.take(host.core.on_assigned((), host.now_us))
        assert [one.command_id for one in host.drop(Forward)] == ["id-1"]
    assert host.core.idle


def test_a_step_of_the_wall_clock_moves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a host without processes neither: set back, its timers stood still for as long."""
    types = [EntityType.of(Account, 1, importable=False)]
    journal = open_journal(f"memory:{uuid4().hex}")
    host = InlineHost(journal, types, "one", lambda _: None, lambda *_: None)
    host.tick()
    host.commands([Command("account", "a", Do("wake", 1.0))])
    wall_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns - 3600 * 10**9)
    due_s = host.due_s()
    assert due_s is not None
    assert due_s <= 1

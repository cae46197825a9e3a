"""Entities come back from the journal as they were, one failing alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.unit.host_core import SECOND, Host
from thespian_dc.codec.api import Registered
from thespian_dc.entity.actions import AdvanceIndex, Recover, WriteStates
from thespian_dc.entity.actor import DurableStateActor, EventSourcedActor
from thespian_dc.entity.protocol import Route
from thespian_dc.journal.api import StateRow
from thespian_dc.model.entity_errors import CommandFailedError, RecoveryError
from thespian_dc.model.settings import Limits
from thespian_dc.slices.actions import Append, Failed
from thespian_dc.testkit.entities import (
    Account,
    Balance,
    Deposit,
    Deposited,
    Do,
    GetBalance,
    Profile,
    Put,
)


def again(host: Host, *types: type, **more: Any) -> Host:
    """The process died, another takes over."""
    return Host(
        *types, journal=host.journal, member_id="m2", start_us=host.now_us + SECOND, **more
    ).own()


def with_history(commands: int, entity_id: str = "a") -> Host:
    host = Host(Account).own()
    host.send(*[host.command(Account, entity_id, Deposit(1), f"{n}") for n in range(commands)])
    host.run().pass_time(SECOND).run()
    return host


def test_snapshot_saves_replay() -> None:
    """Only records behind it are read."""
    host = again(with_history(25), Account)
    [number] = host.send(host.command(Account, "a", GetBalance()))
    recovered = host.core.counts["recovered"]
    [recover] = [one for one in host.pending if isinstance(one, Recover)]
    row = host.journal.read_state(recover.key, "a")
    assert row is not None
    assert row.seq_nr == 20
    host.run()
    assert (host.answers[number], host.core.counts["recovered"] - recovered) == (Balance(25), 1)


class Choosy(Account):
    """Its snapshots are due by what happened, not by how much."""

    entity_type = "choosy"
    snapshot_every = 0

    def snapshot_when(self, state: Any, event: Any, seq_nr: int) -> bool:
        return bool(state["amount"] >= 7 and event == Deposited(5))


def test_snapshot_by_predicate() -> None:
    """Of the state after the event, its seq_nr and the event itself."""
    host = Host(Choosy).own()
    for amount in (5, 1, 5, 1):
        host.send(host.command(Choosy, "a", Deposit(amount)))
    host.run().pass_time(SECOND).run()
    row = host.journal.read_state(host.keys[0], "a")
    assert row is not None
    assert row.seq_nr == 3


def test_unencodable_event_is_refused_before_anything_is_written() -> None:
    """Registered type, value without a stored form: the path to it is named."""
    host = Host(Account).own()
    bad, next_ = host.send(
        host.command(Account, "a", Deposit(object())),  # type: ignore[arg-type]
        host.command(Account, "a", Deposit(2)),
    )
    host.run()
    assert isinstance(host.answers[bad], CommandFailedError)
    assert host.answers[bad].error_type == "UnencodableError"
    assert "Deposited.amount" in str(host.answers[bad])
    assert host.answers[next_] == Balance(2)


def test_unreadable_snapshot_falls_back_to_replay() -> None:
    """Whatever its checksum says: here the entity room cannot make sense of its body."""
    host = again(with_history(25), Account)
    host.journal.write_states(host.keys[0], [StateRow("a", 24, 24, b"not a row")])
    [number] = host.send(host.command(Account, "a", GetBalance()))
    host.run()
    assert host.answers[number] == Balance(25)
    assert host.core.counts["rows_passed_over"] == 1


def test_snapshot_from_beyond_the_known_head_is_not_used() -> None:
    """Its owner has taken the slice from us: memory must agree with the log up to our head."""
    host = again(with_history(5), Account)
    host.journal.write_states(host.keys[0], [StateRow("a", 9, 99, b"from the future")])
    [number] = host.send(host.command(Account, "a", GetBalance()))
    host.run()
    assert host.answers[number] == Balance(5)
    assert not host.core.counts["rows_passed_over"]


def test_known_commands_come_from_snapshot_and_records() -> None:
    """All 25 ids, 20 of them only in the snapshot."""
    host = again(with_history(25), Account)
    numbers = host.send(*[host.command(Account, "a", Deposit(1), f"{n}") for n in range(25)])
    host.run()
    assert [host.answers[number] for number in numbers] == [Balance(n + 1) for n in range(25)]
    assert host.core.counts["duplicates"] == 25


def test_only_the_last_known_commands_are_kept() -> None:
    """limits.known_commands bounds memory and snapshots."""
    host = Host(Account, limits=Limits(known_commands=8)).own()
    host.send(*[host.command(Account, "b", Deposit(1), f"{n}") for n in range(40)])
    last = host.send(*[host.command(Account, "b", Deposit(1), f"{n}") for n in range(32, 40)])
    [older] = host.send(host.command(Account, "b", Deposit(1), "28"))
    host.run()
    assert [host.answers[number] for number in last] == [Balance(n + 1) for n in range(32, 40)]
    assert host.answers[older] == Balance(41), "half as many more, and one, is the bound"


@dataclass(frozen=True)
class Lost:
    """An event type that the next version of the code does not know."""


def test_unknown_event_type_fails_its_entity_alone() -> None:
    """The error names the type; the others live; the next command tries again."""

    class Before(EventSourcedActor):
        entity_type = "thing"
        events = (Deposited, Lost)

        def empty_state(self) -> int:
            return 0

        def receiveMsg_str(self, what: str, sender: Any) -> None:
            event = Lost() if what == "lose" else Deposited(1)
            self.persist(event).then_reply(lambda state: state)

        def apply_event(self, state: int, event: Any) -> int:
            return state + 1

    class After(Before):
        events = (Deposited,)

    host = Host(Before).own()
    host.send(host.command(Before, "a", "keep"), host.command(Before, "a", "lose"))
    host.send(host.command(Before, "b", "keep"))
    host.run()
    host = again(host, After)
    numbers = host.send(
        host.command(After, "a", "keep"), host.command(After, "a", "keep"),
        host.command(After, "b", "keep"),
    )  # fmt: skip
    host.run()
    failed = host.answers[numbers[0]]
    assert isinstance(failed, RecoveryError)
    assert (failed.entity, failed.seq_nr) == ("thing|a", 2)
    assert "Lost/1" in str(failed)
    assert isinstance(host.answers[numbers[1]], RecoveryError)
    assert host.answers[numbers[2]] == 2
    assert host.core.status()["open_commands"] == 0


def test_a_recovery_that_user_code_fails_names_its_line() -> None:
    class Spoilt(Account):
        def apply_event(self, state: Any, event: Any) -> Any:
            raise KeyError(event.amount)

    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(5)))
    host.run()
    host = again(host, Spoilt)
    (number,) = host.send(host.command(Spoilt, "a", Deposit(5)))
    host.run()
    failed = host.answers[number]
    assert isinstance(failed, RecoveryError)
    assert re.match(r"KeyError at test_entity_recovery\.py:\d+: 5", failed.reason)


def test_renamed_class_is_read_under_its_former_name() -> None:
    """What a Registered alias is for."""

    @dataclass(frozen=True)
    class PaidIn:
        amount: int

    class Renamed(Account):
        events = (Registered(PaidIn, aliases=("Deposited",)),)

        def apply_event(self, state: dict[str, Any], event: Any) -> None:
            state["amount"] += event.amount

    host = again(with_history(3), Renamed)
    [number] = host.send(host.command(Renamed, "a", GetBalance()))
    host.run()
    assert host.answers[number] == Balance(3)


def test_recoveries_at_a_time_are_bounded() -> None:
    """A thundering herd reads the journal a few entities at a time."""
    host = Host(Account, limits=Limits(recoveries_max=3)).own()
    numbers = host.send(*[host.command(Account, f"e-{n}", Deposit(1)) for n in range(10)])
    assert len([one for one in host.pending if isinstance(one, Recover)]) == 3
    host.run()
    assert all(host.answers[number] == Balance(1) for number in numbers)


def test_unavailable_journal_delays_a_recovery() -> None:
    """Its commands wait."""
    host = Host(Account).own()
    [number] = host.send(host.command(Account, "a", Deposit(1)))
    [recover] = host.drop(Recover)
    host.take(host.core.on_result(Failed(recover, "down"), host.now_us))
    assert not host.pending
    host.pass_time(SECOND).run()
    assert host.answers[number] == Balance(1)


def test_result_of_a_recovery_from_before_a_loss_is_dropped() -> None:
    """What it read is older than what the new owner wrote."""
    host = Host(Account).own()
    host.send(host.command(Account, "b", Deposit(1)))
    host.run()
    other = again(host, Account)
    other.send(other.command(Account, "a", Deposit(7)))
    other.run()
    [number] = host.send(host.command(Account, "a", GetBalance()))
    [stale] = host.drop(Recover)
    host.send(host.command(Account, "b", Deposit(1)))
    host.run()
    host.perform(stale)
    assert number not in host.answers
    host.until(lambda: number in host.answers)
    assert host.answers[number] == Balance(7)


def test_a_lost_slice_is_not_read_for_those_that_waited_for_its_index() -> None:
    """A new owner indexes first; the entities that waited for that are gone with the slice."""
    host = with_history(3)
    other = Host(Account, journal=host.journal, member_id="m2", start_us=host.now_us + SECOND)
    other.take(other.core.on_assigned(other.keys, other.now_us))
    other.run(but=AdvanceIndex)
    numbers = other.send(*[other.command(Account, f"e{n}", GetBalance()) for n in range(3)])
    assert [type(one) for one in other.pending] == [AdvanceIndex]
    assert other.core.status()["recovering"] == 3
    other.take(other.core.release(other.keys, other.now_us))
    assert not other.drop(Recover)
    assert other.core.status()["recovering"] == 0
    assert all(isinstance(other.answers[number], Route) for number in numbers)


def test_latest_states_are_coalesced_and_written_late() -> None:
    """A hot durable state is one row, not one per change; recovery does not need it."""
    host = Host(Profile).own()
    host.send(*[host.command(Profile, "p", Put(f"name {n}")) for n in range(50)])
    host.run(but=WriteStates).pass_time(SECOND)
    [write] = [one for one in host.pending if isinstance(one, WriteStates)]
    assert [(row.seq_nr, row.offset) for row in write.rows] == [(50, 49)]
    without = again(host, Profile)
    host.run()
    for journal_has_row in (without, again(host, Profile)):
        [number] = journal_has_row.send(journal_has_row.command(Profile, "p", "?"))
        journal_has_row.run()
        assert journal_has_row.answers[number] == ("name 49", 50)


def test_failed_write_of_a_state_is_tried_again_unless_a_newer_one_waits() -> None:
    """Never the older over the newer."""
    host = Host(Profile).own()
    host.send(host.command(Profile, "p", Put("one")))
    host.run(but=WriteStates).pass_time(SECOND)
    [failed] = host.drop(WriteStates)
    host.send(host.command(Profile, "p", Put("two")))
    host.run(but=WriteStates)
    host.take(host.core.on_result(Failed(failed, "down"), host.now_us))
    host.pass_time(SECOND)
    [write] = host.drop(WriteStates)
    assert [row.seq_nr for row in write.rows] == [2]


def test_plain_durable_state_needs_no_registered_type() -> None:
    """A dict is a state."""

    class Bag(DurableStateActor):
        entity_type = "bag"

        def empty_state(self) -> dict[str, int]:
            return {}

        def receiveMsg_str(self, name: str, sender: Any) -> None:
            self.persist({**self.state, name: self.seq_nr}).then_reply(lambda state: state)

    host = Host(Bag).own()
    host.send(host.command(Bag, "b", "x"))
    host.run()
    host = again(host, Bag)
    [number] = host.send(host.command(Bag, "b", "y"))
    host.run()
    assert host.answers[number] == {"x": 0, "y": 1}


def test_events_after_a_crash_are_whole_commands() -> None:
    """All events of one command are in one commit: none or all."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    host.send(host.command(Account, "a", Deposit(2, in_parts=3)))
    host.drop(Append)
    host = again(host, Account)
    [number] = host.send(host.command(Account, "a", Do("facts")))
    host.run()
    assert host.answers[number][1] == 1

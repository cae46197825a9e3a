"""Commands do not wait for each other's commits, and nothing leaves before it may (DESIGN 3)."""

from __future__ import annotations

from itertools import accumulate

import pytest
from thespian.actors import ActorAddress

from tests.unit.host_core import SECOND, Host
from thespian_dc.entity.actions import Confirm, WriteStates
from thespian_dc.entity.rows import unpack_row
from thespian_dc.journal.api import Appended, Outcome, append_wait
from thespian_dc.model.entity_errors import CommandNotWrittenError, CommandUnstableError
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.settings import Limits
from thespian_dc.slices.actions import Append, Failed
from thespian_dc.testkit.entities import Account, Balance, Deposit, Do, GetBalance


def foreign_commit(host: Host, amount: int = 100) -> None:
    """Another host takes the slice over and deposits into "a" and "b"."""
    other = Host(Account, journal=host.journal, member_id="m2", start_us=host.now_us).own()
    numbers = other.send(
        other.command(Account, "a", Deposit(amount)), other.command(Account, "b", Deposit(amount))
    )
    other.run()
    assert len(other.answers) == len(numbers)


def prefix_sums(amounts: list[int], start: int = 0) -> list[Balance]:
    return [Balance(start + total) for total in accumulate(amounts)]


def test_thousand_pipelined_commands_answer_their_own_prefix_sums() -> None:
    """The state changes in place and runs far ahead of the log; each reply is packed at once."""
    host = Host(Account).own()
    amounts = [1 + n % 7 for n in range(1000) if 1 + n % 7 != 13]
    numbers = [host.send(host.command(Account, "a", Deposit(n)))[0] for n in amounts]
    assert not host.answers
    host.run()
    assert [host.answers[number] for number in numbers] == prefix_sums(amounts)


@pytest.mark.parametrize("known", [True, False])
def test_pipelined_commands_survive_a_conflict_in_the_middle(known: bool) -> None:
    """All that was not durable runs again after it, in order, on the state the other left."""
    host = Host(Account).own()
    amounts = [1 + n % 5 for n in range(1000)]

    def send(part: range) -> list[int]:
        ids = {n: f"id-{n}" if known else "" for n in part}
        return [host.send(host.command(Account, "a", Deposit(amounts[n]), ids[n]))[0] for n in part]

    numbers = send(range(500))
    host.run()
    numbers += send(range(500, 700))
    foreign_commit(host)
    numbers += send(range(700, 1000))
    host.until(lambda: len(host.answers) == 1000)
    assert host.core.counts["slices_lost"] == 1
    assert host.core.status()["counts"]["conflicts"] == 1
    expected = prefix_sums(amounts[:500])
    expected += prefix_sums(amounts[500:], start=expected[-1].amount + 100)
    assert [host.answers[number] for number in numbers] == expected


def test_conflict_drops_every_entity_of_the_slice() -> None:
    """The foreign commit changed "b" too, of which nothing was in flight."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)), host.command(Account, "b", Deposit(1)))
    host.run()
    foreign_commit(host)
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    [number] = host.send(host.command(Account, "b", GetBalance()))
    host.until(lambda: number in host.answers)
    assert host.answers[number] == Balance(101)


def test_reply_waits_for_its_commit() -> None:
    """An answer promises that the events are durable."""
    host = Host(Account).own()
    [number] = host.send(host.command(Account, "a", Deposit(1)))
    host.run(but=Append)
    assert number not in host.answers
    host.run()
    assert host.answers[number] == Balance(1)


def test_read_waits_for_the_uncommitted_state_it_saw() -> None:
    """And is answered after the command whose state it saw."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    write, read = host.send(
        host.command(Account, "a", Deposit(2)), host.command(Account, "a", GetBalance())
    )
    assert not {write, read} & set(host.answers)
    host.run()
    assert list(host.answers)[-2:] == [write, read]
    assert host.answers[read] == Balance(3)


def test_read_of_a_lost_state_is_not_answered_from_it() -> None:
    """The read saw a deposit that never became durable: it runs again too."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    foreign_commit(host)
    write, read = host.send(
        host.command(Account, "a", Deposit(2)), host.command(Account, "a", GetBalance())
    )
    host.until(lambda: {write, read} <= set(host.answers))
    assert (host.answers[write], host.answers[read]) == (Balance(103), Balance(103))


def test_read_is_confirmed_when_ownership_is_old() -> None:
    """A host that was fenced long ago must not answer from its memory."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    host.now_us += SECOND // 2
    [young] = host.send(host.command(Account, "a", GetBalance()))
    assert host.answers[young] == Balance(1)
    host.now_us += 2 * SECOND
    [old] = host.send(host.command(Account, "a", GetBalance()))
    assert old not in host.answers
    assert host.step(Confirm)
    assert host.answers[old] == Balance(1)


def test_fenced_host_never_answers_a_read_from_its_memory() -> None:
    """The registry names another: the read runs again there, or here after a take-over."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    foreign_commit(host)
    host.now_us += 2 * SECOND
    [number] = host.send(host.command(Account, "a", GetBalance()))
    host.until(lambda: number in host.answers)
    assert host.answers[number] == Balance(101)


def test_read_behind_a_commit_whose_answer_was_lost_is_not_answered_from_memory() -> None:
    """The commit is in the log, and the slice was another's long before the read came: that it is
    durable proves what the command did, not that nobody went on from there."""
    host = Host(Account).own()
    [write] = host.send(host.command(Account, "a", Deposit(1)))
    host.run(but=Append)
    [append] = host.drop(Append)
    append_wait(host.journal, [append.commit])
    foreign_commit(host)
    host.now_us += 2 * SECOND
    [read] = host.send(host.command(Account, "a", GetBalance()))
    host.until(lambda: read in host.answers)
    assert (host.answers[write], host.answers[read]) == (Balance(1), Balance(101))


def test_read_behind_a_commit_that_took_long_waits_for_another_proof() -> None:
    """One that ran before the append was sent needs none: the append proves it."""
    host = Host(Account).own()
    host.send(host.command(Account, "b", Deposit(1)))
    host.run(but=Append)
    writes = [host.send(host.command(Account, "a", Deposit(1)))[0]]
    reads = [host.send(host.command(Account, "a", GetBalance()))[0]]
    writes += host.send(host.command(Account, "a", Deposit(2)))
    host.run(but=Append)
    assert host.step(Append)
    host.now_us += 2 * SECOND
    reads += host.send(host.command(Account, "a", GetBalance()))
    host.run(but=Confirm)
    assert list(host.answers)[1:] == [writes[0], reads[0], writes[1]]
    host.run()
    assert [host.answers[one] for one in reads] == [Balance(1), Balance(3)]


def test_read_that_waits_for_a_proof_is_answered_before_a_later_command() -> None:
    """Its commit proves the read too, however long it took."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    host.now_us += 2 * SECOND
    read, write = host.send(
        host.command(Account, "a", GetBalance()), host.command(Account, "a", Deposit(2))
    )
    host.now_us += 2 * SECOND
    host.run(but=Confirm)
    assert list(host.answers)[1:] == [read, write]
    assert host.answers[read] == Balance(1)


def test_read_that_waited_for_a_proof_runs_again_before_a_later_command() -> None:
    """Where the slice is lost all run again, in their order."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    foreign_commit(host)
    host.now_us += 2 * SECOND
    read, write = host.send(
        host.command(Account, "a", GetBalance()), host.command(Account, "a", Deposit(2))
    )
    host.until(lambda: {read, write} <= set(host.answers))
    assert (host.answers[read], host.answers[write]) == (Balance(101), Balance(103))


@pytest.mark.parametrize("heard", ["before", "after"])
def test_proof_of_an_ownership_that_is_over_is_not_asked_for_again(heard: str) -> None:
    """The registry could not answer before the slice was lost, or that came to light after it: of
    two questions under way at once the later one's time would count for the first one's answer."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    host.now_us += 2 * SECOND
    host.send(host.command(Account, "a", GetBalance()))
    [confirm] = host.drop(Confirm)
    failed = Failed(confirm, "away")
    if heard == "before":
        host.take(host.core.on_result(failed, host.now_us))
    foreign_commit(host)
    host.send(host.command(Account, "a", Deposit(2)))
    host.until(lambda: len(host.answers) == 3, but=Confirm)
    if heard == "after":
        host.take(host.core.on_result(failed, host.now_us))
    host.pass_time(SECOND)
    assert host.drop(Confirm) == []


def test_command_that_loses_its_slice_each_time_is_given_up() -> None:
    """limits.command_retries bounds how often it runs."""
    host = Host(Account, limits=Limits(command_retries=2)).own()
    [number] = host.send(host.command(Account, "a", Deposit(1)))
    for _ in range(3):
        host.until(lambda: any(isinstance(one, Append) for one in host.pending), but=Append)
        assert number not in host.answers
        foreign_commit(host, amount=0)
        host.run()
    assert isinstance(host.answers[number], CommandUnstableError)


def test_command_refused_for_certain_fails_alone() -> None:
    """Its entity is recovered, those behind it run again, other entities are not affected."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)), host.command(Account, "b", Deposit(1)))
    host.run()
    culprit, behind = host.send(
        host.command(Account, "a", Deposit(1000)), host.command(Account, "a", Deposit(2))
    )
    [other] = host.send(host.command(Account, "b", Deposit(4)))

    def refuse_thousands() -> None:
        for append in host.drop(Append):
            if b"large" in append.commit.body:
                refused = Appended(append.commit, Outcome.REFUSED, "too large")
                host.take(host.core.on_result(refused, host.now_us))
            else:
                host.perform(append)

    for _ in range(200):
        refuse_thousands()
        host.run(but=Append).pass_time(50_000)
    assert isinstance(host.answers[culprit], CommandNotWrittenError)
    assert (host.answers[behind], host.answers[other]) == (Balance(3), Balance(5))


def test_snapshot_is_of_its_event_and_written_after_its_commit() -> None:
    """Never of a state that is not durable, although memory is ahead."""
    host = Host(Account).own()
    host.send(*[host.command(Account, "a", Deposit(1), f"id-{n}") for n in range(25)])
    host.run(but=(Append, WriteStates))
    host.pass_time(SECOND)
    assert not [one for one in host.pending if isinstance(one, WriteStates)]
    host.run(but=WriteStates).pass_time(SECOND)
    [write] = [one for one in host.pending if isinstance(one, WriteStates)]
    [row] = write.rows
    assert (row.seq_nr, row.offset) == (20, 19)
    (_, payload), known, *_ = unpack_row(row)
    assert host.types[0].registry.decode_value(payload) == {"amount": 20, "closed": False}
    assert set(known) == {f"id-{n}" for n in range(20)}, "ids of later commands are not its own"


def test_effects_of_a_lost_run_do_not_happen() -> None:
    """A message sent by a command whose commit was lost goes out once: when the command ran again.
    """
    host = Host(Account).own()
    host.send(host.command(Account, "a", Deposit(1)))
    host.run()
    foreign_commit(host)
    actor = ActorAddress("actor")
    [number] = host.send(host.command(Account, "a", Do("then_send", actor)))
    host.until(lambda: number in host.answers)
    assert host.sent == [(actor, "3 at 106")]


def test_all_commands_of_a_batch_share_a_commit() -> None:
    """One flush per slice and input: commits grow with load."""
    host = Host(Account).own()
    for name in "abc":
        host.send(host.command(Account, name, Deposit(1)))
        host.run()
    host.send(*[host.command(Account, name, Deposit(n)) for n in range(1, 9) for name in "abc"])
    [append] = [one for one in host.pending if isinstance(one, Append)]
    assert append.commit.count == 24
    assert append.commit.key == SliceKey("account", 0)

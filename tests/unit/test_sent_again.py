"""Commands that are sent again are persisted once, however many were persisted since (I1).

An entity remembers its last few command ids. Whoever sends a command says which owner it was for
when it was sent first, and below which offset its records cannot be; where memory does not decide,
the log does.
"""

from __future__ import annotations

from typing import Any

from tests.unit.host_core import SECOND, Host
from tests.unit.sent_again import KNOWN, deposits, owner, records, successor
from thespian_dc.entity.actions import LookUp
from thespian_dc.entity.protocol import SENT_BEFORE
from thespian_dc.entity.rows import Kept, unpack_row
from thespian_dc.journal.api import Appended, Outcome, append_wait
from thespian_dc.model.entity_errors import OutcomeUnknownError
from thespian_dc.slices.actions import Append, CommitAt, Failed, FoundCommit
from thespian_dc.testkit.entities import Account, Balance, Deposit, Do, GetBalance


def replies(host: Host, numbers: list[int]) -> list[Any]:
    return [host.answers[number] for number in numbers]


FIRST = [f"one-{n}" for n in range(KNOWN - 4)]
SECOND_CLIENT = [f"two-{n}" for n in range(KNOWN - 4)]


def test_several_clients_send_again_more_than_an_entity_remembers() -> None:
    """A host dies with all answers in its hands. Each client had less under way than an entity
    remembers; together they had more."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host = successor(host)
    again = host.send(
        *deposits(host, SECOND_CLIENT, SENT_BEFORE), *deposits(host, FIRST, SENT_BEFORE)
    )
    host.run()
    assert records(host) == [*FIRST, *SECOND_CLIENT]
    whole = [Balance(n + 1) for n in range(len(FIRST) + len(SECOND_CLIENT))]
    assert replies(host, again) == [*whole[len(FIRST) :], *whole[: len(FIRST)]]


def test_what_was_not_persisted_runs_in_its_order() -> None:
    """Half of them got into the log before the host died."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host.send(*deposits(host, ["three-0", "three-1"], 1))
    host.drop(Append)
    host = successor(host)
    again = host.send(*deposits(host, [FIRST[0], "three-0", "three-1", FIRST[1]], SENT_BEFORE))
    host.run()
    assert records(host) == [*FIRST, *SECOND_CLIENT, "three-0", "three-1"]
    assert replies(host, again) == [
        Balance(1), Balance(2 * len(FIRST) + 1), Balance(2 * len(FIRST) + 2), Balance(2),
    ]  # fmt: skip


def test_what_is_sent_for_the_first_time_to_the_owner_is_never_looked_up() -> None:
    """The path that counts: nobody else can have had it."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host.send(*deposits(host, ["new"], 1))
    assert not [one for one in host.pending if isinstance(one, LookUp)]
    assert [type(one) for one in host.pending] == [Append]


def test_a_late_first_frame_is_looked_up_too() -> None:
    """It was meant for an owner before this one: what is in it may have been sent again since."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host = successor(host)
    [late] = host.send(*deposits(host, [FIRST[0]], 1))
    host.run()
    assert host.answers[late] == Balance(1)
    assert len(records(host)) == len(FIRST) + len(SECOND_CLIENT)


def test_the_log_is_asked_when_what_is_under_way_is_in_it() -> None:
    """Sent again to the same host, while the first is not durable and already forgotten."""
    host = owner()
    host.send(*deposits(host, ["slow"], 1))
    host.run(but=Append)
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    [again] = host.send(*deposits(host, ["slow"], SENT_BEFORE))
    assert not [one for one in host.pending if isinstance(one, LookUp)]
    host.run()
    assert records(host).count("slow") == 1
    assert host.answers[again] == Balance(1)


def test_commands_that_come_meanwhile_wait_and_keep_their_order() -> None:
    """Those of other clients too: a look-up takes one read."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host = successor(host)
    host.send(host.command(Account, "a", GetBalance()))
    host.run()
    numbers = host.send(*deposits(host, [FIRST[0], "x"], SENT_BEFORE))
    numbers += host.send(*deposits(host, ["y"], 2), host.command(Account, "a", GetBalance()))
    assert not [one for one in numbers if one in host.answers]
    host.run()
    total = len(FIRST) + len(SECOND_CLIENT)
    assert replies(host, numbers) == [
        Balance(1), Balance(total + 1), Balance(total + 2), Balance(total + 2),
    ]  # fmt: skip


def test_a_copy_that_waited_for_another_is_looked_up_again() -> None:
    """The log was asked for both at once; the first ran, and more followed than are remembered."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host = successor(host)
    between = [f"three-{n}" for n in range(2 * KNOWN)]
    numbers = host.send(*deposits(host, ["x", *between, "x"], SENT_BEFORE))
    host.run()
    assert records(host) == [*FIRST, *SECOND_CLIENT, "x", *between]
    assert host.answers[numbers[-1]] == host.answers[numbers[0]]


def test_a_command_that_lost_its_commit_is_looked_up_under_the_next_epoch() -> None:
    """What the log said under the former one is no longer all."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host = successor(host)
    [number] = host.send(*deposits(host, ["x"], SENT_BEFORE))
    host.run(but=Append)
    lost = host.drop(Append)
    other = owner(host.journal, "m3", host.now_us + SECOND)
    other.send(*deposits(other, ["x"], SENT_BEFORE))
    other.send(*deposits(other, [f"three-{n}" for n in range(2 * KNOWN)], 3))
    other.run()
    for append in lost:
        host.perform(append)
    host.until(lambda: number in host.answers)
    assert records(host).count("x") == 1


def test_a_stashed_command_is_looked_up_when_it_comes_back() -> None:
    """A copy may have come meanwhile, and run because the entity was in another mood."""
    host = owner()
    aside = host.command(Account, "a", Do("stash_until_closed", 1), "x")._replace(epoch=1)
    host.send(*deposits(host, FIRST, 1), aside)
    host.run()
    host.send(*deposits(host, ["x"], SENT_BEFORE), *deposits(host, SECOND_CLIENT, 1))
    host.send(*deposits(host, [f"three-{n}" for n in range(KNOWN)], 1))
    host.send(host.command(Account, "a", Do("close")))
    host.run()
    assert records(host).count("x") == 1
    assert host.answers[aside.reply_to.correlation] == Balance(len(FIRST) + 1)


def test_a_state_row_that_holds_fewer_ids_hides_nothing() -> None:
    """As one does that was written where entities remember fewer."""
    host = owner()
    host.send(*deposits(host, ["first"], 1))
    host.run()
    host.send(*deposits(host, [f"{n}" for n in range(2 * KNOWN)], 1))
    host.run().pass_time(SECOND).run()
    row = host.journal.read_state(host.keys[0], "a")
    assert row is not None
    poorer = Kept("a", row.seq_nr, unpack_row(row)[0], {}).at(row.offset)
    host.journal.delete_state(host.keys[0], "a")
    host.journal.write_states(host.keys[0], [poorer])
    host = successor(host)
    [again] = host.send(*deposits(host, ["first"], SENT_BEFORE))
    host.run()
    assert host.answers[again] == Balance(1)


def test_a_command_without_an_id_is_not_looked_up() -> None:
    """Nobody could say which record is of it."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host = successor(host)
    [number] = host.send(*deposits(host, [""], SENT_BEFORE))
    host.run()
    assert host.core.counts["looked_up"] == 0
    assert host.answers[number] == Balance(len(FIRST) + len(SECOND_CLIENT) + 1)


def test_the_log_is_read_no_further_back_than_the_sender_says() -> None:
    """An entity may have a million records; those before it was sent cannot be of it."""
    host = owner()
    for client in range(40):
        host.send(*deposits(host, [f"{client}-{n}" for n in range(100)], 1))
        host.run()
    host = successor(host)
    asked: list[int] = []
    read_entity = host.journal.read_entity

    def noted(key: Any, entity_id: str, from_seq_nr: int, *until: int) -> Any:
        asked.append(from_seq_nr)
        return read_entity(key, entity_id, from_seq_nr, *until)

    host.send(host.command(Account, "a", GetBalance()))
    host.run()
    host.journal.read_entity = noted  # type: ignore[method-assign]
    try:
        host.send(*deposits(host, ["new", "39-0"], SENT_BEFORE, since=3_500))
        host.run()
    finally:
        del host.journal.read_entity
    assert 3_000 < min(asked) <= 3_501
    assert len(records(host)) == 4_001


def test_an_unavailable_journal_delays_it() -> None:
    """The commands wait."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host = successor(host)
    [again] = host.send(*deposits(host, [FIRST[0]], SENT_BEFORE))
    host.run(but=LookUp)
    [look_up] = host.drop(LookUp)
    host.take(host.core.on_result(Failed(look_up, "down"), host.now_us))
    host.run()
    assert again not in host.answers
    assert not host.core.idle
    host.pass_time(SECOND).run()
    assert host.answers[again] == Balance(1)


def test_a_slice_that_is_lost_meanwhile_is_looked_up_by_its_next_owner() -> None:
    """The answer of the journal to the former owner is dropped."""
    host = owner()
    host.send(*deposits(host, FIRST, 1), *deposits(host, SECOND_CLIENT, 1))
    host.run()
    host = successor(host)
    [again] = host.send(*deposits(host, [FIRST[0]], SENT_BEFORE))
    host.run(but=LookUp)
    stale = host.drop(LookUp)
    other = owner(host.journal, "m3", host.now_us)
    other.send(*deposits(other, ["foreign"], 3))
    other.run()
    host.send(host.command(Account, "b", Deposit(1)))
    host.run(but=LookUp)
    for one in stale:
        host.perform(one)
    host.until(lambda: again in host.answers)
    assert host.answers[again] == Balance(1)
    assert records(host) == [*FIRST, *SECOND_CLIENT, "foreign"]


def test_where_the_log_cannot_say_nobody_guesses() -> None:
    """Its records were trimmed: the asker is told that the outcome is unknown (I6)."""
    host = owner()
    host.send(*deposits(host, FIRST, 1))
    host.run().pass_time(SECOND).run()
    host.send(*deposits(host, SECOND_CLIENT, 1))
    host.run().pass_time(SECOND).run()
    host = successor(host)
    host.send(host.command(Account, "a", GetBalance()))
    host.run().pass_time(SECOND).run()
    assert host.journal.trim(host.keys[0], len(FIRST)) > 0
    again, new = host.send(
        *deposits(host, [FIRST[0]], SENT_BEFORE), host.command(Account, "a", GetBalance())
    )
    host.run()
    assert isinstance(host.answers[again], OutcomeUnknownError)
    assert host.answers[new] == Balance(len(FIRST) + len(SECOND_CLIENT))


def test_a_commit_of_which_nothing_is_known_is_looked_up() -> None:
    """It was written; more than an entity remembers follow it, by another owner."""
    host = owner()
    [number] = host.send(*deposits(host, ["unclear"], 1))
    host.run(but=Append)
    [append] = host.drop(Append)
    append_wait(host.journal, [append.commit])
    other = owner(host.journal, "m2", host.now_us + SECOND)
    other.send(*deposits(other, FIRST, 2), *deposits(other, SECOND_CLIENT, 2))
    other.run()
    host.take(host.core.on_result(Appended(append.commit, Outcome.UNKNOWN), host.now_us))
    host.run(but=CommitAt)
    [row] = host.drop(CommitAt)
    host.take(host.core.on_result(FoundCommit(row, None), host.now_us))
    host.until(lambda: number in host.answers)
    assert host.answers[number] == Balance(1)
    assert records(host) == ["unclear", *FIRST, *SECOND_CLIENT]

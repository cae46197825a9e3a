"""Which command ids an entity has at hand (I1): as many as it promises, in its state rows too, and
those of commands that wait for an answer for as long as they wait."""

from __future__ import annotations

from thespian.actors import ActorAddress

from tests.unit.host_core import SECOND, Host
from tests.unit.sent_again import KNOWN, deposits, owner, records, successor
from thespian_dc.entity.actions import LookUp
from thespian_dc.entity.protocol import SENT_BEFORE
from thespian_dc.model.entity_errors import AlreadyHandledError, CommandNotWrittenError
from thespian_dc.slices.actions import Append
from thespian_dc.testkit.entities import Account, Balance, Deposit, Do, Question

ORACLE = ActorAddress("oracle")
MORE = [f"more-{n}" for n in range(2 * KNOWN)]


def row_after(ids: list[str]) -> Host:
    """These are durable, and a state row of the last of them is written while more ids than an
    entity remembers wait for their commit, which is lost with the host."""
    host = owner()
    host.send(*deposits(host, ids, 1))
    host.run(but=Append)
    [append] = host.drop(Append)
    host.send(*deposits(host, MORE, 1))
    host.perform(append)
    host.drop(Append)
    host.pass_time(SECOND).run()
    row = host.journal.read_state(host.keys[0], "a")
    assert row is not None
    assert row.seq_nr == len(ids)
    return successor(host)


def test_a_state_row_of_a_young_entity_holds_all_its_ids() -> None:
    """No id of it can be forgotten, so the log is not asked: the row must not say otherwise."""
    ids = [f"{n}" for n in range(10)]
    host = row_after(ids)
    again = host.send(*deposits(host, ids, SENT_BEFORE))
    host.run()
    assert records(host) == ids
    assert [host.answers[number] for number in again] == [Balance(n + 1) for n in range(10)]


def test_a_state_row_holds_as_many_ids_as_an_entity_remembers() -> None:
    """What callers send again with an id of their own looks like new: only these decide."""
    ids = [f"{n}" for n in range(2 * KNOWN - 4)]  # a multiple of the Account's snapshot_every
    host = row_after(ids)
    last = ids[-KNOWN:]
    host.send(*[host.command(Account, "a", Deposit(1), id_) for id_ in last])
    host.run()
    assert records(host) == ids
    assert host.core.counts["looked_up"] == 0


def test_a_state_row_holds_the_id_of_a_command_that_went_on_after_it() -> None:
    """It persisted, asked, and persisted more, which was lost: what it had persisted before stands
    in the row."""
    host = owner()
    host.send(*deposits(host, [f"{n}" for n in range(9)], 1))
    host.send(host.command(Account, "a", Do("persist_and_ask", ORACLE), "x")._replace(epoch=1))
    host.run()
    host.take(host.core.on_message(ORACLE, "cba", host.now_us))
    host.drop(Append)
    host.pass_time(SECOND).run()
    host = successor(host)
    [again] = host.send(*deposits(host, ["x"], SENT_BEFORE))
    host.run()
    assert isinstance(host.answers[again], AlreadyHandledError)
    assert records(host).count("x") == 1


def asking() -> Host:
    """A command has asked; a copy of it was persisted meanwhile, and more than are remembered."""
    host = owner()
    host.send(*deposits(host, [f"{n}" for n in range(KNOWN)], 1))
    question = Do("ask", (ORACLE, Question("abc"), 1000.0))
    host.send(host.command(Account, "a", question, "x")._replace(epoch=1))
    host.run()
    host.send(*deposits(host, ["x"], SENT_BEFORE))
    host.run()
    host.send(*deposits(host, MORE, 1))
    return host.run()


def test_the_id_of_a_command_that_asks_is_not_forgotten() -> None:
    """Its answer comes, and the copy's outcome is its own."""
    host = asking()
    host.take(host.core.on_message(ORACLE, "cba", host.now_us))
    host.run()
    assert records(host).count("x") == 1
    assert host.answers[KNOWN + 1] == Balance(KNOWN + 1)


def test_an_id_is_forgotten_when_its_command_asks_no_more() -> None:
    """What an entity remembers is bounded: the log is asked again."""
    host = asking()
    host.take(host.core.on_message(ORACLE, "cba", host.now_us))
    host.send(*deposits(host, [f"{n}-more" for n in range(KNOWN)], 1))
    host.run()
    host.send(*deposits(host, ["x"], SENT_BEFORE))
    assert [type(one) for one in host.pending] == [LookUp]


def test_a_command_that_asked_and_runs_again_is_looked_up() -> None:
    """Its entity was recovered under the same epoch, because one command was refused."""
    host = asking()
    [refused] = host.send(*deposits(host, ["refused"], 1))
    host.refuse_appends()
    assert isinstance(host.answers[refused], CommandNotWrittenError)
    assert host.answers[KNOWN + 1] == Balance(KNOWN + 1)
    assert records(host).count("x") == 1


def test_what_was_persisted_while_the_log_was_asked_is_not_taken_for_looked_up() -> None:
    """A command went on from its question while a copy of it waited for the log's answer, and so
    did more than an entity remembers."""
    host = owner()
    host.send(*deposits(host, [f"{n}" for n in range(KNOWN)], 1))
    ids = ["x", *MORE]
    targets = [ActorAddress(f"oracle-{id_}") for id_ in ids]
    for id_, target in zip(ids, targets, strict=True):
        asks = Do("ask", (target, Question("abc"), 1000.0))
        host.send(host.command(Account, "a", asks, id_)._replace(epoch=1))
    host.run()
    host.send(*deposits(host, ["x"], SENT_BEFORE))
    [look_up] = host.drop(LookUp)
    for target in targets:
        host.take(host.core.on_message(target, "cba", host.now_us))
    host.perform(look_up)
    host.run()
    assert records(host).count("x") == 1


def test_a_command_that_was_found_in_the_log_and_runs_again_is_looked_up_again() -> None:
    """Its answer waited for a commit that was refused."""
    host = owner()
    host.send(*deposits(host, ["x", *MORE], 1))
    asks = Do("ask", (ORACLE, Question("abc"), 1000.0))
    host.send(host.command(Account, "a", asks, "asks")._replace(epoch=1))
    host.run()
    [again] = host.send(*deposits(host, ["x"], SENT_BEFORE))
    host.take(host.core.on_message(ORACLE, "cba", host.now_us))
    host.run(but=Append)
    assert again not in host.answers
    host.refuse_appends()
    host.run()
    assert host.answers[again] == Balance(1)
    assert records(host).count("x") == 1

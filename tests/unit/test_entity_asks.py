"""Questions to ordinary actors: answers carry no correlation, and still reach nobody else."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from thespian.actors import ActorAddress

from tests.unit.host_core import SECOND, Host
from thespian_dc.entity.actions import Confirm
from thespian_dc.entity.actor import EventSourcedActor
from thespian_dc.entity.asks import OWED_TIMES
from thespian_dc.model.entity_errors import OutcomeUnknownError
from thespian_dc.model.errors import AskTimeoutError
from thespian_dc.model.settings import Limits
from thespian_dc.testkit.entities import Account, Deposit, Deposited, Do, Question

ORACLE, OTHER = ActorAddress("oracle"), ActorAddress("other")


class SlowActor:
    """An ordinary actor as a process: what it gets and what it sends stay in order. A question is
    answered once or twice; every fourth once, never, or a second later than the handler ran.
    Thespian's status request is answered after what was sent before."""

    def __init__(self, host: Host, rng: random.Random) -> None:
        self.host, self.rng = host, rng
        self.outbox: deque[Any] = deque()
        self.later: list[tuple[int, str]] = []
        self.taken = 0

    def step(self) -> None:
        """Handle what has arrived, and let some of what was sent arrive at the host."""
        host, rng = self.host, self.rng
        while self.taken < len(host.sent):
            _, question = host.sent[self.taken]
            self.taken += 1
            doubtful = int(question.text.split()[1]) % 4 == 0
            what = rng.choice(("once", "never", "later") if doubtful else ("once", "twice"))
            if what == "later":
                self.later.append((host.now_us + SECOND, question.text))
            self.outbox += [question.text] * {"once": 1, "twice": 2}.get(what, 0)
        while self.later and self.later[0][0] <= host.now_us:
            self.outbox.append(self.later.pop(0)[1])
        while host.settles:
            self.outbox.append(host.settles.pop(0))
        while self.outbox and rng.random() < 0.7:
            item = self.outbox.popleft()
            if isinstance(item, ActorAddress):
                host.take(host.core.on_settled(item, host.now_us))
            else:
                host.take(host.core.on_message(ORACLE, item, host.now_us))


@pytest.mark.parametrize("seed", range(5))
def test_two_hundred_entities_ask_one_actor_and_none_gets_anothers_answer(seed: int) -> None:
    """Late, doubled and missing answers; each entity that is answered is answered its own."""
    host = Host(Account, slices=4).own()
    actor = SlowActor(host, random.Random(seed))
    expected = {}
    for n in range(200):
        question = Do("ask", (ORACLE, Question(f"question {n}"), 60.0 if n % 4 else 0.5))
        [number] = host.send(host.command(Account, f"e-{n}", question))
        expected[number] = f"question {n}"
    for _ in range(6000):
        host.run().pass_time(100_000)
        actor.step()
        if len(host.answers) == 200:
            break
    assert len(host.answers) == 200, "every command ends"
    answered = {n: a[0] for n, a in host.answers.items() if a != "no answer"}
    assert answered.items() <= expected.items()
    assert len(answered) > 50
    assert host.core.counts["dead_letter"] > 0
    assert host.core.counts["ask_timeouts"] > 0


def test_unsolicited_answer_is_a_counted_dead_letter() -> None:
    """Named for the log, and handed to no entity."""
    host = Host(Account).own()
    host.take(host.core.on_message(ORACLE, "an answer to nothing", host.now_us))
    [report] = host.world
    assert (report.event, report.where, report.what) == ("dead_letter", str(ORACLE), "str")
    assert host.core.counts["dead_letter"] == 1


def test_target_that_owes_an_answer_is_asked_again_after_a_while() -> None:
    """An actor that never answers one kind of message must not be silent to this host for ever."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Do("ask", (ORACLE, Question("one"), 1.0))))
    host.run().pass_time(2 * SECOND).run()
    host.send(host.command(Account, "b", Do("ask", (ORACLE, Question("two"), 200.0))))
    host.run()
    assert [question.text for _, question in host.sent] == ["one"]
    host.pass_time(OWED_TIMES * SECOND).run()
    assert host.settles == [ORACLE]
    host.take(host.core.on_settled(ORACLE, host.now_us))
    assert [question.text for _, question in host.sent] == ["one", "two"]


def test_answer_that_is_late_by_a_timer_reaches_nobody() -> None:
    """The actor's handler is long over; its answer comes from a timer, after the time-out."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Do("ask", (ORACLE, Question("one"), 0.5))))
    host.run()
    [number] = host.send(host.command(Account, "b", Do("ask", (ORACLE, Question("two"), 60.0))))
    host.run().pass_time(SECOND).run().pass_time(SECOND // 2).run()
    assert [len(host.answers), host.settles, len(host.sent)] == [1, [], 1]
    host.take(host.core.on_message(ORACLE, "eno", host.now_us))
    host.take(host.core.on_settled(host.settles.pop(), host.now_us))
    host.take(host.core.on_message(ORACLE, "owt", host.now_us))
    host.run()
    assert host.answers[number] == ("owt", 3)


def test_time_out_without_on_timeout_is_the_commands_failure() -> None:
    """The asker is not left waiting for an entity that waits."""
    host = Host(Account).own()
    [number] = host.send(host.command(Account, "a", Do("ask_only", (ORACLE, "?"))))
    host.run().pass_time(6 * SECOND).run()
    assert host.answers[number].error_type == AskTimeoutError.__name__


def test_entity_that_asks_stays_in_memory_and_handles_other_commands() -> None:
    """on_reply belongs to the object in memory."""
    host = Host(Account).own()
    host.send(host.command(Account, "a", Do("ask", (ORACLE, Question("abc"), 1000.0))))
    host.run()
    [other] = host.send(host.command(Account, "a", Deposit(1)))
    host.run().pass_time(500 * SECOND).run()
    assert host.answers[other].amount == 1
    assert host.core.status()["resident"] == 1
    host.take(host.core.on_message(ORACLE, "answer", host.now_us))
    host.run()
    assert [a for n, a in host.answers.items() if n != other] == [("answer", 7)]


def unconfirmed(limits: Limits) -> tuple[Host, int]:
    """Long after the last proof of ownership "a" asks; the number of that command."""
    host = Host(Account, limits=limits).own()
    host.pass_time(5 * SECOND)
    [number] = host.send(host.command(Account, "a", Do("ask", (ORACLE, Question("abc"), 1000.0))))
    host.run(but=Confirm)
    assert not host.sent
    return host, number


def test_entity_whose_ask_waits_for_a_proof_of_ownership_stays_in_memory() -> None:
    """Others need its room, and the answer would find nobody."""
    host, number = unconfirmed(Limits(resident_max=1))
    host.send(host.command(Account, "b", Deposit(1)))
    host.run()
    host.take(host.core.on_message(ORACLE, "cba", host.now_us))
    host.run()
    assert host.answers[number] == ("cba", 3)
    assert host.core.status()["open_commands"] == 0
    host.pass_time(200 * SECOND).run()
    assert host.core.status()["resident"] == 0


def test_ask_of_an_entity_that_had_to_leave_memory_is_not_put() -> None:
    """A later command's event could not be applied; whoever waits for the ask is told."""
    host, number = unconfirmed(Limits())
    host.send(host.command(Account, "a", Do("raise_in_reply")))
    host.run()
    assert isinstance(host.answers[number], OutcomeUnknownError)
    assert not host.sent
    status = host.core.status()
    assert (status["open_commands"], status["open_asks"]) == (0, 0)


def test_command_whose_ask_is_lost_with_its_slice_runs_again() -> None:
    """The question is put again by the new instance; the old answer is a dead letter."""
    host = Host(Account).own()
    [number] = host.send(host.command(Account, "a", Do("ask", (ORACLE, Question("abc"), 30.0))))
    host.run()
    other = Host(Account, journal=host.journal, member_id="m2", start_us=host.now_us).own()
    other.send(other.command(Account, "a", Deposit(5)))
    other.run()
    host.send(host.command(Account, "b", Deposit(1)))
    host.run()
    assert host.core.counts["slices_lost"] == 1
    host.until(lambda: host.core.status()["open_asks"] == 1)
    host.take(host.core.on_message(ORACLE, "late", host.now_us))
    assert number not in host.answers
    host.take(host.core.on_settled(ORACLE, host.now_us))
    assert len(host.sent) == 2
    host.take(host.core.on_message(ORACLE, "cba", host.now_us))
    host.run()
    assert host.answers[number] == ("cba", 8)


def test_command_that_persisted_before_its_ask_does_not_run_again() -> None:
    """A part of it is durable: its asker is told that the outcome is not known."""
    host = Host(Account).own()
    [number] = host.send(host.command(Account, "a", Do("persist_and_ask", ORACLE)))
    host.run()
    other = Host(Account, journal=host.journal, member_id="m2", start_us=host.now_us).own()
    other.send(other.command(Account, "a", Deposit(5)))
    other.run()
    host.send(host.command(Account, "b", Deposit(1)))
    host.run()
    assert isinstance(host.answers[number], OutcomeUnknownError)


class Two(EventSourcedActor):
    """Asks two at once, and persists what each answers; "part": after something that it persists
    at once."""

    entity_type = "two"
    events = (Deposited,)

    def empty_state(self) -> int:
        return 0

    def apply_event(self, state: int, event: Deposited) -> int:
        return state + event.amount

    def receiveMsg_str(self, what: str, sender: Any) -> None:
        if what == "part":
            self.persist(Deposited(1))
        for target in (ORACLE, OTHER):
            self.ask(target, "?", on_reply=self.answered, timeout_s=1000)
        self.no_reply()

    def answered(self, amount: int) -> None:
        self.persist(Deposited(amount))


def asked_two(what: str) -> Host:
    host = Host(Two).own()
    host.send(host.command(Two, "a", what))
    host.run()
    host.take(host.core.on_message(ORACLE, 10, host.now_us))
    return host


def stored(host: Host) -> int:
    return len(host.journal.read_entity(host.keys[0], "a"))


def test_command_that_was_refused_does_not_run_again_for_its_other_ask() -> None:
    """Its asker was told that it is not written, and so it must stay (I6)."""
    host = asked_two("whole")
    host.refuse_appends()
    assert host.core.counts["not_written"] == 1
    status = host.core.status()
    assert (status["open_commands"], status["open_asks"]) == (0, 0)
    for target in (ORACLE, OTHER):
        host.take(host.core.on_settled(target, host.now_us))
        host.take(host.core.on_message(target, 10, host.now_us))
    host.run()
    assert stored(host) == 0


@pytest.mark.parametrize("both", [False, True])
def test_command_that_loses_two_parts_is_over_once(both: bool) -> None:
    """What it had persisted before stands; one part was under way, and so was another, or its
    question was open."""
    host = asked_two("part")
    if both:
        host.take(host.core.on_message(OTHER, 10, host.now_us))
    other = Host(Two, journal=host.journal, member_id="m2", start_us=host.now_us).own()
    other.send(other.command(Two, "b", "part"))
    other.run()
    host.run()
    assert host.core.counts["slices_lost"] == 1
    host.until(lambda: host.core.status()["owned"])
    assert stored(host) == 1
    assert host.core.status()["open_commands"] == 0


def test_command_that_is_refused_after_it_persisted_is_not_called_unwritten() -> None:
    """CommandNotWrittenError promises that nothing of it is in the log (I6)."""
    host = Host(Account).own()
    [number] = host.send(host.command(Account, "a", Do("persist_and_ask", ORACLE)))
    host.run()
    host.take(host.core.on_message(ORACLE, "cba", host.now_us))
    host.refuse_appends()
    assert isinstance(host.answers[number], OutcomeUnknownError)
    assert stored(host) == 1

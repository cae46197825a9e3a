"""A random walk: commands of one entity that remembers few ids are sent again and again, to owners
that lose commits, die and wake as zombies; each is persisted once at most, and once where it is
acknowledged (I1)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from thespian.actors import ActorAddress

from tests.unit.host_core import SECOND, Host
from tests.unit.sent_again import records
from thespian_dc.entity.actions import WorldAction
from thespian_dc.entity.protocol import SENT_BEFORE
from thespian_dc.journal.api import Appended, Journal, Outcome, append_wait
from thespian_dc.model.settings import Limits
from thespian_dc.slices.actions import Append, Failed
from thespian_dc.testkit.entities import Account, Deposit, Do, Question

LIMITS = Limits(known_commands=6, command_retries=100)
STEPS = 400
SEEDS = (*range(10), 15, 17, 47, 60, 76, 84, 85, 105)
"""Those above 9, and 5, each found a command that was persisted twice."""


class Walk:
    """One owner at a time, and what the last one has still under way."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.messages: dict[str, Any] = {}
        self.acknowledged: set[str] = set()
        self.sent: dict[tuple[str, int], str] = {}
        self.owners, self.zombie = 0, list[Any]()
        self.host = self._owner(None)

    def _owner(self, journal: Journal | None, now_us: int = 0) -> Host:
        self.owners += 1
        host = Host(
            Account, journal=journal, limits=LIMITS, member_id=f"m{self.owners}",
            start_us=now_us + SECOND,
        )  # fmt: skip
        return host.own()

    # --- what may happen ---
    def step(self) -> None:
        happens = self.rng.choices(
            (self.send_new, self.send_again, self.perform, self.answer, self.pass_time, self.crash),
            (20, 12, 40, 8, 10, 1.5),
        )[0]
        happens()
        self._hear()

    def send_new(self) -> None:
        """For the first time: to this owner, or late, having been meant for the one before."""
        epoch = self.host.journal.owners(Account.entity_type)[0].epoch
        for _ in range(self.rng.choice((1, 1, 2, 5, 12))):
            id_ = f"c{len(self.messages)}"
            question = Question("abc")
            asks = Do("ask", (ActorAddress(id_), question, 20.0))
            self.messages[id_] = asks if self.rng.random() < 0.15 else Deposit(1)
            late = self.rng.random() < 0.1
            self._send(id_, epoch - late)

    def send_again(self) -> None:
        for _ in range(self.rng.choice((1, 2, 5))):
            if self.messages:
                ids = list(self.messages)
                recent = ids[-40:] if self.rng.random() < 0.7 else ids
                self._send(self.rng.choice(recent), SENT_BEFORE)

    def _send(self, id_: str, epoch: int) -> None:
        command = self.host.command(Account, "a", self.messages[id_], id_)
        [number] = self.host.send(command._replace(epoch=epoch))
        self.sent[self.host.core.status()["member_id"], number] = id_

    def perform(self) -> None:
        """The first that is pending, or one of a zombie's; it may fail, or nobody knows."""
        if self.zombie and self.rng.random() < 0.2:
            late = self.zombie.pop(0)
            if isinstance(late, Append):
                append_wait(self.host.journal, [late.commit])
        elif self.host.pending:
            at = self.rng.randrange(len(self.host.pending))
            action = self.host.pending.pop(at)
            how = self.rng.random()
            if how > 0.3:
                self.host.perform(action)
            elif isinstance(action, Append):
                self._doubtful(action, how)
            else:
                self._take(Failed(action, "by chance"))

    def _doubtful(self, append: Append, how: float) -> None:
        if how < 0.1:
            self._take(Appended(append.commit, Outcome.REFUSED, "by chance"))
            return
        if how < 0.2:
            append_wait(self.host.journal, [append.commit])
        self._take(Appended(append.commit, Outcome.UNKNOWN, "by chance"))

    def _take(self, result: Any) -> None:
        assert not isinstance(result, WorldAction)
        self.host.take(self.host.core.on_result(result, self.host.now_us))

    def answer(self) -> None:
        """Whoever was asked answers."""
        host = self.host
        if host.sent:
            target, _ = host.sent.pop(self.rng.randrange(len(host.sent)))
            host.take(host.core.on_message(target, "cba", host.now_us))
        if host.settles:
            host.take(host.core.on_settled(host.settles.pop(0), host.now_us))

    def pass_time(self) -> None:
        by_us = self.rng.choice((1_000, 100_000, 100_000, SECOND, SECOND, 5 * SECOND, 200 * SECOND))
        self.host.pass_time(by_us)
        self.host.take(self.host.core.on_assigned(self.host.keys, self.host.now_us))

    def crash(self) -> None:
        """Another host takes over; what this one had under way may still reach the journal."""
        self.zombie = self.host.pending
        self.host = self._owner(self.host.journal, self.host.now_us)

    def _hear(self) -> None:
        member = self.host.core.status()["member_id"]
        for number, value in self.host.answers.items():
            if not isinstance(value, Exception):
                self.acknowledged.add(self.sent[member, number])

    # --- the end ---
    def rest(self) -> None:
        """A last owner: everything is sent again until it is known."""
        self.crash()
        for id_ in self.messages:
            self._send(id_, SENT_BEFORE)
        for _ in range(20):
            self.host.run().pass_time(SECOND)
            while self.host.sent or self.host.settles:
                self.answer()
        self._hear()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_command_is_persisted_once(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
    walk.rest()
    stored = [id_ for id_ in records(walk.host) if id_]
    assert sorted(stored) == sorted(set(stored))
    assert set(stored) == set(walk.messages)
    assert walk.acknowledged == set(walk.messages)

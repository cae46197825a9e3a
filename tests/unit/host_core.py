"""A host core by hand: its actions are looked at, and performed one by one on a memory journal."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from thespian_dc.entity.actions import (
    Action,
    Answer,
    Published,
    Report,
    Send,
    Settle,
    WorldAction,
)
from thespian_dc.entity.core import HostCore
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.perform import perform
from thespian_dc.entity.protocol import Command, ReplyAddress
from thespian_dc.journal.api import Appended, Journal, Outcome, append_wait, open_journal
from thespian_dc.model.ids import SLICES_MAX, SliceKey, type_name
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.settings import Limits
from thespian_dc.shell.frames import unpack
from thespian_dc.slices.actions import Append

SECOND = 1_000_000


class Host:
    """A core with a clock. `pending`: journal actions not performed yet, in order; `answers`: the
    outcomes so far, by correlation."""

    def __init__(
        self,
        *types: type,
        journal: Journal | None = None,
        slices: int = 1,
        limits: Limits | None = None,
        member_id: str = "m1",
        start_us: int = SECOND,
        appends_at_once: int = SLICES_MAX,
        replication: Iterable[Replication] = (),
    ) -> None:
        settings = {one.entity_type: one for one in replication}
        self.types = [
            EntityType.of(one, slices, importable=False, replication=settings.get(type_name(one)))
            for one in types
        ]
        self.journal = journal or open_journal(f"memory:{uuid.uuid4().hex}")
        self.core = HostCore(
            self.types, member_id, limits or Limits(), lambda: uuid.uuid4().bytes,
            indexed=self.journal.derived_index, address="host", appends_at_once=appends_at_once,
        )  # fmt: skip
        self.now_us = start_us
        self.pending: list[Any] = []
        self.answers: dict[int, Any] = {}
        self.sent: list[tuple[Any, Any]] = []
        self.settles: list[Any] = []
        self.world: list[Any] = []
        self._count = 0
        for one in self.types:
            self.journal.slices(one.name, slices)
        self.keys = [SliceKey(one.name, n) for one in self.types for n in range(slices)]

    def take(self, actions: Iterable[Action]) -> None:
        """Note what the core asks for."""
        for action in actions:
            match action:
                case Answer(ReplyAddress(correlation=number), _, value):
                    assert number not in self.answers, "answered twice"
                    self.answers[number] = unpack(value) if isinstance(value, bytes) else value
                case Send(address, body):
                    self.sent.append((address, unpack(body)))
                case Settle(address):
                    self.settles.append(address)
                case Published() | Report() | Answer():
                    self.world.append(action)
                case _:
                    self.pending.append(action)

    def own(self) -> Host:
        """Take all slices over."""
        self.take(self.core.on_assigned(self.keys, self.now_us))
        return self.run()

    def command(self, entity: Any, entity_id: str, message: Any, command_id: str = "") -> Command:
        self._count += 1
        to = ReplyAddress("client", "client", self._count)
        return Command(entity.entity_type, entity_id, message, to, command_id)

    def send(self, *commands: Command) -> list[int]:
        """Give commands to the core; returns their numbers. Nothing is performed yet."""
        self.take(self.core.on_commands(commands, self.now_us))
        return [command.reply_to.correlation for command in commands]

    def step(self, of: type | tuple[type, ...] | None = None) -> bool:
        """Perform the first pending action (of a kind); False where there is none."""
        for index, action in enumerate(self.pending):
            if of is None or isinstance(action, of):
                del self.pending[index]
                self.perform(action)
                return True
        return False

    def perform(self, action: Any) -> None:
        if isinstance(action, Append):
            result: Any = append_wait(self.journal, [action.commit])[0]
        else:
            assert not isinstance(action, WorldAction)
            result = perform(self.journal, action)
        self.take(self.core.on_result(result, self.now_us))

    def run(self, but: type | tuple[type, ...] = ()) -> Host:
        """Perform all that is pending and what follows, but for a kind."""
        while any(not isinstance(one, but) for one in self.pending):
            for index, action in enumerate(self.pending):
                if not isinstance(action, but):
                    del self.pending[index]
                    self.perform(action)
                    break
        return self

    def drop(self, of: type) -> list[Any]:
        """Forget the pending actions of a kind, and return them."""
        dropped = [one for one in self.pending if isinstance(one, of)]
        self.pending = [one for one in self.pending if not isinstance(one, of)]
        return dropped

    def refuse_appends(self) -> None:
        """Until what they hold is given up, each command alone."""
        for _ in range(100):
            for append in self.drop(Append):
                refused = Appended(append.commit, Outcome.REFUSED, "too large")
                self.take(self.core.on_result(refused, self.now_us))
            self.run(but=Append).pass_time(50_000)

    def pass_time(self, by_us: int) -> Host:
        self.now_us += by_us
        self.take(self.core.on_tick(self.now_us))
        return self

    def until(
        self,
        fact: Callable[[], object],
        but: type | tuple[type, ...] = (),
        step_us: int = 50_000,
        steps: int = 400,
    ) -> None:
        """Let time pass and everything (but a kind) be performed until `fact` holds."""
        for _ in range(steps):
            if fact():
                return
            self.take(self.core.on_assigned(self.keys, self.now_us))
            self.run(but).pass_time(step_us).run(but)
        raise AssertionError(f"not within {steps * step_us / 1e6} s of this host's time")

"""A host without processes: journal operations are done on the spot. For an entity that stands
alone, for simpleSystemBase, and for tests.

Whoever drives it calls `on_tick` when `due_s` has passed; between two calls nothing happens.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from thespian_dc.entity.actions import (
    Action,
    Answer,
    Forward,
    Published,
    Report,
    Send,
    Settle,
    WorldAction,
)
from thespian_dc.entity.core import HostCore
from thespian_dc.entity.entity_type import EntityType
from thespian_dc.entity.faults import check_size
from thespian_dc.entity.perform import perform
from thespian_dc.entity.protocol import Command, Status
from thespian_dc.entity.replicating import FROM_REPLICAS
from thespian_dc.journal.api import Journal, append_wait
from thespian_dc.model.errors import (
    MessageUnsendableError,
    TooLargeError,
    UnknownEntityTypeError,
)
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.settings import Limits
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.frames import pack, unpack
from thespian_dc.slices.actions import Append


class InlineHost:
    """All slices of some types, or those in `keys`.

    answer(Answer): an outcome, its value still packed. send(address, message). settle(address):
    have `settled` called when what that actor sent has arrived; None: it always has when its
    handler returned. forward(Forward): takes commands for other hosts; None: their askers get
    UnknownEntityTypeError. clock_us: a test's.
    """

    def __init__(
        self,
        journal: Journal,
        types: Sequence[EntityType],
        member_id: str,
        answer: Callable[[Answer], None],
        send: Callable[[Any, Any], None],
        *,
        limits: Limits | None = None,
        keys: Iterable[SliceKey] | None = None,
        published: Callable[[Any], None] | None = None,
        report: Callable[[Report], None] | None = None,
        settle: Callable[[Any], None] | None = None,
        forward: Callable[[Forward], None] | None = None,
        clock_us: Callable[[], int] = now_us,
        **more: Any,
    ) -> None:
        for one in types:
            journal.slices(one.name, one.slices)
        self.journal, self.clock_us = journal, clock_us
        self._answer, self._send, self._settle = answer, send, settle
        self._published, self._report, self._forward = published, report, forward
        self._keys = list(keys) if keys is not None else [
            SliceKey(one.name, number) for one in types for number in range(one.slices)
        ]  # fmt: skip
        self._limits = limits or Limits()
        self.core = HostCore(
            types, member_id, self._limits, lambda: os.urandom(16),
            indexed=journal.derived_index, commit_bytes_max=journal.commit_bytes_max,
            appends_at_once=journal.appends_at_once, **more,
        )  # fmt: skip
        self._actions: deque[Action] = deque()  # bounded by what one input makes the core ask for
        self._performing = False

    # --- inputs ---
    def commands(self, commands: Iterable[Command]) -> None:
        """Handle commands; when this returns they are durable and answered, unless the journal is
        not available, the slice is somebody else's, or their entity waits for something."""
        fitting = [one for one in commands if self._fits(one)]
        self.perform(self.core.on_commands(fitting, self.clock_us()))

    def _fits(self, command: Command) -> bool:
        """False, and the asker is told, where the message is too large."""
        if type(command.message) in FROM_REPLICAS:
            return True  # what is stored there fits here
        try:
            size_bytes = len(pack(command.message))
            check_size(command.entity_type, command.entity_id, size_bytes, self._limits)
        except MessageUnsendableError:
            return True  # it never leaves this process
        except TooLargeError as error:
            if command.reply_to is not None:
                self.perform([Answer(command.reply_to, Status.ERROR, error)])
            return False
        return True

    def message(self, sender: Any, message: Any) -> None:
        """An ordinary actor sent something to this host."""
        self.perform(self.core.on_message(sender, message, self.clock_us()))

    def settled(self, address: Any) -> None:
        """What this actor had sent has arrived."""
        self.perform(self.core.on_settled(address, self.clock_us()))

    def tick(self) -> None:
        """Time has passed. Slices that were lost are claimed again."""
        self.perform(self.core.on_assigned(self._keys, self.clock_us()))
        self.perform(self.core.on_tick(self.clock_us()))

    def due_s(self) -> float | None:
        """In how many seconds `tick` has something to do; None: nothing waits for the clock."""
        due_us = self.core.wakeup_us()
        return None if due_us is None else max(0, due_us - self.clock_us()) / 1e6

    def close(self) -> None:
        """Give the slices up, with all that was submitted written. The journal stays open."""
        self.perform(self.core.release(self.core.owned(), self.clock_us()))

    # --- actions ---
    def perform(self, actions: Iterable[Action]) -> None:
        """Perform actions and what follows from them, in order. What an answer or a message makes
        somebody send here in return is done after them."""
        self._actions.extend(actions)
        if self._performing:
            return
        self._performing = True
        try:
            while self._actions:
                batch, self._actions = list(self._actions), deque()  # bounded: see above
                self._batch(batch)
        finally:
            self._performing = False

    def _batch(self, actions: list[Action]) -> None:
        """The journal's share first: all appends in one call."""
        results: list[Any] = []
        appends = [action.commit for action in actions if isinstance(action, Append)]
        if appends:
            results += append_wait(self.journal, appends)
        for action in actions:
            if isinstance(action, WorldAction):
                self._to_world(action)
            elif not isinstance(action, Append):
                results.append(perform(self.journal, action))
        if results:
            self._actions.extend(self.core.on_results(results, self.clock_us()))

    def _to_world(self, action: WorldAction) -> None:
        match action:
            case Answer():
                self._answer(action)
            case Send(address, body):
                self._send(address, unpack(body))
            case Settle(address):
                if self._settle is None:
                    self._actions.extend(self.core.on_settled(address, self.clock_us()))
                else:
                    self._settle(address)
            case Forward():
                (self._forward or self._unserved)(action)
            case Published(commit):
                if self._published is not None:
                    self._published(commit)
            case Report():
                if self._report is not None:
                    self._report(action)

    def _unserved(self, forward: Forward) -> None:
        """Nobody is behind this host: an entity of another type cannot be reached."""
        if forward.reply_to is None:
            return
        error = UnknownEntityTypeError(forward.ref.entity_type, ())
        correlation = forward.reply_to.correlation
        actions = self.core.on_answer(correlation, Status.ERROR, error, self.clock_us())
        self._actions.extend(actions)

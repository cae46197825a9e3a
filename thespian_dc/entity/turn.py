"""One command on its way through a host: accepted, run (perhaps again), released. Pure."""

from __future__ import annotations

from typing import Any, Final

from thespian_dc.entity.protocol import SENT_BEFORE, Command, ReplyAddress

NOBODY = ReplyAddress(None, "", 0)
"""The sender of a command nobody waits for: what is sent to it vanishes."""


HOOK: Final = "recovery_completed"
"""The message of the turn that stands for an entity's hook: it comes from nobody."""


class Turn:
    """A command and what became of it so far.

    open: runs, stashes and asks of it that are not over; at 0 the turn is over.
    tries: how often it ran and lost its commit. answered: an answer (or no_reply) is recorded.
    silent: no_reply was called, so that its sender is answered by `send`, if at all. handed_on: its
    sender went out in a message. recorded: a run of it has records. persisted: those of one are
    durable, so it must not run from the start again. epoch, since: as in Command; when the log was
    asked, epoch is that of the owner that asked and clear_at the entity's seq_nr then.
    """

    __slots__ = (
        "answered", "clear_at", "command", "epoch", "handed_on", "open", "persisted", "recorded",
        "reply_to", "sender", "silent", "since", "tries",
    )  # fmt: skip

    def __init__(self, command: Command) -> None:
        self.command = command
        self.epoch, self.since = command.epoch, command.since
        self.clear_at: int | None = None
        self.reply_to: Any = command.reply_to
        self.sender: Any = NOBODY if command.reply_to is None else command.reply_to
        self.open = 1
        self.tries = 0
        self.answered = self.recorded = self.persisted = False
        self.silent = self.handed_on = False

    @property
    def waited_for(self) -> bool:
        """Somebody waits for an answer and knows it by its correlation. Of a raw sender nobody can
        say whether it asked or told."""
        return type(self.reply_to) is ReplyAddress

    @property
    def is_hook(self) -> bool:
        """Not a command: an entity that comes back calls its hook anew."""
        return self.command.message is HOOK

    @property
    def is_over(self) -> bool:
        """It was refused, or all of it is done."""
        return self.open == 0

    def put_aside(self) -> None:
        """Stashed, or it has to run again after it asked: a copy of it may have been persisted
        meanwhile."""
        if self.epoch is not None:
            self.epoch = SENT_BEFORE

    def begin_again(self) -> None:
        """Nothing of it took place: it will run from the start."""
        self.open, self.answered, self.recorded = 1, False, False
        self.silent = self.handed_on = False

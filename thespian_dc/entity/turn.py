"""One command on its way through a host: accepted, run (perhaps again), released. Pure."""

from __future__ import annotations

from typing import Any

from thespian_dc.entity.protocol import Command, ReplyAddress

NOBODY = ReplyAddress(None, "", 0)
"""The sender of a command nobody waits for: what is sent to it vanishes."""


class Turn:
    """A command and what became of it so far.

    open: runs, stashes and asks of it that are not over; at 0 the turn is over.
    tries: how often it ran and lost its commit. answered: an answer (or no_reply) is recorded.
    persisted: a run of it is durable, so it must not run from the start again.
    """

    __slots__ = ("answered", "command", "open", "persisted", "reply_to", "sender", "tries")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.reply_to: Any = command.reply_to
        self.sender: Any = NOBODY if command.reply_to is None else command.reply_to
        self.open = 1
        self.tries = 0
        self.answered = self.persisted = False

    @property
    def waited_for(self) -> bool:
        """Somebody waits for an answer and knows it by its correlation. Of a raw sender nobody can
        say whether it asked or told."""
        return type(self.reply_to) is ReplyAddress

    def begin_again(self) -> None:
        """Nothing of it took place: it will run from the start."""
        self.open, self.answered = 1, False

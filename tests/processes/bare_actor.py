"""An ordinary Thespian actor that answers with the message: the baseline of every latency."""

from __future__ import annotations

from typing import Any

from thespian.actors import Actor


class BareActor(Actor):
    def receiveMessage(self, msg: Any, sender: Any) -> None:
        self.send(sender, msg)

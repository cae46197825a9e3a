"""A leaf that speaks a host's frames and answers every command with its message, at once.

The client's and the shell's own cost, without entities and journal.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from thespian_dc.entity.protocol import CommandFrame, ReplyFrame, TypeRoutes
from thespian_dc.shell.frames import pack_items, unpack_items
from thespian_dc.shell.leaf_actor import LeafActor
from thespian_dc.shell.outbox import NOTHING
from thespian_dc.shell.protocol import Begin


class EchoActor(LeafActor):
    """settings: (entity type, slices)."""

    def begin(self, begin: Begin) -> None:
        self.entity_type, self.slices = begin.settings
        self.acks: dict[Any, list[int]] = defaultdict(list)
        self.answers: dict[Any, list[Any]] = defaultdict(list)

    def routes(self) -> Any:
        owners = ((self.address, 1),) * self.slices
        return {self.entity_type: TypeRoutes(self.slices, owners)}

    def on_message(self, message: Any, sender: Any) -> None:
        if not isinstance(message, CommandFrame):
            return
        client = message.client_id
        self.acks[client].append(message.frame_nr)
        self.answers[client] += [(c[3], 0, c[2]) for c in unpack_items(message.blob)]

        def make() -> Any:
            acks, answers = self.acks.pop(client, []), self.answers.pop(client, [])
            if not acks and not answers:
                return NOTHING
            return ReplyFrame("echo", client, tuple(acks), pack_items(answers))

        self.outbox.offer(client, sender, make, lambda: None)

"""Router: performs what RouterCore decides, through three callables. One thread owns it.

Used by clients (their I/O thread), by hosts (entity to entity elsewhere) and by type actors. It
knows no Thespian: `transmit` sends, `ask_routes` asks the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from thespian_dc.entity.handing import FrameSender
from thespian_dc.entity.protocol import CommandFrame, ReplyFrame, TypeRoutes
from thespian_dc.entity.router_core import (
    Action,
    AskRoutes,
    Deliver,
    Outgoing,
    RouterCore,
    SendFrame,
)
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.frames import pack_items, unpack_items


class Router:
    """transmit(address "ip:port", frame, on_done(delivered)). deliver(outcomes): in order."""

    sender: FrameSender | None = None
    """Hands small frames over past `transmit`; None: nothing is."""

    def __init__(
        self,
        client_id: str,
        transmit: Callable[[str, CommandFrame, Callable[[bool], None]], None],
        ask_routes: Callable[[], None],
        deliver: Callable[[list[Deliver]], None],
        commands_max: int = 100_000,
        window: int = 2,
    ) -> None:
        self.client_id = client_id
        self.core = RouterCore(commands_max, window)
        self._transmit, self._ask_routes, self._deliver = transmit, ask_routes, deliver

    def submit(self, commands: list[Outgoing], timeout_s: float) -> None:
        self._perform(self.core.submit(commands, timeout_s, now_us()))

    def on_routes(self, reported: Iterable[dict[str, TypeRoutes]]) -> None:
        self._perform(self.core.on_routes(reported, now_us()))

    def on_reply(self, frame: ReplyFrame, address: str) -> None:
        """address: where the frame came from."""
        items = unpack_items(frame.blob)
        self._perform(self.core.on_reply(frame.acknowledged, items, address, now_us()))

    def on_tick(self) -> None:
        self._perform(self.core.on_tick(now_us()))

    def wakeup_us(self) -> int | None:
        return self.core.wakeup_us(now_us())

    def _on_sent(self, address: str, frame_nr: int, delivered: bool) -> None:
        self._perform(self.core.on_sent(address, frame_nr, delivered, now_us()))

    def _perform(self, actions: list[Action]) -> None:
        outcomes: list[Deliver] = []
        for action in actions:
            if isinstance(action, Deliver):
                outcomes.append(action)
            elif isinstance(action, SendFrame):
                frame = CommandFrame(self.client_id, action.frame_nr, _blob(action.commands))
                sent = partial(self._on_sent, action.address, action.frame_nr)
                sender = self.sender if action.alone else None
                if sender is not None and sender.hand(action.address, frame):
                    sent(True)
                else:
                    self._transmit(action.address, frame, sent)
            else:
                assert isinstance(action, AskRoutes)
                self._ask_routes()
        if outcomes:
            self._deliver(outcomes)


def _blob(commands: Iterable[Outgoing]) -> bytes:
    return pack_items(
        [
            (
                c.entity_type,
                c.entity_id,
                c.body,
                c.correlation if c.ticket is not None else -c.correlation,
                c.command_id,
                c.sender,
                c.epoch,
                c.since,
            )
            for c in commands
        ]
    )


def command_id_of(client_id: str, correlation: int, command_id: str) -> str:
    """The id a host knows a command by: the caller's, or one made of the frame's."""
    return command_id or f"{client_id}-{abs(correlation)}"


__all__ = ["Outgoing", "Router", "command_id_of"]

"""Messages to many peers, one under way to each: Thespian's own queues are slow when they are long
(every send walks them) and drop silently when they are full.

A peer's messages are made when it is its turn, so whatever gathered meanwhile goes in one frame.
No Thespian here: `transmit(address, message, on_done)` is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

UNDER_WAY_MAX = 16  # Thespian itself sends to at most 20 peers at a time
NOTHING = object()

Transmit = Callable[[Any, Any, Callable[[bool], None]], None]
"""transmit(address, message, on_done): on_done(True) when the peer's process has the message."""


@dataclass(slots=True)
class _Peer:
    address: Any
    make: Callable[[], Any]
    on_failed: Callable[[], None]
    busy: bool = False
    queued: bool = False


class Outbox:
    """offer(): a peer has something to send; `make` is called until it returns NOTHING."""

    def __init__(self, transmit: Transmit) -> None:
        self._transmit = transmit
        self._peers: dict[Any, _Peer] = {}
        self._turn: deque[Any] = deque()  # bounded by the number of peers: each stands here once
        self._under_way = 0

    def offer(
        self, key: Any, address: Any, make: Callable[[], Any], on_failed: Callable[[], None]
    ) -> None:
        """make() gives the next message for the peer, or NOTHING where there is none (any more).

        on_failed: the peer's process is gone or did not take a message; what waits for it is the
        caller's to drop.
        """
        peer = self._peers.get(key)
        if peer is None:
            peer = self._peers[key] = _Peer(address, make, on_failed)
        else:
            peer.address, peer.make, peer.on_failed = address, make, on_failed
        if not (peer.busy or peer.queued):
            peer.queued = True
            self._turn.append(key)
        self._pump()

    def idle(self) -> bool:
        """Nothing is under way and nobody has anything to send."""
        return not self._peers

    def _pump(self) -> None:
        while self._turn and self._under_way < UNDER_WAY_MAX:
            key = self._turn.popleft()
            peer = self._peers[key]
            peer.queued = False
            message = peer.make()
            if message is NOTHING:
                del self._peers[key]
                continue
            peer.busy = True
            self._under_way += 1
            self._transmit(peer.address, message, partial(self._done, key))

    def _done(self, key: Any, delivered: bool) -> None:
        peer = self._peers[key]
        peer.busy = False
        self._under_way -= 1
        if not delivered:
            peer.on_failed()
        peer.queued = True
        self._turn.append(key)
        self._pump()

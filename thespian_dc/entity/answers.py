"""A host's answers on their way out: reply frames to clients, bare messages to ordinary actors.

No Thespian here: the outbox calls back when a peer is free, and everything that gathered for it
goes into one frame. An ordinary actor gets its messages one by one, in order.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from thespian_dc.entity.protocol import CommandFrame, ReplyAddress, ReplyFrame, Route, Status
from thespian_dc.shell.addresses import key_of
from thespian_dc.shell.frames import pack_error, pack_items, unpack_reply
from thespian_dc.shell.outbox import NOTHING, Outbox

log = logging.getLogger(__name__)

ANSWERS_MAX = 8000  # in one frame
BYTES_MAX = 1 << 20
BARE_MAX = 10_000  # messages that wait for one ordinary actor; the rest are dead letters
KNOWN_FRAMES = 64  # frame numbers remembered per client
CLIENTS_MAX = 4096  # remembered; the longest silent are forgotten
LARGE_FRAME = 64  # commands; a frame of so many is acknowledged at once


class _Client:
    __slots__ = ("acks", "address", "answers", "hurry", "latest", "seen")

    def __init__(self, address: Any) -> None:
        self.address = address
        self.acks: list[int] = []
        self.answers: deque[tuple[int, int, Any]] = deque()  # bounded by the client's commands_max
        self.hurry = False
        self.latest = 0
        self.seen: deque[int] = deque(maxlen=KNOWN_FRAMES)


class Answers:
    """flush() after each batch of inputs; flush(all_acks=True) now and then.

    echo: a message that any actor answers by itself, after all that it sent before. on_gone: an
    actor from which no echo will come.
    """

    def __init__(
        self, member_id: str, outbox: Outbox, echo: Any, on_gone: Callable[[Any], None]
    ) -> None:
        self._member_id, self._outbox, self._echo, self._on_gone = member_id, outbox, echo, on_gone
        self._clients: dict[str, _Client] = {}
        self._bare: dict[Any, deque[Any]] = {}
        self._touched: set[str] = set()
        self._owed: set[str] = set()
        self.dead_letters = 0

    def owes_acks(self) -> bool:
        return bool(self._owed)

    # --- in ---

    def is_new(self, frame: CommandFrame, address: Any) -> bool:
        """Take note of a frame that is to be acknowledged; False: it was here before."""
        client = self._clients.pop(frame.client_id, None) or _Client(address)
        self._clients[frame.client_id] = client
        if len(self._clients) > CLIENTS_MAX:
            self._drop(next(iter(self._clients)))
        client.address = address
        client.acks.append(frame.frame_nr)
        self._owed.add(frame.client_id)
        if frame.frame_nr in client.seen:
            client.hurry = True
            return False
        client.seen.append(frame.frame_nr)
        client.latest = max(client.latest, frame.frame_nr)
        return True

    def is_overtaken(self, frame: CommandFrame) -> bool:
        """A later frame of its client was here before it: what is in it may have come in that."""
        return frame.frame_nr < self._clients[frame.client_id].latest

    def owes_several(self, client_id: str) -> bool:
        """The client may have more to send, and sends no more before it is acknowledged."""
        return len(self._clients[client_id].acks) > 1

    def hurry(self, client_id: str) -> None:
        """Acknowledge with the next flush."""
        self._clients[client_id].hurry = True
        self._touched.add(client_id)

    def answer(self, to: Any, status: Status, value: Any) -> None:
        """to: a ReplyAddress, or the address of a raw sender."""
        if type(to) is not ReplyAddress:
            self.send(to, unpack_reply(value))
            return
        if status == Status.ERROR and not isinstance(value, bytes):
            value = pack_error(value)
        self._put(to, status, value)

    def not_owner(self, to: ReplyAddress, route: Route) -> None:
        """The client follows to where the route says, or asks again where it says nothing."""
        self._put(to, Status.NOT_OWNER, route)

    def send(self, address: Any, message: Any) -> None:
        """A bare message to an ordinary actor."""
        self._put_bare(address, message)

    def settle(self, address: Any) -> None:
        """Have the actor echo."""
        self._put_bare(address, self._echo)

    def flush(self, all_acks: bool = False) -> None:
        """Offer what there is to the peers that are free."""
        if all_acks:
            for client_id in self._owed:
                self._clients[client_id].hurry = True
            self._touched |= self._owed
        touched, self._touched = self._touched, set()
        for client_id in touched:
            client = self._clients.get(client_id)
            if client is not None:
                self._outbox.offer(
                    client_id,
                    client.address,
                    partial(self._next_frame, client_id),
                    partial(self._drop, client_id),
                )

    # --- out, called by the outbox ---

    def _next_frame(self, client_id: str) -> Any:
        client = self._clients.get(client_id)
        if client is None or not (client.answers or (client.acks and client.hurry)):
            return NOTHING
        items: list[tuple[int, int, Any]] = []
        size = 0
        while client.answers and len(items) < ANSWERS_MAX and size < BYTES_MAX:
            item = client.answers.popleft()
            size += len(item[2]) if isinstance(item[2], bytes) else 100
            items.append(item)
        acks, client.acks, client.hurry = tuple(client.acks), [], False
        self._owed.discard(client_id)
        return ReplyFrame(self._member_id, client_id, acks, pack_items(items))

    def _drop(self, client_id: str) -> None:
        """The client is gone, or has not taken a frame for long: it has given up on its asks."""
        client = self._clients.pop(client_id, None)
        self._owed.discard(client_id)
        self._touched.discard(client_id)
        if client is not None and client.answers:
            log.warning(
                "client_gone", extra={"client": client_id, "answers": len(client.answers)}
            )

    def _put(self, to: ReplyAddress, status: Status, value: Any) -> None:
        client = self._clients.get(to.client_id)
        if client is None:  # dropped since it asked: it is tried once more
            client = self._clients[to.client_id] = _Client(to.address)
        client.answers.append((to.correlation, int(status), value))
        self._touched.add(to.client_id)

    def _put_bare(self, address: Any, item: Any) -> None:
        key = key_of(address)
        waiting = self._bare.get(key)
        if waiting is None:
            waiting = self._bare[key] = deque()  # bounded by BARE_MAX, below
        if item is not self._echo and len(waiting) >= BARE_MAX:
            self.dead_letters += 1
            log.warning("dead_letter", extra={"to": str(address), "reason": "its queue is full"})
            return
        waiting.append(item)
        self._outbox.offer(
            key, address, partial(self._next_bare, key), partial(self._bare_gone, key, address)
        )

    def _next_bare(self, key: Any) -> Any:
        waiting = self._bare.get(key)
        if waiting:
            return waiting.popleft()
        self._bare.pop(key, None)
        return NOTHING

    def _bare_gone(self, key: Any, address: Any) -> None:
        """What waits for an actor that is gone, or takes no messages, are dead letters."""
        waiting = self._bare.pop(key, None) or ()
        lost = sum(item is not self._echo for item in waiting)
        self.dead_letters += lost
        if lost:
            log.warning("dead_letters", extra={"to": str(address), "count": lost})
        self._on_gone(address)

"""The client's one private Thespian context on its one I/O thread.

Laws: only that thread touches the context; other threads hand over commands by the bridge, whose
file descriptor the context's transport watches like an actor's (where a transport cannot, it is
asked again every few milliseconds). A link belongs to the process that made it: after a fork the
client makes another, under another client_id.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from thespian.actors import ActorSystem, WatchMessage
from thespian.system.messages.status import Thespian_StatusReq, Thespian_SystemStatus
from thespian.system.transport import ReceiveEnvelope, TransmitIntent

from thespian_dc.client.sinks import deliver
from thespian_dc.entity.api import (
    CommandFrame,
    Deliver,
    FrameSender,
    Outgoing,
    ReplyFrame,
    Router,
    Status,
)
from thespian_dc.model.errors import ClientClosedError
from thespian_dc.model.node_errors import ServiceNotFoundError
from thespian_dc.shell.addresses import address_of, text_of
from thespian_dc.shell.bridge import Bridge
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.protocol import GetRoutes, Routes, coordinator_name
from thespian_dc.shell.transports import close_transport

log = logging.getLogger(__name__)

TRANSMIT_FOR, TRANSMIT_RETRY = timedelta(seconds=10), timedelta(seconds=1)
IDLE_US = 1_000_000
SEARCH_US = 50_000  # between questions while no coordinator has answered yet
POLL_US = 3_000  # where the transport cannot watch a file descriptor
COORDINATOR_SILENT_US = 1_000_000
_CLOSE = object()
_inherited: list[Link] = []  # of the parent process: never closed, its sockets are the parent's too


class Link:
    """submit() from any thread."""

    def __init__(self, system: ActorSystem, service: str, commands_max: int) -> None:
        self.pid = os.getpid()
        self.client_id = uuid4().hex[:12]
        self._system, self._service = system, service
        self._bridge = Bridge()
        self._router = Router(
            self.client_id, self._transmit, self._ask_routes, deliver, commands_max
        )
        self._transport: Any = None
        self._coordinator: Any = None
        self._asked_us = 0
        self._answered = Event()
        self._closed = False
        self._thread = Thread(target=self._run, name=f"thespian_dc-{service}", daemon=True)
        self._thread.start()

    def submit(self, commands: list[Outgoing], timeout_s: float) -> None:
        if self._closed:
            raise ClientClosedError(self._service)
        self._bridge.put((commands, timeout_s))

    def wait_for_service(self, timeout_s: float) -> None:
        """Until a coordinator has answered; ServiceNotFoundError after timeout_s."""
        self._bridge.put(None)
        if not self._answered.wait(timeout_s):
            admin = str(self._system._systemBase.adminAddr)
            raise ServiceNotFoundError(self._service, admin)

    def close(self) -> None:
        """End the thread; commands under way end in ClientClosedError."""
        self._closed = True
        self._bridge.put(_CLOSE)
        self._thread.join(5.0)

    def leave_to_parent(self) -> None:
        """In a forked child: forget this link without touching what the parent shares."""
        _inherited.append(self)
        if self._transport is not None and not self._closed:
            os.close(self._transport.socket.detach())

    # --- the I/O thread ---

    def _run(self) -> None:
        with self._system.private() as context:
            self._transport = context._systemBase.transport
            self._router.sender = sender = FrameSender(text_of(self._transport.myAddress))
            if hasattr(self._transport, "set_watch"):
                self._transport.set_watch([self._bridge.fileno()])
            try:
                self._loop(hasattr(self._transport, "set_watch"))
            except Exception:
                log.exception("client_failed", extra={"service": self._service})
                raise
            finally:
                self._closed = True
                self._fail_all()
                close_transport(self._transport)
                sender.close()
                self._bridge.close()

    def _loop(self, watches: bool) -> None:
        tick_us = 0
        while True:
            now = now_us()
            if now >= tick_us:
                self._router.on_tick()
                if not self._answered.is_set():
                    self._ask_routes()
                tick_us = self._next_tick_us(now)
            wait_us = max(1000, tick_us - now)
            received = self._transport.run(
                None, timedelta(microseconds=wait_us if watches else min(wait_us, POLL_US))
            )
            message = received.message if isinstance(received, ReceiveEnvelope) else None
            if isinstance(message, WatchMessage) or not watches:
                if not self._submit_all():
                    return
                tick_us = min(tick_us, self._next_tick_us(now_us()))
            if message is not None:
                self._receive(message, received.sender)

    def _next_tick_us(self, now: int) -> int:
        wakeup_us = self._router.wakeup_us()
        if wakeup_us is not None:
            return wakeup_us
        return now + (IDLE_US if self._answered.is_set() else SEARCH_US)

    def _submit_all(self) -> bool:
        """False: the client is closed."""
        for item in self._bridge.drain():
            if item is _CLOSE:
                return False
            if item is not None:
                self._router.submit(*item)
        return True

    def _receive(self, message: Any, sender: Any) -> None:
        if isinstance(message, ReplyFrame):
            if message.client_id == self.client_id:  # ports are used again: it may be another's
                self._router.on_reply(message, text_of(sender))
        elif isinstance(message, Routes):
            if message.service == self._service:
                self._asked_us = 0
                self._answered.set()
                self._router.on_routes(message.reported)
            else:
                self._coordinator = None
        elif isinstance(message, Thespian_SystemStatus):
            name = coordinator_name(self._service)
            self._coordinator = message.globalActors.get(name)
            self._asked_us = 0
            if self._coordinator is not None:
                self._ask_routes()

    def _ask_routes(self) -> None:
        """Ask the coordinator; ask the Admin who that is where it is not known or silent."""
        now = now_us()
        pause_us = COORDINATOR_SILENT_US if self._answered.is_set() else SEARCH_US
        if self._asked_us and now - self._asked_us < pause_us:
            return
        if self._asked_us:
            self._coordinator = None
        self._asked_us = now
        if self._coordinator is not None:
            self._send(self._coordinator, GetRoutes(), _ignore)
        else:
            admin = self._system._systemBase.adminAddr
            self._send(admin, Thespian_StatusReq(), _ignore)

    def _transmit(
        self, address: str, frame: CommandFrame, on_done: Callable[[bool], None]
    ) -> None:
        self._send(address_of(address), frame, on_done)

    def _send(self, address: Any, message: Any, on_done: Callable[[bool], None]) -> None:
        intent = TransmitIntent(
            address,
            message,
            onSuccess=lambda _result, _intent: on_done(True),
            onError=lambda _result, _intent: on_done(False),
            maxPeriod=TRANSMIT_FOR,
            retryPeriod=TRANSMIT_RETRY,
        )
        self._transport.scheduleTransmit(None, intent)

    def _fail_all(self) -> None:
        error = ClientClosedError(self._service)
        left = self._router.core.close()
        for item in self._bridge.drain():
            if isinstance(item, tuple):
                left += [c.ticket for c in item[0] if c.ticket is not None]
        deliver([Deliver(ticket, int(Status.ERROR), error) for ticket in left])


def _ignore(_delivered: bool) -> None:
    """Who is asked again after a while need not know."""

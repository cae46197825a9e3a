"""The client's link on simpleSystemBase: no thread, the host is an object of this process.

Nothing runs there between two calls, so `submit` drives the actor system until all that was asked
is answered, or its time is over.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Any
from uuid import uuid4

from thespian_dc.client.sinks import deliver
from thespian_dc.entity.api import (
    Command,
    Deliver,
    Outgoing,
    ReplyAddress,
    Status,
    command_id_of,
)
from thespian_dc.model.errors import AskTimeoutError, ClientClosedError
from thespian_dc.model.node_errors import ServiceNotFoundError
from thespian_dc.shell import simple
from thespian_dc.shell.clock import now_us
from thespian_dc.shell.frames import unpack
from thespian_dc.shell.protocol import coordinator_name

STEP_S = 0.005


class InlineLink:
    """Like client/link.py's Link."""

    def __init__(self, system: Any, service: str) -> None:
        self.pid = os.getpid()
        self.client_id = uuid4().hex[:12]
        self._system, self._service = system, service
        self._host: Any = None
        self._open: dict[int, Outgoing] = {}
        self._numbers = count(1)

    def wait_for_service(self, timeout_s: float) -> None:
        """ServiceNotFoundError where no node of the service was started in this process."""
        found = simple.instance_of(self._system, coordinator_name(self._service))
        if found is None:
            raise ServiceNotFoundError(self._service, "simpleSystemBase")
        if found is not self._host:
            self._host = found
            found.clients[self.client_id] = self._on_answer

    def submit(self, commands: list[Outgoing], timeout_s: float) -> None:
        if self._host is None:
            raise ClientClosedError(self._service)
        self.wait_for_service(timeout_s)  # the node may have been stopped, and started again
        for command in commands:
            number = command.correlation = next(self._numbers)
            if command.ticket is not None:
                self._open[number] = command
        self._host.submit([self._command(one) for one in commands])
        until = now_us() + int(timeout_s * 1e6)
        while self._open and now_us() < until:
            simple.run_sends(self._system, STEP_S)
            self._host.host.tick()
        for number in list(self._open):
            late = self._open.pop(number)
            name = f"{late.entity_type}|{late.entity_id}"
            error = AskTimeoutError(name, timeout_s, "nothing was left to run")
            deliver([Deliver(late.ticket, int(Status.ERROR), error)])

    def close(self) -> None:
        if self._host is not None:
            self._host.clients.pop(self.client_id, None)
            self._host = None

    def leave_to_parent(self) -> None:
        """Nothing is shared with the parent process."""

    def _command(self, one: Outgoing) -> Command:
        reply_to = None
        if one.ticket is not None:
            reply_to = ReplyAddress(None, self.client_id, one.correlation)
        known_as = command_id_of(self.client_id, one.correlation, one.command_id)
        return Command(one.entity_type, one.entity_id, unpack(one.body), reply_to, known_as)

    def _on_answer(self, correlation: int, status: int, value: Any) -> None:
        command = self._open.pop(correlation, None)
        if command is not None:
            deliver([Deliver(command.ticket, status, value)])

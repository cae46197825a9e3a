"""Ask an actor and wait, on an endpoint of one's own: answers never mix with anybody else's.

For whoever starts a node, and for an actor that must know something before it can go on. TCP bases
only. It blocks; a coordinator and an Admin answer within milliseconds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from thespian.system.messages.status import Thespian_StatusReq, Thespian_SystemStatus
from thespian.system.transport import ReceiveEnvelope, TransmitIntent

from thespian_dc.shell.clock import now_us
from thespian_dc.shell.protocol import (
    GetStatus,
    LeafSpec,
    StartLeaf,
    Status,
    coordinator_name,
)
from thespian_dc.shell.transports import close_transport

A = TypeVar("A")


class Talk:
    """Use in a `with` block."""

    def __init__(self, transport: Any, admin: Any) -> None:
        self._transport, self.admin = transport.external_transport_clone(), admin

    @classmethod
    def of_system(cls, system: Any) -> Talk:
        base = system._systemBase  # nothing public gives an endpoint that can be listened to alone
        return cls(base.transport, base.adminAddr)

    @classmethod
    def of_actor(cls, actor: Any) -> Talk:
        return cls(actor._myRef.transport, actor._myRef._adminAddr)

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        close_transport(self._transport)

    def ask(self, address: Any, message: Any, kind: type[A], timeout_s: float) -> A | None:
        """The next message of class `kind` that arrives, or None after timeout_s, or when nobody
        listens at the address."""
        until = now_us() + int(timeout_s * 1e6)
        failed: list[Any] = []

        def on_error(_result: Any, _intent: Any) -> None:
            failed.append(True)
            self._transport.abort_run()

        self._transport.scheduleTransmit(
            None,
            TransmitIntent(
                address, message, onError=on_error, maxPeriod=timedelta(seconds=timeout_s)
            ),
        )
        while not failed and (left := until - now_us()) > 0:
            received = self._transport.run(None, timedelta(microseconds=left))
            if isinstance(received, ReceiveEnvelope) and isinstance(received.message, kind):
                return received.message
        return None

    def system_status(self, timeout_s: float = 5.0) -> Any:
        """Thespian's own status of the actor system, or None."""
        status: Any = Thespian_SystemStatus
        return self.ask(self.admin, Thespian_StatusReq(), status, timeout_s)

    def coordinator(self, service: str) -> Any:
        """The address of a service's coordinator, or None where it has none."""
        status = self.system_status()
        return status.globalActors.get(coordinator_name(service)) if status else None

    def leaf_address(self, coordinator: Any, leaf: LeafSpec, timeout_s: float = 10.0) -> str:
        """Have the coordinator run a leaf; its address, "" where it does not come up in time."""
        until = now_us() + int(timeout_s * 1e6)
        message: Any = StartLeaf(leaf)
        while now_us() < until:
            status = self.ask(coordinator, message, Status, 2.0)
            found = status.leaves.get(leaf.name) if status else None
            if found and found["state"] == "up":
                return str(found["address"])
            message = GetStatus()
            self.pause(20_000)
        return ""

    def pause(self, for_us: int) -> None:
        """Wait without missing that the other side goes away."""
        self._transport.run(None, timedelta(microseconds=for_us))

"""ReplicationActor: the leaf that takes over the logs of one entity type's other replicas. gRPC and
the journal are opened in `begin`, here only.

It holds nothing that is not in the journal: one that is killed is started again by the coordinator,
and goes on from the stored cursors; what comes again is known to the entities.

A lone batch is handled by the thread that brings it (arriving.py): only the main thread sends by
Thespian.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from thespian_dc.entity.api import CommandFrame, ReplyFrame
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.roles import Roles
from thespian_dc.replication.arriving import Arriving, plain
from thespian_dc.shell.addresses import address_of, text_of
from thespian_dc.shell.garbage import collect_seldom
from thespian_dc.shell.leaf_actor import LeafActor
from thespian_dc.shell.protocol import Begin, GetRoutes, Peers, Routes

if TYPE_CHECKING:  # grpc: never imported where this class is only looked at, or forked from
    from thespian_dc.replication.link import Came
    from thespian_dc.replication.replica import RunningReplica

log = logging.getLogger(__name__)

RETRY_US = 1_000_000


class _Later:
    """What another thread leaves to the main thread."""

    __slots__ = ("act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act


class ReplicationActor(LeafActor):
    """Begin.settings is a StartReplication."""

    def __init__(self) -> None:
        super().__init__()
        self._running: RunningReplica | None = None
        self._error = ""
        self._retry_us = 0
        self._hosts: list[str] = []
        self._arriving: Arriving

    def begin(self, begin: Begin) -> None:
        """Open the links. A journal that does not answer is tried again; what else is wrong is
        raised."""
        self._open(begin)
        collect_seldom()

    def _open(self, begin: Begin) -> None:
        from thespian_dc.entity.api import FrameSender, Router
        from thespian_dc.replication.replica import RunningReplica

        self._arriving = arriving = Arriving(self.bridge.put, self._handle_at_once)
        try:
            running = RunningReplica(begin.settings, begin.node_id, self.bridge.put, arriving.bring)
        except ThespianDcError as error:
            if not error.retryable:
                raise
            self._error = str(error)
            log.warning("replication_not_started", extra={"error": self._error})
            return
        running.group.router = Router(
            f"{begin.name}.{uuid4().hex[:12]}", self._send_frame, self._ask_routes,
            running.group.on_outcomes,
        )  # fmt: skip
        running.group.router.sender = FrameSender(self.address)
        running.start()
        self._running, self._error = running, ""

    # --- inputs ---

    def on_items(self, items: list[Any]) -> None:
        """What the links' sources and the threads brought."""
        for item in items:
            if isinstance(item, _Later):
                item.act()
        if self._running is not None:
            with self._arriving.turn:
                roles = self._running.on_items(plain(items))
                self._arriving.done(items)
            if roles is not None:
                self._tell_hosts(roles)

    def _handle_at_once(self, came: Came) -> bool:
        """On the thread of a source, with the turn."""
        return self._running is not None and self._running.group.on_came_at_once(came)

    def on_message(self, message: Any, sender: Any) -> None:
        """Answers of hosts, and where they are."""
        if self._running is None:
            return
        router = self._running.group.router
        with self._arriving.turn:
            if isinstance(message, ReplyFrame):
                if message.client_id == router.client_id:
                    router.on_reply(message, text_of(sender))
            elif isinstance(message, Routes):
                router.on_routes(message.reported)

    def on_tick(self, now: int) -> None:
        if self._running is not None:
            with self._arriving.turn:
                self._running.on_tick(now)
        elif now >= self._retry_us:
            self._retry_us = now + RETRY_US
            assert self.begun is not None
            self._open(self.begun)

    def next_tick_us(self) -> int:
        if self._running is None:
            return self._retry_us
        with self._arriving.turn:
            return self._running.wakeup_us()

    def on_peers(self, peers: Peers) -> None:
        self._hosts = [address for _, role, address in peers.leaves if role == "hosts" and address]

    # --- outputs ---

    def _tell_hosts(self, roles: Roles) -> None:
        """A hint: they look at the registry by themselves."""
        assert self.begun is not None
        role = roles.role(self.begun.settings.replication.entity_type)
        for address in self._hosts:
            self.send(address_of(address), role)

    def _send_frame(self, address: str, frame: CommandFrame, on_done: Any) -> None:
        def done(delivered: bool) -> None:
            with self._arriving.turn:
                on_done(delivered)

        self._on_main(lambda: self.transmit(address_of(address), frame, done))

    def _ask_routes(self) -> None:
        self._on_main(lambda: self.send(self._coordinator, GetRoutes()))

    def _on_main(self, act: Callable[[], None]) -> None:
        if self._arriving.is_main():
            act()
        else:
            self.bridge.put(_Later(act))

    def facts(self) -> dict[str, Any]:
        """entity_type, replica_id; links: see LinkFacts.plain; error: why nothing is stored, or
        nothing runs."""
        assert self.begun is not None
        setting = self.begun.settings.replication
        running = self._running
        return {
            "entity_type": setting.entity_type,
            "replica_id": setting.replica_id,
            **(running.roles() if running else {}),
            "links": [one.plain() for one in running.facts()] if running else [],
            "error": running.error if running else self._error,
        }

    def end(self, within_s: float) -> None:
        if self._running is not None:
            with self._arriving.turn:
                self._running.stop(within_s)

"""ProducerActor: the leaf that serves a node's streams. gRPC and the journal are opened in
`begin`, here only."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.shell.doorbell import open_bell
from thespian_dc.shell.leaf_actor import LeafActor
from thespian_dc.shell.protocol import Begin, Peers

if TYPE_CHECKING:  # grpc: never imported where this class is only looked at, or forked from
    from thespian_dc.stream.server import StreamServer

log = logging.getLogger(__name__)

RETRY_US = 1_000_000


class ProducerActor(LeafActor):
    """Begin.settings is a StartProducer. Hosts of its node ring its bell (shell/doorbell.py)."""

    def __init__(self) -> None:
        super().__init__()
        self._server: StreamServer | None = None
        self._port = 0
        self._error = ""
        self._retry_us = 0

    def begin(self, begin: Begin) -> None:
        """Listen. A journal that does not answer is tried again; what else is wrong is raised."""
        self._open(begin)

    def _open(self, begin: Begin) -> None:
        from thespian_dc.stream.server import StreamServer

        server = StreamServer(begin.settings)
        try:
            self._port = server.start()
        except ThespianDcError as error:
            if not error.retryable:
                raise
            self._error = str(error)
            log.warning("producer_not_started", extra={"error": self._error})
            return
        bell = open_bell(self.address)
        if bell is not None:
            server.listen_to(bell)
        self._server, self._error = server, ""

    def on_tick(self, now: int) -> None:
        if self._server is None and now >= self._retry_us:
            self._retry_us = now + RETRY_US
            assert self.begun is not None
            self._open(self.begun)

    def on_peers(self, peers: Peers) -> None:
        if self._server is not None:
            found = [address for _, role, address in peers.leaves if role == "consumers"]
            self._server.on_local([address for address in found if address])

    def facts(self) -> dict[str, Any]:
        """port: where it listens; calls: open streams; reads: of the journal, over all streams;
        hints: from hosts. pushes and what destinations received: see StreamServer.facts."""
        server = self._server
        return {
            "port": self._port,
            "calls": server.calls if server else 0,
            "reads": server.reads if server else 0,
            "hints": server.hints if server else 0,
            "error": self._error,
            **(server.facts() if server else {}),
        }

    def end(self, within_s: float) -> None:
        if self._server is not None:
            self._server.stop(grace_s=min(within_s / 2, 1.0))

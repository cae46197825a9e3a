"""Lets the link of this service, which lives in another process, read a replica that calls by
itself: a server of its own on loopback, which passes messages on as they are. Runs on the stream
loop.

Who calls it shows the token that stands in the journal's registry: whoever can read that journal is
of this service. Nothing else is served here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from thespian_dc.journal.api import Journal
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.replication_settings import Replication
from thespian_dc.model.settings import Remote
from thespian_dc.model.stream_errors import PeerUnavailableError, UnknownStreamError
from thespian_dc.stream.channels import MESSAGE_BYTES_MAX, SERVICE
from thespian_dc.stream.client import RemoteSource
from thespian_dc.stream.edges import EdgeLine, Edges, Key, edge_entry
from thespian_dc.stream.questions import METHODS
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.wire.status import status_of

KEY = "edge-line"
NOWHERE = "127.0.0.1:0"
_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
]


class Relay:
    """Over the calls of all edges of a server."""

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port, and say in the registry where."""
        server = self._server = grpc.aio.server(options=_OPTIONS)
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(self._asked(name)) for name in METHODS
        }
        methods["Pull"] = grpc.stream_stream_rpc_method_handler(self._pull)
        handler = grpc.method_handlers_generic_handler(SERVICE, methods)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await self._edges.announce(f"127.0.0.1:{port}")

    async def stop(self, grace_s: float) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)

    def _key(self, context: Any) -> Key:
        """UnknownStreamError for who shows no token that counts."""
        token = str(dict(context.invocation_metadata() or ()).get(KEY, ""))
        key = self._edges.key_of(token)
        if key is None:
            raise UnknownStreamError("of a replica")
        return key

    def _asked(self, method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def answered(request: bytes, context: Any) -> bytes:
            try:
                line = await self._edges.line(self._key(context), lend=False)
                return await line.ask(method, request)
            except ThespianDcError as error:
                await context.abort(*status_of(error))
                raise AssertionError("abort raises") from error

        return answered

    async def _pull(self, _requests: Any, context: Any) -> None:
        try:
            line = await self._edges.line(self._key(context), lend=True)
            try:
                await _passed_on(line, context)
            finally:
                self._edges.give_back(line)
        except ThespianDcError as error:
            await context.abort(*status_of(error))


async def _passed_on(line: EdgeLine, context: Any) -> None:
    """Both ways, until the link ends its call; raises what ended the replica's."""

    async def up() -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await line.write(message)

    async def down() -> None:
        while True:
            await context.write(await line.next())

    tasks = {asyncio.create_task(up()), asyncio.create_task(down())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class EdgeSource(RemoteSource):
    """The log of a replica that calls by itself, as any other remote source. journal: of this
    node."""

    def __init__(
        self, journal: Journal, setting: Replication, peer_id: str, consumer: str, call: ReplicaCall
    ) -> None:
        super().__init__(Remote(setting.stream_id, NOWHERE), consumer, replica=call)
        self._journal, self._peer_id = journal, peer_id
        self._entry = edge_entry(setting.stream_id, peer_id)

    async def _where(self) -> Remote:
        """The relay, as the registry says; it is another one after a restart. While a call is open
        it is that one's: another node that began since has none."""
        if self._core is not None and self._core.started:
            return self._remote
        value = (await asyncio.to_thread(self._journal.entry, self._entry)).value
        if value is None:
            reason = "no producer of this service that it could call has run yet"
            raise PeerUnavailableError(f"replica {self._peer_id}", reason)
        target, token = value
        return Remote(self._remote.stream_id, target, metadata={KEY: token})

"""The producer's gRPC server: many consumers pull slice logs from one journal, each at its own
pace.

A shell around ProducerCore and Tail. Everything runs on the process's stream loop; the journal is
read in a small pool. CancelledError is never kept: grpc.aio leaks a call whose handler does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.access import Rules
from thespian_dc.model.endpoint import check_plaintext, check_target
from thespian_dc.model.errors import SettingsError, ThespianDcError
from thespian_dc.model.push_errors import OriginRefusedError
from thespian_dc.model.record import Commit
from thespian_dc.model.replication_settings import REPLICA_PREFIX
from thespian_dc.model.stream_errors import ListenError, PeerUnavailableError
from thespian_dc.shell.doorbell import Bell, Hint
from thespian_dc.stream.channels import DESTINATION, MESSAGE_BYTES_MAX, SERVICE
from thespian_dc.stream.destination import DestinationCall, Destinations, offered
from thespian_dc.stream.edges import Edges
from thespian_dc.stream.gate import Gate
from thespian_dc.stream.health import Health
from thespian_dc.stream.loop import LoopThread, acquire_loop, release_loop
from thespian_dc.stream.offering import ReplicaPusher
from thespian_dc.stream.open_stream import OpenStreams
from thespian_dc.stream.protocol import StartProducer
from thespian_dc.stream.publishing import Publishing
from thespian_dc.stream.pull import PullCall
from thespian_dc.stream.push import Pusher, brought_by
from thespian_dc.stream.questions import Questions, handlers
from thespian_dc.stream.reflection import reflection_handlers
from thespian_dc.stream.relay import Relay
from thespian_dc.stream.tail import Tail
from thespian_dc.stream.tls import server_credentials

CALLS_MAX = 10_000
"""Open calls; more are refused with RESOURCE_EXHAUSTED."""
STOP_S = 5.0
"""How long destinations may take to store where they are."""
READERS = 2
"""Threads that read the journal; each may hold a connection with a page cache of its own."""
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # two producers on one port would share it silently
    ("grpc.max_send_message_length", -1),
    # A consumer that is gone without a word frees what is blocked on it.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
]


class StreamServer:
    """A server over one journal. `start`, `push` and `stop` may be called from any other thread."""

    def __init__(self, settings: StartProducer) -> None:
        self._settings = settings
        if settings.listen:
            host = check_target("listen", settings.listen)
            check_plaintext("listen", host, settings.tls, settings.plaintext_beyond_loopback)
        self._rules = Rules({one.stream_id: one.allow for one in settings.streams})
        if self._rules.needs_certificates and not (settings.tls and settings.tls.client_auth):
            raise SettingsError(
                "Stream.allow names certificates, but nobody shows one here: set tls=Tls(…) with "
                "client_auth=True"
            )
        bound = any(peer.identity for one in settings.replication for peer in one.peers)
        if settings.listen and bound and not (settings.tls and settings.tls.client_auth):
            raise SettingsError(
                "Peer.identity names certificates, but nobody shows one here: set tls=Tls(…) with "
                "client_auth=True"
            )
        self._gate: Gate | None = None
        self._loop: LoopThread | None = None
        self._journal: Journal | None = None
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="journal reader")
        self._questions = Questions(self._pool)
        self._streams: OpenStreams | None = None
        self._calls: set[PullCall] = set()  # bounded by CALLS_MAX
        self._server: grpc.aio.Server | None = None
        self._bell: Bell | None = None
        self.hints = 0
        """Rings of hosts so far."""
        self._services = [SERVICE, *([DESTINATION] if settings.destinations else [])]
        self._health = Health(self._services)
        self._destinations: Destinations | None = None
        self._edges: Edges | None = None
        self._relay: Relay | None = None
        self._pushers: list[Pusher] = []
        self._pushing: list[asyncio.Task[None]] = []
        self._receiving: set[DestinationCall] = set()  # bounded by CALLS_MAX
        self._ringer = Publishing(self.push)

    def start(self) -> int:
        """Open the journal and listen; returns the port, 0 where it listens nowhere. ListenError,
        SettingsError, JournalError."""
        settings = self._settings
        self._loop = acquire_loop()
        try:
            self._journal = journal = open_journal(settings.journal)
            self._streams = OpenStreams(journal, self._pool)
            self._streams.open(
                settings.streams, settings.slices, brought_by(settings.pushes), settings.replication
            )
            if settings.destinations:
                self._destinations = Destinations(
                    settings.service, journal, settings.destinations, self._ringer.publish
                )
                self._destinations.open(settings.slices)
            return self._loop.run(self._start(self._streams))
        except BaseException:
            self.stop()
            raise

    def push(self, commits: Sequence[Commit]) -> None:
        """Fresh, durable commits: a hint for consumers at the tail."""
        if self._loop is not None:
            self._loop.loop.call_soon_threadsafe(self._push, Hint(commits, {}))

    def listen_to(self, bell: Bell) -> None:
        """Take hints from hosts of this machine; the server closes the bell when it stops."""
        if self._loop is not None:
            self._bell = bell
            self._loop.loop.call_soon_threadsafe(
                self._loop.loop.add_reader, bell.fileno(), self._on_bell, bell
            )

    def stop(self, grace_s: float = 0.5) -> None:
        """Refuse new calls, end the open ones as UNAVAILABLE, release everything. Idempotent."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.run(self._stop(grace_s))
        if self._destinations is not None:
            self._destinations.stop(STOP_S)
        self._ringer.close()
        self._pool.shutdown()
        if self._journal is not None:
            self._journal.close()
        release_loop()

    @property
    def reads(self) -> int:
        """Reads of the journal so far, over all streams."""
        return sum(tail.reads for tail in self._tails())

    @property
    def commits_read(self) -> int:
        """Commits that these reads found."""
        return sum(tail.commits_read for tail in self._tails())

    @property
    def calls(self) -> int:
        """Open calls."""
        return len(self._calls)

    def facts(self) -> dict[str, Any]:
        """pushes: a dict each; and where there are any, what Destinations.facts says, and edges:
        the replicas that have called."""
        received = self._destinations.facts() if self._destinations is not None else {}
        if self._edges is not None and self._edges.expected:
            received["edges"] = self._edges.facts()
        return {"pushes": [one.facts() for one in self._pushers], **received}

    def on_local(self, addresses: Sequence[str]) -> None:
        """The node's processes that are to hear of what destinations write, as "ip:port"."""
        self._ringer.on_local(addresses)

    def _tails(self) -> list[Tail]:
        return self._streams.tails if self._streams is not None else []

    # --- on the loop ---

    async def _start(self, streams: OpenStreams) -> int:
        streams.start()
        self._push_all(streams)
        if not self._settings.listen:
            return 0
        access = self._settings.access
        request_bytes_max = access.limits.request_bytes_max
        assert self._journal is not None
        edges = self._edges = Edges(streams.groups, self._journal, self._pool)
        if edges.expected:
            self._relay = Relay(edges)
            await self._relay.start()
        if self._destinations is not None or edges.expected:  # batches come too
            request_bytes_max = max(request_bytes_max, MESSAGE_BYTES_MAX)
        limits = [
            ("grpc.max_receive_message_length", request_bytes_max),
            # Of one connection; further calls of it wait at the caller.
            ("grpc.max_concurrent_streams",
             access.limits.streams_per_identity + access.limits.questions_per_identity),
        ]  # fmt: skip
        server = grpc.aio.server(options=_OPTIONS + limits, maximum_concurrent_rpcs=CALLS_MAX)
        self._gate = Gate(access, self._rules, streams)
        methods: dict[str, Any] = {
            "Pull": grpc.stream_stream_rpc_method_handler(self._pull),
            **handlers(self._questions, self._gate),
        }
        events = grpc.method_handlers_generic_handler(SERVICE, methods)
        server.add_generic_rpc_handlers((events, self._health.handlers()))
        if self._destinations is not None or edges.expected:
            push: dict[str, Any] = {"Push": grpc.stream_stream_rpc_method_handler(self._receive)}
            received = grpc.method_handlers_generic_handler(DESTINATION, push)
            server.add_generic_rpc_handlers((received,))
        if access.reflection:
            server.add_generic_rpc_handlers(reflection_handlers(self._services))
        port = self._listen(server)
        await server.start()
        self._server = server
        self._health.set_serving(True)
        return port

    def _push_all(self, streams: OpenStreams) -> None:
        assert self._loop is not None
        for push in self._settings.pushes:
            pusher = Pusher(push, self._settings.service, streams, self._pool, self._loop.channels)
            self._pushers.append(pusher)
            self._pushing.append(asyncio.create_task(pusher.run()))
        for group in streams.groups.values():
            for peer in group.setting.peers:
                if peer.edge and peer.target:
                    bringing = ReplicaPusher(
                        group, peer, streams, self._pool, self._loop.channels, self._questions
                    )
                    self._pushers.append(bringing)
                    self._pushing.append(asyncio.create_task(bringing.run()))

    def _listen(self, server: grpc.aio.Server) -> int:
        listen, tls = self._settings.listen, self._settings.tls
        try:
            if tls is None:
                port = server.add_insecure_port(listen)
            else:
                port = server.add_secure_port(listen, server_credentials(tls))
        except RuntimeError as error:
            raise ListenError(listen, str(error)) from error
        if port == 0:
            raise ListenError(listen, "the address cannot be bound")
        return port

    async def _stop(self, grace_s: float) -> None:
        if self._bell is not None:
            asyncio.get_running_loop().remove_reader(self._bell.fileno())
            self._bell.close()
        if self._server is not None:
            self._health.set_serving(False)
            stops = PeerUnavailableError(self._settings.service, "it stops")
            for pulled in list(self._calls):
                pulled.end(stops)
            for received in list(self._receiving):
                received.end(stops)
            if self._edges is not None:
                self._edges.stop(stops)
            if self._relay is not None:
                await self._relay.stop(grace_s)
            await self._server.stop(grace_s)
        for task in self._pushing:
            task.cancel()
        await asyncio.gather(*self._pushing, return_exceptions=True)
        if self._gate is not None:
            self._gate.close()
        if self._streams is not None:
            await self._streams.stop()

    def _on_bell(self, bell: Bell) -> None:
        for hint in bell.hints():
            self.hints += 1
            self._push(hint)

    def _push(self, hint: Hint) -> None:
        for tail in self._tails():
            for commit in hint.commits:
                if commit.key.entity_type == tail.entity_type:
                    tail.push(commit)
            for key, head in hint.heads.items():
                if key.entity_type == tail.entity_type:
                    tail.push_head(key.slice, head)

    async def _pull(self, _requests: Any, context: Any) -> None:
        assert self._gate is not None
        try:
            with self._gate.stream(context) as caller:
                call = PullCall(self._gate, caller, self._pool, context)
                self._calls.add(call)
                try:
                    await call.run()
                finally:
                    self._calls.discard(call)
        except ThespianDcError as error:
            await self._gate.refuse(context, error)

    async def _receive(self, _requests: Any, context: Any) -> None:
        assert self._gate is not None
        assert self._edges is not None
        try:
            with self._gate.stream(context) as caller:
                offer = await offered(context)
                if offer.stream_id.startswith(REPLICA_PREFIX):
                    named = offer.stream_id, offer.origin
                    await self._gate.intercept("Push", *named, caller, context)
                    self._edges.check(offer, caller)
                    await self._edges.serve(offer, context)
                    return
                if self._destinations is None:
                    raise OriginRefusedError(offer.stream_id, offer.origin)
                call = DestinationCall(self._destinations, self._gate, caller, context, offer)
                self._receiving.add(call)
                try:
                    await call.run()
                finally:
                    self._receiving.discard(call)
        except ThespianDcError as error:
            await self._gate.refuse(context, error)

"""The source that reads another service's stream: a grpc.aio call that is opened again until it is
stopped.

A shell around ConsumerCore. Everything gRPC runs on the process's stream loop; batches are handed
over there, and what was handled comes back from the projection's thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import grpc.aio

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import SettingsError, ThespianDcError
from thespian_dc.model.position import Position
from thespian_dc.model.replica_errors import NoReplicaHereError
from thespian_dc.model.replication_handshake import Known, ReplicaStarted
from thespian_dc.model.settings import Remote
from thespian_dc.model.stream_errors import (
    PeerNotTrustedError,
    PeerUnavailableError,
    UnknownStreamError,
)
from thespian_dc.projection.api import (
    HEADS_S,
    LOOK_UP_BYTES_MAX,
    LOOK_UP_EVENTS_MAX,
    JournalPositions,
    LookedUp,
    Lookup,
    LookUpFailed,
    SourceBatch,
    SourceDescription,
    SourceEvents,
)
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.batches import cost_of
from thespian_dc.stream.channels import METHOD, Channels, metadata_of
from thespian_dc.stream.consumer_core import HEARTBEAT_MS, ConsumerCore, Reconnect
from thespian_dc.stream.conversation import ROOM_S, Conversation, Ears
from thespian_dc.stream.dialled import DialledLine
from thespian_dc.stream.lookups_client import LookupsClient
from thespian_dc.stream.loop import LoopThread, acquire_loop, release_loop
from thespian_dc.stream.replica_call import ReplicaCall
from thespian_dc.stream.trust import explained
from thespian_dc.wire.conversion import Credit, Started
from thespian_dc.wire.lookups import EntityIds, EntityState, Positions

log = logging.getLogger(__name__)
OnAnswer = Callable[[LookedUp | LookUpFailed], None]
Ask = Callable[[LookupsClient], Coroutine[Any, Any, Any]]


class RemoteSource:
    """Implements projection.api.Source over a stream. consumer: service and projection, for the
    producer's logs. replica: of a replica stream. looks_on: see Start."""

    def __init__(
        self, remote: Remote, consumer: str, heartbeat_ms: int = HEARTBEAT_MS,
        replica: ReplicaCall | None = None, looks_on: bool = False,
    ) -> None:  # fmt: skip
        self._remote, self._consumer, self._heartbeat_ms = remote, consumer, heartbeat_ms
        self._replica, self._replica_id, self._looks_on = replica, "", looks_on
        self._shown_version: int | None = None  # that the other replica told of last
        self._loop: LoopThread | None = None
        self._task: asyncio.Task[None] | None = None
        self._core: ConsumerCore | None = None
        self._handed_back: deque[Credit] = deque()  # bounded by the window
        self._armed = False
        self._talk: Conversation | None = None  # of the last call
        self._lookups: set[asyncio.Task[None]] = set()  # bounded by the asker
        self._looking: asyncio.Task[None] | None = None
        self._described = False
        self.reconnects = 0
        """Calls that ended and were opened again."""
        self.last_error: ThespianDcError | None = None
        """Why the last call ended."""

    def start(
        self,
        journal_id: str,
        positions: Mapping[int, Position],
        filter_: VersionedFilter,
        slices: Sequence[int] | None,
        events: SourceEvents,
    ) -> None:
        """See Source.start."""
        self._events, self._wanted, self._slices = events, filter_, slices
        self._journal_id, self._positions = journal_id, dict(positions)
        self._loop = acquire_loop()
        self._channels = self._loop.channels
        self._loop.run(self._begin())

    def change_filter(self, filter_: VersionedFilter) -> None:
        """See Source.change_filter. A call that begins later begins with it."""
        loop = self._loop
        if loop is not None:
            loop.loop.call_soon_threadsafe(self._change_filter, filter_)

    def look_up(self, lookup: Lookup, on_answer: OnAnswer) -> None:
        """See Source.look_up."""
        loop = self._loop
        if loop is not None:
            limit = Credit(LOOK_UP_BYTES_MAX, LOOK_UP_EVENTS_MAX)

            def ask(client: LookupsClient) -> Coroutine[Any, Any, LookedUp]:
                return client.look_up(lookup, limit, self._journal_id, self._remote.history)

            loop.loop.call_soon_threadsafe(self._ask, lookup, ask, on_answer)

    def send_known(self, known: Known) -> None:
        """Tell the replica at the other end what we have by now; where no call is open, nothing:
        the next one begins with it. From any thread."""
        loop = self._loop
        if loop is not None:
            loop.loop.call_soon_threadsafe(self._know, known)

    def entity_state(
        self, entity_id: str, fresh: bool, on_answer: Callable[[EntityState | LookUpFailed], None]
    ) -> None:
        """The stored state of an entity at the other replica. fresh: see EntityStateRequest.
        on_answer: as of look_up; a LookUpFailed has a lookup of the entity in slice -1."""
        loop = self._loop
        if loop is not None:
            lookup = Lookup(entity_id, -1, 1)

            def ask(client: LookupsClient) -> Coroutine[Any, Any, EntityState]:
                return client.entity_state(entity_id, self._journal_id, fresh)

            loop.loop.call_soon_threadsafe(self._ask, lookup, ask, on_answer)

    def entity_ids(
        self, slice_: int, after: str, on_answer: Callable[[EntityIds | LookUpFailed], None]
    ) -> None:
        """The next entities of a slice that have a stored state at the other replica, from the one
        behind `after` on ("" for the first). on_answer: as of entity_state, with the slice and no
        entity."""
        loop = self._loop
        if loop is not None:

            def ask(client: LookupsClient) -> Coroutine[Any, Any, EntityIds]:
                return client.entity_ids(slice_, after, self._journal_id)

            lookup = Lookup("", slice_, 1)
            loop.loop.call_soon_threadsafe(self._ask, lookup, ask, on_answer)

    def heads(self) -> JournalPositions:
        """See Source.heads."""
        return self._asked(LookupsClient.heads)

    def positions_at(self, time_us: int) -> JournalPositions:
        """See Source.positions_at."""
        return self._asked(lambda client: client.positions_at(time_us))

    @property
    def trouble(self) -> str:
        """See Source.trouble."""
        error, core = self.last_error, self._core
        if error is None or (core is not None and core.started):
            return ""
        return f"{type(error).__name__}: {error}"

    def handled(self, batch: SourceBatch) -> None:
        """Its credit goes back to the producer, together with that of others that wait."""
        self._handed_back.append(cost_of(batch))
        loop = self._loop
        if not self._armed and loop is not None:
            self._armed = True
            loop.loop.call_soon_threadsafe(self._take_back)

    def stop(self) -> None:
        """See Source.stop."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.run(self._end())
            release_loop()

    # --- on the loop ---

    async def _begin(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._looking = asyncio.create_task(self._look())

    async def _end(self) -> None:
        tasks = [*self._lookups, *(one for one in (self._task, self._looking) if one is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _change_filter(self, filter_: VersionedFilter) -> None:
        self._wanted = filter_
        if self._core is not None:
            self._core.change_filter(filter_)
        self._stir()

    def _know(self, known: Known) -> None:
        if self._core is not None:
            self._core.know(known)
        self._stir()

    def _ask(self, lookup: Lookup, ask: Ask, on_answer: Callable[[Any], None]) -> None:
        task = asyncio.create_task(self._answered(lookup, ask, on_answer))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _answered(self, lookup: Lookup, ask: Ask, on_answer: Callable[[Any], None]) -> None:
        answer: Any
        try:
            answer = await ask(self._client(self._channels))
        except ThespianDcError as error:
            answer = LookUpFailed(lookup, error)
        except Exception as error:  # noqa: BLE001 - of gRPC: it must be answered all the same
            reason = f"{type(error).__name__}: {error}"
            answer = LookUpFailed(lookup, PeerUnavailableError(self._remote.target, reason))
        on_answer(answer)

    def _asked(
        self, ask: Callable[[LookupsClient], Coroutine[Any, Any, Positions]]
    ) -> JournalPositions:
        """Ask once, over a channel of the process."""
        loop = acquire_loop()

        async def answered() -> Positions:
            self._remote = await self._where()
            return await ask(self._client(loop.channels))

        try:
            return JournalPositions(*loop.run(answered()))
        finally:
            release_loop()

    def _client(self, channels: Channels) -> LookupsClient:
        if self._replica is not None and not self._replica_id:
            self._replica_id = self._replica.start().replica_id
        return LookupsClient(
            channels, self._remote, self._consumer, self._replica_id, self._shown_version
        )

    def _take_back(self) -> None:
        self._armed = False
        core, talk = self._core, self._talk
        while core is not None and talk is not None and self._handed_back:
            core.on_handled(self._handed_back.popleft())  # of the next call, before it is open
            talk.unhandled -= 1
        self._stir()

    def _stir(self) -> None:
        if self._talk is not None:
            self._talk.wake()

    async def _look(self) -> None:
        """While batches wait here, no later one may come that would tell of newer heads."""
        while True:
            await asyncio.sleep(HEADS_S)
            if self._talk is None or not self._talk.unhandled:
                continue
            try:
                _, positions = await self._client(self._channels).heads()
            except (ThespianDcError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                continue  # the call itself says what is wrong
            self._events.heads({slice_: at.offset for slice_, at in positions.items()})

    async def _run(self) -> None:
        reconnect = Reconnect()
        while True:
            core = self._core = self._next_core()
            try:
                error = await self._one_call(core)
            except Exception as unforeseen:  # noqa: BLE001 - settings, memory, our own mistakes
                self._events.failed(unforeseen)
                return
            self._positions = core.positions
            if error is None:  # asked again at once, with the slices the producer has
                continue
            self.last_error = error
            if not error.retryable:
                self._events.failed(error)
                return
            if core.started:
                reconnect.on_worked()
            pause_ms = reconnect.pause_ms(random.random())
            facts = {"target": self._remote.target, "error": str(error), "retry_in_ms": pause_ms}
            log.warning("stream_broke", extra={"stream_id": self._remote.stream_id, **facts})
            self.reconnects += 1
            await asyncio.sleep(pause_ms / 1000)
            self._take_back()
            while not core.has_room:
                await asyncio.sleep(ROOM_S)
                self._take_back()

    async def _where(self) -> Remote:
        """Where to read, asked for before each call. ThespianDcError."""
        return self._remote

    def _next_core(self) -> ConsumerCore:
        replica = self._replica
        outstanding = Credit(0, 0) if self._core is None else self._core.outstanding
        return ConsumerCore(
            self._remote.stream_id, self._consumer, self._journal_id, self._positions,
            outstanding, self._remote.target, self._heartbeat_ms, now_us(), self._remote.history,
            self._wanted, self._slices, replica=None if replica is None else replica.start(),
            replica_expected="" if replica is None else replica.peer_id, looks_on=self._looks_on,
        )  # fmt: skip

    async def _one_call(self, core: ConsumerCore) -> ThespianDcError | None:
        """Open a call and read it to its end: why it ended, or None to ask again at once."""
        channels = self._channels
        try:
            self._remote = await self._where()
        except ThespianDcError as unknown:
            return unknown
        try:
            metadata = metadata_of(self._remote)
            shared = channels.take(self._remote.target, self._remote.tls)
        except SettingsError as unreadable:
            if not self._described:
                raise
            # It worked before: files are being replaced.
            return PeerNotTrustedError(self._remote.target, f"own files: {unreadable}")
        call: Any = shared.channel.stream_stream(METHOD)(metadata=metadata)
        ears = Ears(self._describe, self._events.batch, self._events.filter_in_force)
        if self._replica is not None:
            ears = ears._replace(replica=self._on_said)
        before = self._talk.unhandled if self._talk is not None else 0
        remote = self._remote
        line = DialledLine(call, remote.target)
        talk = Conversation(core, line, ears, remote.stream_id, remote.target, before)
        self._talk = talk
        error: ThespianDcError | None = None
        try:
            await talk.run()
        except ThespianDcError as ended:
            error = await self._explained(ended)
        finally:
            call.cancel()
            await channels.give_back(shared, broken=error is not None)
        return error

    def _on_said(self, said: ReplicaStarted) -> None:
        self._shown_version = said.shown.version
        if self._replica is not None:
            self._replica.on_started(said)

    async def _explained(self, error: ThespianDcError) -> ThespianDcError:
        if self._replica is not None and isinstance(error, UnknownStreamError):
            return NoReplicaHereError(self._remote.target, self._remote.stream_id)
        return await explained(self._remote.target, self._remote.tls, error)

    def _describe(self, started: Started) -> None:
        self._events.heads(started.heads)
        if not self._described:
            self._described = True
            self._journal_id = started.journal_id
            self._events.started(
                SourceDescription(started.journal_id, started.entity_type, started.slices)
            )

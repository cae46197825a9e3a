"""The source that reads another service's stream: a grpc.aio call that is opened again until it is
stopped.

A shell around ConsumerCore. Everything gRPC runs on the process's stream loop; batches are handed
over there, and what was handled comes back from the projection's thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.position import Position
from thespian_dc.model.settings import Remote
from thespian_dc.model.stream_errors import MalformedMessageError, PeerUnavailableError
from thespian_dc.projection.api import (
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
from thespian_dc.projection.api import FilterInForce as InForce
from thespian_dc.stream.batches import cost_of, read_batch
from thespian_dc.stream.channels import METHOD
from thespian_dc.stream.consumer_core import BATCHES_MAX, HEARTBEAT_MS, ConsumerCore, Reconnect
from thespian_dc.stream.lookups_client import LookupsClient
from thespian_dc.stream.loop import LoopThread, acquire_loop, release_loop
from thespian_dc.wire.conversion import (
    Beat,
    Credit,
    FilterInForce,
    Offer,
    Started,
    read_from_producer,
    write_from_consumer,
)
from thespian_dc.wire.lookups import Positions
from thespian_dc.wire.status import error_of

log = logging.getLogger(__name__)
OnAnswer = Callable[[LookedUp | LookUpFailed], None]

ROOM_S = 0.01
"""How often is looked whether batches were handled, where too many were not."""


class RemoteSource:
    """Implements projection.api.Source over a stream. consumer: service and projection, for the
    producer's logs."""

    def __init__(self, remote: Remote, consumer: str, heartbeat_ms: int = HEARTBEAT_MS) -> None:
        self._remote, self._consumer, self._heartbeat_ms = remote, consumer, heartbeat_ms
        self._loop: LoopThread | None = None
        self._task: asyncio.Task[None] | None = None
        self._core: ConsumerCore | None = None
        self._handed_back: deque[Credit] = deque()  # bounded by the window
        self._armed = False
        self._wake = asyncio.Event()
        self._unhandled = 0  # batches handed over
        self._lookups: set[asyncio.Task[None]] = set()  # bounded by the asker
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
            loop.loop.call_soon_threadsafe(self._ask, lookup, on_answer)

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

    async def _end(self) -> None:
        tasks = [*self._lookups, *([] if self._task is None else [self._task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _change_filter(self, filter_: VersionedFilter) -> None:
        self._wanted = filter_
        if self._core is not None:
            self._core.change_filter(filter_)
        self._wake.set()

    def _ask(self, lookup: Lookup, on_answer: OnAnswer) -> None:
        task = asyncio.create_task(self._look_up(lookup, on_answer))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up(self, lookup: Lookup, on_answer: OnAnswer) -> None:
        client = LookupsClient(self._channels, self._remote, self._consumer)
        limit = Credit(LOOK_UP_BYTES_MAX, LOOK_UP_EVENTS_MAX)
        try:
            answer: LookedUp | LookUpFailed = await client.look_up(
                lookup, limit, self._journal_id, self._remote.history
            )
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
        try:
            client = LookupsClient(loop.channels, self._remote, self._consumer)
            return JournalPositions(*loop.run(ask(client)))
        finally:
            release_loop()

    def _take_back(self) -> None:
        self._armed = False
        core = self._core
        while core is not None and self._handed_back:
            core.on_handled(self._handed_back.popleft())
            self._unhandled -= 1
        self._wake.set()

    async def _run(self) -> None:
        reconnect, outstanding = Reconnect(), Credit(0, 0)
        while True:
            core = self._core = self._next_core(outstanding)
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
            outstanding = core.outstanding

    def _next_core(self, outstanding: Credit) -> ConsumerCore:
        return ConsumerCore(
            self._remote.stream_id, self._consumer, self._journal_id, self._positions,
            outstanding, self._remote.target, self._heartbeat_ms, now_us(), self._remote.history,
            self._wanted, self._slices,
        )  # fmt: skip

    async def _one_call(self, core: ConsumerCore) -> ThespianDcError | None:
        """Open a call and read it to its end: why it ended, or None to ask again at once."""
        channels = self._channels
        shared = channels.take(self._remote.target, self._remote.tls)
        call: Any = shared.channel.stream_stream(METHOD)()
        error: ThespianDcError | None = None
        try:
            error = await self._converse(call, core)
        finally:
            call.cancel()
            await channels.give_back(shared, broken=error is not None)
        return error

    async def _converse(self, call: Any, core: ConsumerCore) -> ThespianDcError | None:
        reader = asyncio.create_task(self._read(call, core))
        writer = asyncio.create_task(self._write(call, core))
        tasks = {reader, writer}
        try:
            while True:
                silence_s = core.heartbeat_ms / 1000
                done, _ = await asyncio.wait(
                    tasks, timeout=silence_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                if done:
                    return None
                core.check_alive(now_us())
        except ThespianDcError as error:
            return error
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return await self._ended_by(call)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ended_by(self, call: Any) -> ThespianDcError:
        code, details = await call.code(), await call.details()
        metadata = await call.trailing_metadata()
        return error_of(self._remote.target, code, details or "", metadata or ())

    async def _read(self, call: Any, core: ConsumerCore) -> None:
        """Until the call ends (raises why), or must be asked again (returns)."""
        where = f"a batch of {self._remote.stream_id}"
        while (received := await call.read()) is not grpc.aio.EOF:
            message = read_from_producer(received)
            if isinstance(message, Beat):
                core.on_beat(now_us())
            elif isinstance(message, Started):
                if not core.on_started(message, now_us()):
                    return
                self._describe(message)
            elif isinstance(message, FilterInForce):
                said = core.on_in_force(message, now_us())
                self._events.filter_in_force(InForce(*said))
            elif isinstance(message, Offer):
                raise MalformedMessageError("a call's answer", "an Offer belongs to Push")
            else:
                batch = core.on_batch(read_batch(where, message), now_us())
                if batch is None:
                    self._wake.set()
                    continue
                self._unhandled += 1
                self._events.batch(batch)
                if self._unhandled >= BATCHES_MAX:
                    await self._room(core)
        raise PeerUnavailableError(self._remote.target, "the producer ended the call")

    async def _room(self, core: ConsumerCore) -> None:
        """Read nothing until some batches are handled; the producer is not silent, we are deaf."""
        while self._unhandled >= BATCHES_MAX // 2:
            core.on_beat(now_us())
            await asyncio.sleep(ROOM_S)

    def _describe(self, started: Started) -> None:
        if not self._described:
            self._described = True
            self._journal_id = started.journal_id
            self._events.started(
                SourceDescription(started.journal_id, started.entity_type, started.slices)
            )

    async def _write(self, call: Any, core: ConsumerCore) -> None:
        await call.write(write_from_consumer(core.first(uuid.uuid4().hex)))
        while True:
            self._wake.clear()
            now = now_us()
            credit, wanted = core.take_credit(), core.take_filter()
            if wanted is not None:
                await call.write(write_from_consumer(wanted))
                core.on_sent(now)
            if credit is not None:
                await call.write(write_from_consumer(credit))
                core.on_sent(now)
            elif core.beat_due(now):
                await call.write(write_from_consumer(Beat(time.time_ns() // 1000)))
                core.on_sent(now)
            try:
                async with asyncio.timeout(core.heartbeat_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                continue


def now_us() -> int:
    """Monotonic microseconds: heartbeats do not mind a clock that is set."""
    return time.monotonic_ns() // 1000

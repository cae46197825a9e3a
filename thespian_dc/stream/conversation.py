"""A consumer's side of one call, whichever end dialled: reads what the producer sends, answers with
credit, filters and beats. A shell around ConsumerCore; runs on the stream loop.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc.aio

from thespian_dc.model.replication_handshake import ReplicaStarted
from thespian_dc.model.stream_errors import MalformedMessageError, PeerUnavailableError
from thespian_dc.projection.api import FilterInForce, SourceBatch
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.batches import read_batch
from thespian_dc.stream.consumer_core import BATCHES_MAX, ConsumerCore
from thespian_dc.wire.conversion import (
    Beat,
    Credit,
    Offer,
    Started,
    read_from_producer,
    write_from_consumer,
)

WRITTEN_S = 2.0
"""How long a write that is under way may take where the call is over: of a server's call that is
ended in the midst of one, gRPC never sends the status."""
ROOM_S = 0.01
"""How often is looked whether batches were handled, where too many were not."""


class Ears(NamedTuple):
    """What a conversation calls, on the loop, in the order of the stream."""

    started: Callable[[Started], None]
    batch: Callable[[SourceBatch], None]
    in_force: Callable[[FilterInForce], None]
    replica: Callable[[ReplicaStarted], None] = lambda _: None
    """Of replica streams: with Started, and when something of it changed."""


class Conversation:
    """One call. line: has `read` and `write` of a grpc.aio call, of either end. unhandled: batches
    of earlier calls that are not handled yet."""

    def __init__(
        self, core: ConsumerCore, line: Any, ears: Ears, stream_id: str, peer: str,
        unhandled: int = 0,
    ) -> None:  # fmt: skip
        self.core, self._line, self._ears = core, line, ears
        self._where, self._peer = f"a batch of {stream_id}", peer
        self._over = False
        self._wake = asyncio.Event()
        self.unhandled = unhandled

    async def run(self) -> None:
        """Until the call must be asked again with the core's positions; raises what ended it
        otherwise."""
        writer = asyncio.create_task(self._write())
        tasks = {asyncio.create_task(self._read()), writer}
        try:
            while True:
                silence_s = self.core.heartbeat_ms / 1000
                done, _ = await asyncio.wait(
                    tasks, timeout=silence_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                if done:
                    return
                self.core.check_alive(now_us())
        finally:
            self._over = True
            self._wake.set()
            await asyncio.wait({writer}, timeout=WRITTEN_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """The core has something to say."""
        self._wake.set()

    def handled(self, cost: Credit) -> None:
        """A batch of this cost is handled for good; `wake` sends it back."""
        self.core.on_handled(cost)
        self.unhandled -= 1

    async def _read(self) -> None:
        """Until the call ends (raises why), or must be asked again (returns)."""
        core = self.core
        while (received := await self._line.read()) is not grpc.aio.EOF:
            message = read_from_producer(received)
            if isinstance(message, Beat):
                core.on_beat(now_us())
            elif isinstance(message, Started):
                if not core.on_started(message, now_us()):
                    return
                self._ears.started(message)
                if message.replica is not None:
                    self._ears.replica(message.replica)
            elif isinstance(message, ReplicaStarted):
                self._ears.replica(core.on_replica(message, now_us()))
            elif isinstance(message, FilterInForce):
                self._ears.in_force(core.on_in_force(message, now_us()))
            elif isinstance(message, Offer):
                raise MalformedMessageError("a call's answer", "an Offer belongs to Push")
            else:
                batch = core.on_batch(read_batch(self._where, message), now_us())
                if batch is None:
                    self._wake.set()
                    continue
                self.unhandled += 1
                self._ears.batch(batch)
                if self.unhandled >= BATCHES_MAX:
                    await self._room()
        raise PeerUnavailableError(self._peer, "the producer ended the call")

    async def _room(self) -> None:
        """Read nothing until some batches are handled; the producer is not silent, we are deaf."""
        while self.unhandled >= BATCHES_MAX // 2:
            self.core.on_beat(now_us())
            await asyncio.sleep(ROOM_S)

    async def _write(self) -> None:
        core, line = self.core, self._line
        await line.write(write_from_consumer(core.first(uuid.uuid4().hex)))
        while not self._over:
            self._wake.clear()
            now = now_us()
            credit, wanted = core.take_credit(), core.take_filter()
            if wanted is not None:
                await line.write(write_from_consumer(wanted))
                core.on_sent(now)
            known = core.take_known()
            if known is not None:
                await line.write(write_from_consumer(known))
                core.on_sent(now)
            if credit is not None:
                await line.write(write_from_consumer(credit))
                core.on_sent(now)
            elif core.beat_due(now):
                await line.write(write_from_consumer(Beat(time.time_ns() // 1000)))
                core.on_sent(now)
            try:
                async with asyncio.timeout(core.heartbeat_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                continue

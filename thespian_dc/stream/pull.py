"""One consumer's call at the producer: performs what its ProducerCore decides. Runs on the stream
loop."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from typing import Any, Protocol

import grpc.aio

from thespian_dc.journal.api import Journal
from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import JournalDivergedError, TrimmedError
from thespian_dc.model.history import History
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.position import NO_WRITE_ID, START, Position
from thespian_dc.model.replica_errors import NotAReplicaStreamError
from thespian_dc.model.replication_handshake import Known
from thespian_dc.model.stream_errors import PeerUnavailableError, WrongFirstMessageError
from thespian_dc.projection.api import SourceBatch, note_consumer
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.batches import write_batch
from thespian_dc.stream.history import CallHistory, check_history
from thespian_dc.stream.identity import Caller
from thespian_dc.stream.open_stream import OpenStream
from thespian_dc.stream.producer_core import BATCH_BYTES_MAX, ProducerCore, check_first
from thespian_dc.stream.replica_group import ReplicaReading
from thespian_dc.wire.conversion import (
    PROTOCOL,
    Start,
    Started,
    read_from_consumer,
    write_beat,
    write_filter_in_force,
    write_replica,
    write_started,
)

FIRST_MESSAGE_S = 10.0
"""How long a call may stay open without its Start, or its Offer."""


class Admission(Protocol):
    """What a call passes: the server's Gate, or where we dialled what we offered."""

    def check_filter(self, filter_: VersionedFilter) -> None: ...
    def change_filter(self, caller: Caller, filter_: VersionedFilter) -> None: ...
    async def find(
        self, kind: str, stream_id: str, consumer: str, caller: Caller, context: Any,
        replica_id: str = "",
    ) -> OpenStream: ...  # fmt: skip


class PullCall:
    """One call. A Waiter of the stream's tail. context: has `peer`, `read` and `write` of a
    grpc.aio call, of either end."""

    def __init__(self, gate: Admission, caller: Caller, pool: Executor, context: Any) -> None:
        self._gate, self._caller, self._pool, self._context = gate, caller, pool, context
        self._wake = asyncio.Event()
        self._error: Exception | None = None
        self._ended = False
        self._core: ProducerCore
        self._history: CallHistory | None = None
        self._reading: ReplicaReading | None = None
        self._reader: asyncio.Task[None] | None = None
        self.begun = False
        """Started was sent."""

    async def run(self) -> None:
        """Serve until the consumer ends the call; raises what is to end it otherwise."""
        received = await first_message(self._context)
        first = None if received is None else read_from_consumer(received)
        start = check_first(Start, first)
        self._gate.check_filter(start.filter)
        stream = await self._gate.find(
            "Pull", start.stream_id, start.consumer, self._caller, self._context,
            "" if start.replica is None else start.replica.replica_id,
        )  # fmt: skip
        reading = self._reading = await self._replica_reading(stream, start)
        self._core = ProducerCore(
            start, stream.slices, self._context.peer(), now_us(), stream.facts, stream.topic_prefix,
            None if reading is None else reading.leaving_out,
        )  # fmt: skip
        check_history(stream.setting, start.history)
        stream.calls.add(self)  # from here on it is told when the stream shows something else
        if stream.group is not None and reading is not None:
            stream.group.attend(self, reading)
        try:
            await self._begin(stream, start)
            await self._serve(stream)
        finally:
            stream.calls.discard(self)
            if stream.group is not None:
                stream.group.forget(self)
            stream.tail.forget(self)
            if self._history is not None:
                self._history.close()
            if self._reader is not None:
                self._reader.cancel()
                await asyncio.gather(self._reader, return_exceptions=True)

    async def _replica_reading(self, stream: OpenStream, start: Start) -> ReplicaReading | None:
        """Of a replica stream: the replicas meet."""
        if stream.group is None or start.replica is None:
            return None
        if start.history is not History.FULL:
            reason = f"it gives no history {start.history.name}"
            raise NotAReplicaStreamError(start.stream_id, reason)
        return await stream.group.open(start.replica)

    async def _begin(self, stream: OpenStream, start: Start) -> None:
        """Check the positions and say what the stream is."""
        loop, reading = asyncio.get_running_loop(), self._reading
        trusts = reading is None or reading.trusts_positions
        try:
            heads = await loop.run_in_executor(self._pool, check_positions, stream, start, trusts)
        except JournalDivergedError:
            if reading is not None and stream.group is not None:
                peer, named = reading.start.replica_id, reading.generation_named
                await stream.group.note_diverged(peer, named)
            raise
        if start.history is not History.FULL:
            self._history = CallHistory(stream, self._core, heads, self._pool)
        for slice_, head in heads.items():
            stream.tail.know_head(slice_, head)
        started = Started(
            PROTOCOL, stream.journal.journal_id, stream.entity_type, stream.slices, heads,
            self._core.heartbeat_ms, None if reading is None else reading.begun,
        )  # fmt: skip
        await self._context.write(write_started(started))
        self.begun = True
        self._reader = asyncio.create_task(self._read())

    def end(self, error: Exception) -> None:
        """End the call with this error at its next turn."""
        self._error = error
        self._wake.set()

    def wake(self) -> None:
        """There is something to say."""
        self._wake.set()

    def look_again(self) -> None:
        """The stream shows something else now."""
        if self._history is not None and self._history.active:
            reason = "what it shows changed while its history was read"
            self.end(PeerUnavailableError("the stream", reason))
        self._core.look_again()
        self._wake.set()

    # --- the tail's waiter ---

    def on_ready(self, slice_: int) -> None:
        self._core.on_ready(slice_)
        self._wake.set()

    def on_read_error(self, slice_: int, error: Exception) -> None:
        self.end(error)

    # --- reading ---

    async def _read(self) -> None:
        try:
            while (received := await self._context.read()) is not grpc.aio.EOF:
                message = read_from_consumer(received)
                if isinstance(message, VersionedFilter):
                    self._gate.change_filter(self._caller, message)
                self._core.on_message(message, now_us())
                self._wake.set()
                if isinstance(message, Known) and self._reading is not None:
                    await self._reading.on_known(message)
        except Exception as error:  # noqa: BLE001 - what ends the call, whatever it was
            self.end(error)
        self._ended = True
        self._wake.set()

    # --- writing ---

    async def _serve(self, stream: OpenStream) -> None:
        core, write = self._core, self._context.write
        while True:
            if self._error is not None:  # first: the reader sets both
                raise self._error
            if self._ended:
                return
            self._wake.clear()
            answer = core.take_answer()
            if answer is not None:
                await write(write_filter_in_force(answer))
                core.on_sent(now_us())
            while self._reading is not None and self._reading.is_due:
                changed = await self._reading.take_change()
                if changed is not None:
                    await write(write_replica(changed))
                    core.on_sent(now_us())
            progress = await self._send_one(stream)
            now = now_us()
            if core.beat_due(now):
                await write(write_beat(time.time_ns() // 1000))
                core.on_sent(now)
            if not progress:
                await self._sleep((core.wakeup_us() - now) / 1e6)

    async def _send_one(self, stream: OpenStream) -> bool:
        """Send the next batch that is here, or look through what nothing passes of; False when
        there is neither, or no credit for it."""
        core, now = self._core, now_us()
        slice_ = core.held_long(now)
        if slice_ is not None:
            await self._send(core.let_go(slice_, stream.tail.head(slice_)))
            return True
        for slice_ in core.turns():
            tail, offset = stream.tail, core.offset(slice_)
            history = self._history
            if history is not None and not history.covers(slice_, offset):
                history = None
            commits = (history or tail).take(slice_, offset, BATCH_BYTES_MAX, self)
            if not commits:
                core.on_nothing(slice_)
                (history or tail).want(slice_, offset, self)
                continue
            batch = core.form(slice_, commits, tail.head(slice_), now)
            if batch is not None:
                await self._send(batch)
                return True
            if core.offset(slice_) > offset:
                await asyncio.sleep(0)  # others have their turn on the loop
                return True
        return False

    async def _send(self, batch: SourceBatch) -> None:
        await self._context.write(write_batch(batch))
        self._core.on_sent(now_us())

    async def _sleep(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(max(longest_s, 0)):
                await self._wake.wait()
        except TimeoutError:
            return


def check_positions(stream: OpenStream, start: Start, trusted: bool = True) -> dict[int, int]:
    """Compare every position with the journal and return the heads; JournalDivergedError. trusted:
    False where they are known to say nothing. Blocks."""
    journal, tail = stream.journal, stream.tail
    if trusted and start.journal_id and start.journal_id != journal.journal_id:
        reason = f"its id is {journal.journal_id}, the positions are of {start.journal_id}"
        raise JournalDivergedError(f"stream {stream.stream_id}", 0, reason)
    heads = {}
    for slice_, at in (start.positions or dict.fromkeys(range(tail.slices), START)).items():
        key = SliceKey(tail.entity_type, slice_)
        where = f"stream {stream.stream_id} slice {slice_}"
        heads[slice_] = head = journal.find_head(key).head
        if not trusted:
            continue
        if at.offset > head:
            raise JournalDivergedError(where, at.offset, f"its head is {head}")
        named = at.write_id != NO_WRITE_ID  # set by hand it names no commit
        if named and not is_before(journal, key, at, start.history):
            raise JournalDivergedError(where, at.offset, "another commit stands before it")
    if stream.group is None and start.history is History.FULL and not start.looks_on:
        here = {slice_: start.positions.get(slice_, START).offset for slice_ in heads}
        note_consumer(journal, tail.entity_type, f"{stream.stream_id} to {start.consumer}", here,
                      now_us())  # fmt: skip
    return heads


def is_before(journal: Journal, key: SliceKey, at: Position, history: History) -> bool:
    """Does the commit that a position names stand before it? Of trimmed ones nobody can tell: that
    is enough for who goes on with states, and TrimmedError for all others."""
    try:
        return journal.position_before(key, at.offset).write_id == at.write_id
    except TrimmedError:
        if history is History.FULL:
            raise
        return True


async def first_message(context: Any) -> bytes | None:
    """What a caller sends first, None where it ended the call; WrongFirstMessageError where nothing
    comes."""
    try:
        async with asyncio.timeout(FIRST_MESSAGE_S):
            received = await context.read()
    except TimeoutError as error:
        raise WrongFirstMessageError(f"silence of {FIRST_MESSAGE_S:.0f} s") from error
    return None if received is grpc.aio.EOF else received

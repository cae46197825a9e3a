"""Replicas that this node cannot dial: each brings its log by a call that it opened. Runs on the
stream loop.

A call is lent, whole, to the one link of this service that reads that replica: `relay.py`. When the
link is done with it the replica is asked to call again.

Laws:
- A replica is who its certificate says (ReplicaGroup.check_caller), and one that is not listed as
  an edge is answered as one that is not listed at all.
- Of one replica the latest call counts, at whichever node of this service it came in: that one
  says so in the registry.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import grpc.aio

from thespian_dc.journal.api import Journal, change_entry
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.push_errors import OriginRefusedError, PushBeginsAgainError
from thespian_dc.model.stream_errors import MalformedMessageError, PeerUnavailableError
from thespian_dc.stream.conversation import WRITTEN_S
from thespian_dc.stream.identity import Caller
from thespian_dc.stream.replica_group import ReplicaGroup
from thespian_dc.wire.conversion import Offer
from thespian_dc.wire.pushed import Question, Reply, reply_in, write_question

log = logging.getLogger(__name__)

CALLED_S = 5.0
"""How long a link waits for a replica to call."""
ANSWER_S = 20.0
"""How long an answer may take."""
AHEAD_MAX = 4_000
"""Messages of the stream that are read ahead of the link, so that answers are not held up behind
them. What they hold is within the link's credit."""
Key = tuple[str, str]
"""A replica stream's id, and the replica that brings it."""


def edge_entry(stream_id: str, replica_id: str) -> str:
    """The registry's entry that says where a link finds this replica's call: [target, token]."""
    return f"replica_edge:{stream_id}:{replica_id}"


class EdgeLine:
    """One call of a replica. context: of a grpc.aio server."""

    def __init__(self, offer: Offer, context: Any) -> None:
        self.offer, self._context = offer, context
        self.peer = f"replica {offer.origin}"
        self.lent = False
        self._writing = asyncio.Lock()
        self._sending: set[asyncio.Task[None]] = set()  # bounded by the relay's calls
        self._asked: dict[int, asyncio.Future[Reply]] = {}  # bounded by the relay's calls
        self._count = 0
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._down: asyncio.Queue[bytes] = asyncio.Queue(maxsize=AHEAD_MAX)

    async def run(self) -> None:
        """Until either end is done; raises what ends the call from here."""
        reading = asyncio.create_task(self._read())
        try:
            either: set[asyncio.Future[None]] = {reading, self._over}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._over.done():
                self._over.result()
            reading.result()
        finally:
            self.end(PeerUnavailableError(self.peer, "it ended its call"))
            self._over.exception()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            if self._sending:  # see WRITTEN_S
                await asyncio.wait(self._sending, timeout=WRITTEN_S)

    def end(self, error: ThespianDcError) -> None:
        """Whoever waits for something is told; the first error counts."""
        if not self._over.done():
            self._over.set_exception(error)
        for future in self._asked.values():
            if not future.done():
                future.set_exception(error)
                future.exception()

    async def _read(self) -> None:
        while (received := await self._context.read()) is not grpc.aio.EOF:
            reply = reply_in(self.peer, received)
            if reply is None:
                if not self.lent:
                    raise MalformedMessageError("a call's answer", "nobody asked for it yet")
                await self._down.put(received)
            elif reply.nr == 0:
                ended = PeerUnavailableError(self.peer, "it ended its call")
                self.end(reply.error or ended)
            else:
                asked = self._asked.get(reply.nr)
                if asked is not None and not asked.done():
                    asked.set_result(reply)

    async def write(self, message: bytes) -> None:
        """To the replica; PeerUnavailableError. What is begun goes on where this is cancelled."""
        sending = asyncio.create_task(self._send(message))
        self._sending.add(sending)
        sending.add_done_callback(self._sent)
        await asyncio.shield(sending)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._sending.discard(sending)
        if not sending.cancelled():
            sending.exception()  # whoever waited has it

    async def _send(self, message: bytes) -> None:
        try:
            async with self._writing:
                await self._context.write(message)
        except Exception as error:
            reason = f"it does not take messages any more ({type(error).__name__})"
            raise PeerUnavailableError(self.peer, reason) from error

    async def next(self) -> bytes:
        """The next message of the stream; raises what ended the call."""
        if not self._down.empty():
            return self._down.get_nowait()
        taking: asyncio.Task[bytes] = asyncio.create_task(self._down.get())
        try:
            either: set[asyncio.Future[Any]] = {taking, self._over}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
            self._over.result()
            raise AssertionError("it ends by an error")
        finally:
            taking.cancel()

    async def ask(self, method: str, request: bytes) -> bytes:
        """A question's answer; what the replica raised, or PeerUnavailableError."""
        self._count += 1
        nr = self._count
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[nr] = future
        try:
            if self._over.done():
                self._over.result()
            await self.write(write_question(Question(nr, method, request)))
            async with asyncio.timeout(ANSWER_S):
                reply = await future
        except TimeoutError as error:
            reason = f"no answer within {ANSWER_S:.0f} s"
            raise PeerUnavailableError(self.peer, reason) from error
        finally:
            del self._asked[nr]
        if reply.error is not None:
            raise reply.error
        return reply.answer


class Edges:
    """All of a server. groups: by stream id."""

    def __init__(
        self, groups: Mapping[str, ReplicaGroup], journal: Journal, pool: Executor
    ) -> None:
        self._groups, self._journal, self._pool = groups, journal, pool
        self._lines: dict[Key, EdgeLine] = {}
        self._called = asyncio.Condition()
        self._target = ""
        self._tokens = {
            (stream_id, peer.replica_id): secrets.token_hex(16)
            for stream_id, group in groups.items()
            for peer in group.setting.peers
            if peer.edge and not peer.target
        }

    @property
    def expected(self) -> bool:
        """Is there any such replica?"""
        return bool(self._tokens)

    async def announce(self, target: str) -> None:
        """Say in the registry where links find the calls: here, unless one comes in elsewhere."""
        self._target = target
        for key in self._tokens:
            await self._say_here(key)

    async def _say_here(self, key: Key) -> None:
        entry, value = edge_entry(*key), [self._target, self._tokens[key]]
        await asyncio.get_running_loop().run_in_executor(self._pool, self._store, entry, value)

    def _store(self, name: str, value: list[str]) -> None:
        change_entry(self._journal, name, lambda _: (value, None))

    def check(self, offer: Offer, caller: Caller) -> None:
        """OriginRefusedError where nobody of that name calls here, and what check_caller raises."""
        group = self._groups.get(offer.stream_id)
        if group is None or (offer.stream_id, offer.origin) not in self._tokens:
            facts = {"stream_id": offer.stream_id, "origin": offer.origin, "peer": caller.peer}
            log.warning("replica_refused", extra=facts)
            raise OriginRefusedError(offer.stream_id, offer.origin)
        group.check_caller(offer.origin, caller)

    async def serve(self, offer: Offer, context: Any) -> None:
        """A call that `check` let in, to its end."""
        key, line = (offer.stream_id, offer.origin), EdgeLine(offer, context)
        await self._say_here(key)
        async with self._called:
            before = self._lines.get(key)
            self._lines[key] = line
            self._called.notify_all()
        if before is not None:
            before.end(PeerUnavailableError(before.peer, "it called again"))
        group = self._groups[offer.stream_id]

        def end_retired() -> None:
            try:
                group.check_retired(offer.origin)
            except ThespianDcError as error:
                line.end(error)

        group.watchers.add(end_retired)
        try:
            await line.run()
        finally:
            group.watchers.discard(end_retired)
            if self._lines.get(key) is line:
                del self._lines[key]

    def key_of(self, token: str) -> Key | None:
        """What a link with this token may read."""
        return next((key for key, one in self._tokens.items() if one == token), None)

    async def line(self, key: Key, lend: bool) -> EdgeLine:
        """The replica's call, which may take it a moment; lend: to nobody else from now on.
        PeerUnavailableError."""

        def found() -> EdgeLine | None:
            line = self._lines.get(key)
            return None if line is None or (lend and line.lent) else line

        try:
            async with asyncio.timeout(CALLED_S), self._called:
                while (line := found()) is None:
                    await self._called.wait()
                line.lent = line.lent or lend
                return line
        except TimeoutError as error:
            reason = "it brings its log by calls of its own, and has none open"
            raise PeerUnavailableError(f"replica {key[1]}", reason) from error

    def give_back(self, line: EdgeLine) -> None:
        """The link is done with it; its replica calls again at once."""
        line.end(PushBeginsAgainError(line.offer.stream_id, line.offer.origin))

    def facts(self) -> list[str]:
        """The open calls, as "stream of replica"."""
        return sorted(f"{stream_id} of {replica_id}" for stream_id, replica_id in self._lines)

    def stop(self, error: ThespianDcError) -> None:
        """End all calls."""
        for line in list(self._lines.values()):
            line.end(error)

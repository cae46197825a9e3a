"""A replica's log that this node brings to a peer which cannot dial it: as a push is, and questions
are answered on the same call. Runs on the stream loop.

Beginning and end are the peer's: a call waits for its Start, for long where need be, and whatever
ends it from here is said on it first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

import grpc.aio

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.replica_errors import WrongReplicaError
from thespian_dc.model.replication_settings import Peer
from thespian_dc.model.settings import Push
from thespian_dc.model.stream_errors import (
    MalformedMessageError,
    PeerUnavailableError,
    UnknownStreamError,
)
from thespian_dc.stream.channels import Channels
from thespian_dc.stream.dialled import DialledLine
from thespian_dc.stream.identity import Caller
from thespian_dc.stream.open_stream import OpenStream, OpenStreams
from thespian_dc.stream.pull import PullCall
from thespian_dc.stream.push import Offered, Pusher
from thespian_dc.stream.questions import Question as Asked
from thespian_dc.stream.questions import Questions
from thespian_dc.stream.replica_group import ReplicaGroup
from thespian_dc.wire.pushed import Question, Reply, question_in, write_reply

IDLE_S = 60.0
"""A call on which nothing comes for so long before its Start is opened again."""
QUESTIONS_MAX = 32
"""Of one call that are answered side by side; further messages wait."""


class QuestionedLine:
    """A line on which questions come beside the stream; `read` gives what belongs to the stream."""

    def __init__(self, line: DialledLine, answer: Callable[[Question], Awaitable[bytes]]) -> None:
        self._line, self._answer = line, answer
        self._first: deque[Any] = deque(maxlen=1)
        self._writing = asyncio.Lock()
        self._answering: set[asyncio.Task[None]] = set()  # bounded by QUESTIONS_MAX

    def peer(self) -> str:
        return self._line.peer()

    async def wait(self) -> None:
        """Until something of the stream comes; PeerUnavailableError where nothing does."""
        while not self._first:
            try:
                async with asyncio.timeout(IDLE_S):
                    received = await self._line.read()
            except TimeoutError as error:
                reason = f"nothing came for {IDLE_S:.0f} s"
                raise PeerUnavailableError(self.peer(), reason) from error
            if not await self._is_question(received):
                self._first.append(received)

    async def read(self) -> Any:
        if self._first:
            return self._first.popleft()
        while await self._is_question(received := await self._line.read()):
            continue
        return received

    async def write(self, message: bytes) -> None:
        async with self._writing:
            await self._line.write(message)

    async def end(self, error: ThespianDcError) -> None:
        """Say why nothing more comes."""
        await self.write(write_reply(Reply(0, b"", error)))

    async def close(self) -> None:
        """Nobody waits for answers any more."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _is_question(self, received: Any) -> bool:
        question = None if received is grpc.aio.EOF else question_in(received)
        if question is None:
            return False
        if len(self._answering) >= QUESTIONS_MAX:
            await asyncio.wait(self._answering, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._reply(question))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return True

    async def _reply(self, question: Question) -> None:
        try:
            reply = Reply(question.nr, await self._answer(question))
        except ThespianDcError as error:
            reply = Reply(question.nr, b"", error)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            reason = f"{type(error).__name__}: {error}"
            reply = Reply(question.nr, b"", PeerUnavailableError("the replica", reason))
        await self.write(write_reply(reply))


class OfferedToReplica(Offered):
    """The peer that was dialled may read the log, and nobody else."""

    def __init__(self, stream: OpenStream, group: ReplicaGroup, peer: Peer) -> None:
        super().__init__(stream.stream_id, stream)
        self._group, self._peer = group, peer

    async def find(
        self, kind: str, stream_id: str, consumer: str, caller: Caller, context: Any,
        replica_id: str = "",
    ) -> OpenStream:  # fmt: skip
        """See Admission; UnknownStreamError, WrongReplicaError, RetiredReplicaError."""
        if not replica_id:
            raise UnknownStreamError(stream_id)
        if replica_id != self._peer.replica_id:
            raise WrongReplicaError(self._peer.target, self._peer.replica_id, replica_id)
        self._group.check_retired(replica_id)
        return await super().find(kind, stream_id, consumer, caller, context, replica_id)


class ReplicaPusher(Pusher):
    """Brings a replica's log to one peer."""

    def __init__(
        self, group: ReplicaGroup, peer: Peer, streams: OpenStreams, pool: Executor,
        channels: Channels, questions: Questions,
    ) -> None:  # fmt: skip
        setting = group.setting
        tls, plaintext = peer.dialled_tls, peer.plaintext_beyond_loopback
        push = Push(setting.stream_id, peer.target, tls, plaintext)
        super().__init__(push, setting.replica_id, streams, pool, channels)
        self._group, self._peer, self._questions = group, peer, questions

    async def _serve(self, line: DialledLine, stream: OpenStream) -> None:
        admission = OfferedToReplica(stream, self._group, self._peer)
        caller = Caller(self._peer.target, frozenset())

        async def answer(question: Question) -> bytes:
            async def find(asked: Asked) -> OpenStream:
                return await admission.find(
                    question.method, asked.stream_id, asked.consumer, caller, line, asked.replica_id
                )

            found = self._questions.by_method.get(question.method)
            if found is None:
                raise MalformedMessageError("a Question", f"no method {question.method!r:.60}")
            return await found(question.request, find)

        questioned = QuestionedLine(line, answer)
        try:
            await questioned.wait()
            self._call = PullCall(admission, caller, self._pool, questioned)
            await self._call.run()
        except ThespianDcError as error:
            await questioned.end(error)
            raise
        finally:
            await questioned.close()

"""The unary calls of a server: LookUp, Heads, PositionAt. Runs on the stream loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

import grpc

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.stream.lookups import check_protocol, heads, look_up, position_at
from thespian_dc.stream.open_stream import OpenStreams
from thespian_dc.wire.lookups import (
    read_heads,
    read_look_up,
    read_position_at,
    write_heads_answer,
    write_position_at_answer,
)
from thespian_dc.wire.status import status_of

log = logging.getLogger(__name__)


class Questions:
    """Answers about streams; what is wrong ends a call by its name."""

    def __init__(self, streams: OpenStreams, pool: Executor) -> None:
        self._streams, self._pool = streams, pool

    def handlers(self) -> dict[str, Any]:
        """By the names of the methods."""
        answers = {"LookUp": self._look_up, "Heads": self._heads, "PositionAt": self._position_at}
        return {
            name: grpc.unary_unary_rpc_method_handler(_named(answer))
            for name, answer in answers.items()
        }

    async def _look_up(self, received: bytes) -> bytes:
        request = read_look_up(received)
        return await look_up(self._streams.find(request.stream_id), request, self._pool)

    async def _heads(self, received: bytes) -> bytes:
        request = read_heads(received)
        check_protocol(request.protocol)
        return write_heads_answer(await self._run(heads, self._streams.find(request.stream_id)))

    async def _position_at(self, received: bytes) -> bytes:
        request = read_position_at(received)
        check_protocol(request.protocol)
        stream = self._streams.find(request.stream_id)
        return write_position_at_answer(await self._run(position_at, stream, request.time_us))

    async def _run(self, answer: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, answer, *arguments)


def _named(
    answer: Callable[[bytes], Awaitable[bytes]],
) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answered(received: bytes, context: Any) -> bytes:
        try:
            return await answer(received)
        except ThespianDcError as error:
            facts = {"peer": context.peer(), "error": f"{type(error).__name__}: {error}"}
            log.warning("question_refused", extra=facts)
            await context.abort(*status_of(error))
            raise AssertionError("abort raises") from error

    return answered

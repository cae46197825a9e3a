"""The unary calls of a server: LookUp, Heads, PositionAt, EntityState. Runs on the stream loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

import grpc

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.stream.gate import Gate
from thespian_dc.stream.lookups import (
    check_journal,
    check_protocol,
    entity_state,
    heads,
    look_up,
    position_at,
)
from thespian_dc.stream.open_stream import OpenStream
from thespian_dc.wire.lookups import (
    EntityStateRequest,
    HeadsRequest,
    LookUpRequest,
    PositionAtRequest,
    read_entity_state,
    read_heads,
    read_look_up,
    read_position_at,
    write_entity_state_answer,
    write_heads_answer,
    write_position_at_answer,
)

Question = LookUpRequest | HeadsRequest | PositionAtRequest | EntityStateRequest
Find = Callable[[Question], Awaitable[OpenStream]]
Answer = Callable[[bytes, Find], Awaitable[bytes]]


class Questions:
    """Answers about streams; what is wrong ends a call by its name."""

    def __init__(self, gate: Gate, pool: Executor) -> None:
        self._gate, self._pool = gate, pool

    def handlers(self) -> dict[str, Any]:
        """By the names of the methods."""
        answers = {
            "LookUp": self._look_up, "Heads": self._heads, "PositionAt": self._position_at,
            "EntityState": self._entity_state,
        }  # fmt: skip
        return {
            name: grpc.unary_unary_rpc_method_handler(self._guarded(name, answer))
            for name, answer in answers.items()
        }

    async def _look_up(self, received: bytes, find: Find) -> bytes:
        request = read_look_up(received)
        return await look_up(await find(request), request, self._pool)

    async def _heads(self, received: bytes, find: Find) -> bytes:
        request = read_heads(received)
        check_protocol(request.protocol)
        return write_heads_answer(await self._run(heads, await find(request)))

    async def _position_at(self, received: bytes, find: Find) -> bytes:
        request = read_position_at(received)
        check_protocol(request.protocol)
        stream = await find(request)
        return write_position_at_answer(await self._run(position_at, stream, request.time_us))

    async def _entity_state(self, received: bytes, find: Find) -> bytes:
        request = read_entity_state(received)
        check_protocol(request.protocol)
        stream = await find(request)
        check_journal(stream, request.journal_id)
        return write_entity_state_answer(await self._run(entity_state, stream, request.entity_id))

    async def _run(self, answer: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, answer, *arguments)

    def _guarded(self, kind: str, answer: Answer) -> Callable[[bytes, Any], Awaitable[bytes]]:
        gate = self._gate

        async def answered(received: bytes, context: Any) -> bytes:
            try:
                with gate.question(context) as caller:

                    async def find(asked: Question) -> OpenStream:
                        return await gate.find(
                            kind, asked.stream_id, asked.consumer, caller, context,
                            asked.replica_id,
                        )  # fmt: skip

                    return await answer(received, find)
            except ThespianDcError as error:
                await gate.refuse(context, error)

        return answered

"""The unary calls of a server: LookUp, Heads, PositionAt, and of replica streams
EntityState, EntityIds. Runs on the stream loop."""

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
    entity_ids,
    entity_state,
    heads,
    look_up,
    position_at,
)
from thespian_dc.stream.open_stream import OpenStream
from thespian_dc.wire.lookups import (
    EntityIdsRequest,
    EntityStateRequest,
    HeadsRequest,
    LookUpRequest,
    PositionAtRequest,
    read_entity_ids,
    read_entity_state,
    read_heads,
    read_look_up,
    read_position_at,
    write_entity_ids_answer,
    write_entity_state_answer,
    write_heads_answer,
    write_position_at_answer,
)

METHODS = ("LookUp", "Heads", "PositionAt", "EntityState", "EntityIds")
Question = LookUpRequest | HeadsRequest | PositionAtRequest | EntityStateRequest | EntityIdsRequest
Find = Callable[[Question], Awaitable[OpenStream]]
Answer = Callable[[bytes, Find], Awaitable[bytes]]


class Questions:
    """Answers about streams; what is wrong is raised by its name."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        answers = (
            self._look_up, self._heads, self._position_at, self._entity_state, self._entity_ids,
        )  # fmt: skip
        self.by_method: dict[str, Answer] = dict(zip(METHODS, answers, strict=True))

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
        asked = request.entity_id, request.fresh, request.shown_version
        return write_entity_state_answer(await self._run(entity_state, stream, *asked))

    async def _entity_ids(self, received: bytes, find: Find) -> bytes:
        request = read_entity_ids(received)
        check_protocol(request.protocol)
        stream = await find(request)
        check_journal(stream, request.journal_id)
        return write_entity_ids_answer(await self._run(entity_ids, stream, request))

    async def _run(self, answer: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, answer, *arguments)


def handlers(questions: Questions, gate: Gate) -> dict[str, Any]:
    """Of a server, by the names of the methods: what is wrong ends a call by its name."""
    return {
        name: grpc.unary_unary_rpc_method_handler(_guarded(gate, name, answer))
        for name, answer in questions.by_method.items()
    }


def _guarded(gate: Gate, kind: str, answer: Answer) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answered(received: bytes, context: Any) -> bytes:
        try:
            with gate.question(context) as caller:

                async def find(asked: Question) -> OpenStream:
                    return await gate.find(
                        kind, asked.stream_id, asked.consumer, caller, context, asked.replica_id
                    )

                return await answer(received, find)
        except ThespianDcError as error:
            await gate.refuse(context, error)

    return answered

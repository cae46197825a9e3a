"""Questions to the producer of a stream: events of one entity, heads, positions of a time. Runs on
the stream loop, over the channel that all streams of this process to that target share.

What refuses or breaks a question is raised by its name; `retryable` says whether to ask again.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from thespian_dc.model.history import History
from thespian_dc.model.settings import Remote
from thespian_dc.projection.api import LookedUp, Lookup
from thespian_dc.stream.channels import SERVICE, Channels, metadata_of
from thespian_dc.stream.lookups import read_answer
from thespian_dc.stream.trust import explained
from thespian_dc.wire.conversion import Credit
from thespian_dc.wire.lookups import (
    EntityIds,
    EntityIdsRequest,
    EntityState,
    EntityStateRequest,
    HeadsRequest,
    LookUpRequest,
    PositionAtRequest,
    Positions,
    read_entity_ids_answer,
    read_entity_state_answer,
    read_heads_answer,
    read_look_up_answer,
    read_position_at_answer,
    write_entity_ids,
    write_entity_state,
    write_heads,
    write_look_up,
    write_position_at,
)
from thespian_dc.wire.status import error_of

ANSWER_S = 20.0
"""How long an answer may take."""


class LookupsClient:
    """Of one remote stream. consumer: for the producer's logs and limits. Of replica streams,
    replica_id: our own; shown_version: of what is shown, as we were told last."""

    def __init__(
        self, channels: Channels, remote: Remote, consumer: str, replica_id: str = "",
        shown_version: int | None = None,
    ) -> None:  # fmt: skip
        self._channels, self._remote, self._consumer = channels, remote, consumer
        self._replica_id, self._shown_version = replica_id, shown_version

    async def look_up(
        self, lookup: Lookup, limit: Credit, journal_id: str, history: History = History.FULL
    ) -> LookedUp:
        """One answer of at most `limit`, or one event; with `more`, ask again from
        complete_through + 1. journal_id: of the asker's positions, "" for any."""
        request = LookUpRequest(
            self._remote.stream_id, lookup.entity_id, lookup.from_seq_nr, lookup.until_seq_nr,
            lookup.from_offset, limit, journal_id, self._consumer, history=history,
            replica_id=self._replica_id, shown_version=self._shown_version,
        )  # fmt: skip
        answer = await self._ask("LookUp", write_look_up(request))
        return read_answer(lookup, read_look_up_answer(answer))

    async def heads(self) -> Positions:
        """The position behind the last record of every slice, now."""
        request = HeadsRequest(self._remote.stream_id, self._consumer, replica_id=self._replica_id)
        return read_heads_answer(await self._ask("Heads", write_heads(request)))

    async def positions_at(self, time_us: int) -> Positions:
        """Of every slice, the position before the first record written at time_us or later."""
        request = PositionAtRequest(
            self._remote.stream_id, time_us, self._consumer, replica_id=self._replica_id
        )
        return read_position_at_answer(await self._ask("PositionAt", write_position_at(request)))

    async def entity_state(self, entity_id: str, journal_id: str, fresh: bool) -> EntityState:
        """The stored state of an entity, of a replica stream. journal_id: as of look_up. fresh: see
        EntityStateRequest."""
        request = EntityStateRequest(
            self._remote.stream_id, entity_id, self._replica_id, journal_id, self._consumer,
            fresh=fresh, shown_version=self._shown_version,
        )  # fmt: skip
        answer = await self._ask("EntityState", write_entity_state(request))
        return read_entity_state_answer(answer)

    async def entity_ids(self, slice_: int, after: str, journal_id: str) -> EntityIds:
        """The next entities that have a stored state, of a replica stream; see EntityIdsRequest."""
        request = EntityIdsRequest(
            self._remote.stream_id, slice_, after, 0, self._replica_id, journal_id, self._consumer,
            shown_version=self._shown_version,
        )  # fmt: skip
        while True:
            received = await self._ask("EntityIds", write_entity_ids(request))
            answer = read_entity_ids_answer(received)
            if answer.ids or not answer.more:
                return answer
            request = request._replace(resume=answer.resume)

    async def _ask(self, method: str, request: bytes) -> bytes:
        carried = metadata_of(self._remote)
        shared = self._channels.take(self._remote.target, self._remote.tls)
        broken = False
        try:
            call: Any = shared.channel.unary_unary(f"/{SERVICE}/{method}")
            answer: bytes = await call(request, timeout=ANSWER_S, metadata=carried)
        except grpc.aio.AioRpcError as error:
            broken = error.code() is grpc.StatusCode.UNAVAILABLE
            metadata = error.trailing_metadata() or ()
            said = error_of(self._remote.target, error.code(), error.details() or "", metadata)
            raise await explained(self._remote.target, self._remote.tls, said) from error
        finally:
            await self._channels.give_back(shared, broken)
        return answer

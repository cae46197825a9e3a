"""A stream that this node brings to a destination: dials, offers it, and serves the call as it
would serve one that somebody else opened. Runs on the stream loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from thespian_dc.model.criteria import VersionedFilter
from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.push_errors import PushBeginsAgainError
from thespian_dc.model.settings import Push, Stream
from thespian_dc.model.stream_errors import PeerUnavailableError, UnknownStreamError
from thespian_dc.stream.channels import PUSH_METHOD, Channels, metadata_of
from thespian_dc.stream.consumer_core import Reconnect
from thespian_dc.stream.dialled import DialledLine
from thespian_dc.stream.identity import Caller
from thespian_dc.stream.open_stream import OpenStream, OpenStreams
from thespian_dc.stream.pull import PullCall
from thespian_dc.stream.trust import explained
from thespian_dc.wire.conversion import PROTOCOL, Offer, write_offer

log = logging.getLogger(__name__)


class Offered:
    """Implements pull.Admission: a destination may ask for what it was offered, and nothing
    else. Its filter is bounded as every filter is."""

    def __init__(self, stream_id: str, stream: OpenStream) -> None:
        self._stream_id, self._stream = stream_id, stream

    def check_filter(self, filter_: VersionedFilter) -> None:
        """See Admission."""

    def change_filter(self, caller: Caller, filter_: VersionedFilter) -> None:
        """See Admission."""

    async def find(
        self, kind: str, stream_id: str, consumer: str, caller: Caller, context: Any,
        replica_id: str = "",
    ) -> OpenStream:  # fmt: skip
        """See Admission; UnknownStreamError."""
        if stream_id != self._stream_id:
            raise UnknownStreamError(stream_id)
        self._stream.check()
        return self._stream


class PushCall(PullCall):
    """A call of a Pusher, which says how far it is."""

    def facts(self, stream: OpenStream) -> dict[str, Any]:
        """See Pusher.facts; only once it began."""
        sent = self._core.sent
        heads = {slice_: max(at, stream.tail.head(slice_)) for slice_, at in sent.items()}
        return {
            "positions": sent,
            "heads": heads,
            "lag": sum(heads.values()) - sum(sent.values()),
            "unhandled": max(0, self._core.unhandled),
        }


class Pusher:
    """One Push setting: dials again and again until it is cancelled. origin: who offers."""

    def __init__(
        self, push: Push, origin: str, streams: OpenStreams, pool: Executor, channels: Channels
    ) -> None:
        self._push, self._origin = push, origin
        self._streams, self._pool, self._channels = streams, pool, channels
        self._call: PullCall | None = None
        self.reconnects = 0
        """Calls that ended."""
        self.last_error: Exception | None = None
        """Why the last one did."""

    async def run(self) -> None:
        """For ever."""
        reconnect = Reconnect()
        while True:
            error = await self._one_call()
            if isinstance(error, ThespianDcError):
                error = await explained(self._push.target, self._push.tls, error)
            self.last_error = error
            worked = self._call is not None and self._call.begun
            self._call = None
            self.reconnects += 1
            if worked:
                reconnect.on_worked()
                if isinstance(error, PushBeginsAgainError):
                    continue
            pause_ms = reconnect.pause_ms(random.random())
            facts = {"stream_id": self._push.stream_id, "target": self._push.target}
            text = f"{type(error).__name__}: {error}"
            log.warning("push_broke", extra={**facts, "error": text, "retry_in_ms": pause_ms})
            await asyncio.sleep(pause_ms / 1000)

    async def _one_call(self) -> Exception:
        """Why it ended."""
        push, broken = self._push, True
        try:
            stream, metadata = self._stream(), metadata_of(push)
            shared = self._channels.take(push.target, push.tls)
        except ThespianDcError as error:
            return error
        call: Any = shared.channel.stream_stream(PUSH_METHOD)(metadata=metadata)
        line = DialledLine(call, push.target)
        try:
            offer = Offer(
                PROTOCOL, stream.stream_id, self._origin, stream.journal.journal_id,
                stream.entity_type, stream.slices,
            )  # fmt: skip
            await line.write(write_offer(offer))
            await self._serve(line, stream)
            return PeerUnavailableError(push.target, "the destination ended the call")
        except ThespianDcError as error:
            broken = not isinstance(error, PushBeginsAgainError)
            return error
        except Exception as error:
            log.exception("push_failed", extra={"stream_id": push.stream_id})
            return error
        finally:
            call.cancel()
            await self._channels.give_back(shared, broken=broken)

    async def _serve(self, line: DialledLine, stream: OpenStream) -> None:
        """Serve the call to its end."""
        admission = Offered(self._push.stream_id, stream)
        caller = Caller(self._push.target, frozenset())
        self._call = PushCall(admission, caller, self._pool, line)
        await self._call.run()

    def _stream(self) -> OpenStream:
        stream = self._streams.by_id[self._push.stream_id]
        stream.check()
        return stream

    def facts(self) -> dict[str, Any]:
        """stream_id, target; connected; error: why not, or why the last call ended. While connected
        positions: by slice, below which all was sent; heads: of our log; lag: how many records
        stand between the two; unhandled: events sent of which the destination has not said that
        they are in its log, which it says by quarters of its window or when nothing is left."""
        error, call = self.last_error, self._call
        connected = call is not None and call.begun
        progress = {}
        if connected and isinstance(call, PushCall):
            progress = call.facts(self._streams.by_id[self._push.stream_id])
        return {
            "stream_id": self._push.stream_id,
            "target": self._push.target,
            "connected": connected,
            "reconnects": self.reconnects,
            "error": f"{type(error).__name__}: {error}" if error else "",
            **progress,
        }


def brought_by(pushes: Sequence[Push]) -> list[Stream]:
    """Streams that are only pushed, each once."""
    own = {one.stream_id: one.stream for one in pushes if isinstance(one.stream, Stream)}
    return list(own.values())

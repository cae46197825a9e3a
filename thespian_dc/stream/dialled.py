"""A call that this node opened, whichever end produces: messages both ways, and the named error
that the other end ended it with. Runs on the stream loop.

Law: nothing hides why the other end ended a call. gRPC's own `write` does: one that comes when the
end is under way fails, and gRPC then sets a status of its own ("Internal error from Core") before
the other end's has arrived, which is dropped. Hence messages are written a layer below.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc
import grpc.aio

from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.wire.status import error_of

_FAILURES = (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError)


class DialledLine:
    """call: of a grpc.aio channel, without serializers."""

    def __init__(self, call: Any, target: str) -> None:
        self._call, self._target = call, target
        below = getattr(call, "_cython_call", None)  # not there: another gRPC, its write must do
        self._send = call.write if below is None else below.send_serialized_message

    def peer(self) -> str:
        return self._target

    async def read(self) -> Any:
        """The next message; raises what the other end ended the call with."""
        try:
            received = await self._call.read()
        except _FAILURES:
            received = grpc.aio.EOF
        if received is grpc.aio.EOF:
            await self._raise_end()
        return received

    async def write(self, message: bytes) -> None:
        """Returns when it is on its way; raises what the other end ended the call with, once all
        that it sent before was taken by a `read`."""
        try:
            await self._call.wait_for_connection()
            if not self._call.done():
                await self._send(message)
                return
        except _FAILURES:
            pass  # the call is over, and its status is here or comes
        await self._raise_end()

    async def _raise_end(self) -> NoReturn:
        code, details = await self._call.code(), await self._call.details()
        if code is grpc.StatusCode.OK:
            raise PeerUnavailableError(self._target, "the other end ended the call")
        metadata = await self._call.trailing_metadata()
        raise error_of(self._target, code, details or "", metadata or ())

"""The standard gRPC health service, answered without its package: Check and Watch of
grpc.health.v1."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.wire import health_pb2 as pb
from thespian_dc.wire.status import status_of

SERVICE = "grpc.health.v1.Health"
_Status = pb.HealthCheckResponse.ServingStatus


class Health:
    """Whether the server ("" and each named service) serves. Lives on the loop's thread."""

    def __init__(self, services: list[str]) -> None:
        self._serving = dict.fromkeys(["", *services], False)
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """All services at once; watchers are told."""
        for service in self._serving:
            self._serving[service] = serving
        self._changed.set()
        self._changed = asyncio.Event()

    def handlers(self) -> grpc.GenericRpcHandler:
        """The two methods, to be added to a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            },
        )

    def _status(self, service: str) -> int:
        serving = self._serving.get(service)
        if serving is None:
            return int(_Status.SERVICE_UNKNOWN)
        return int(_Status.SERVING if serving else _Status.NOT_SERVING)

    async def _check(self, request: bytes, context: Any) -> bytes:
        service = await _service(request, context)
        status = self._status(service)
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service is called {service!r} here")
        return _answer(status)

    async def _watch(self, request: bytes, context: Any) -> None:
        service = await _service(request, context)
        last = -1
        while True:
            changed, status = self._changed, self._status(service)
            if status != last:
                await context.write(_answer(status))
                last = status
            await changed.wait()


async def _service(request: bytes, context: Any) -> str:
    message = pb.HealthCheckRequest()
    try:
        message.ParseFromString(request)
    except DecodeError as error:
        await context.abort(*status_of(MalformedMessageError("a HealthCheckRequest", str(error))))
    return message.service


def _answer(status: int) -> bytes:
    return pb.HealthCheckResponse(status=status).SerializeToString()  # type: ignore[arg-type]

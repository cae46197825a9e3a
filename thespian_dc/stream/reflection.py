"""The standard gRPC reflection service, answered without its package: what services there are, and
their messages. It shows the protocol, and nothing of any stream.

Health and reflection are standard services whose descriptors their clients have; they are not
listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError

from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.wire import reflection_pb2 as pb
from thespian_dc.wire import streams_pb2
from thespian_dc.wire.status import status_of

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_FILE: FileDescriptor = streams_pb2.DESCRIPTOR
_NOT_FOUND, _UNIMPLEMENTED = (
    status.value[0] for status in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED)
)


def reflection_handlers(services: Sequence[str]) -> list[grpc.GenericRpcHandler]:
    """To be added to a server that serves these services of our protocol."""

    async def inform(_requests: Any, context: Any) -> None:
        while (received := await context.read()) is not grpc.aio.EOF:
            request = pb.ServerReflectionRequest()
            try:
                request.ParseFromString(received)
            except DecodeError as error:
                wrong = MalformedMessageError("a ServerReflectionRequest", str(error))
                await context.abort(*status_of(wrong))
            await context.write(answer(services, request).SerializeToString())

    methods: dict[str, Any] = {
        "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(inform)
    }
    return [grpc.method_handlers_generic_handler(name, methods) for name in SERVICES]


def answer(
    services: Sequence[str], request: pb.ServerReflectionRequest
) -> pb.ServerReflectionResponse:
    """To one question."""
    said = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
    kind = request.WhichOneof("message_request")
    if kind == "list_services":
        for name in services:
            said.list_services_response.service.add(name=name)
    elif kind in {"file_by_filename", "file_containing_symbol"}:
        asked = getattr(request, kind)
        if _has(asked, by_name=kind == "file_by_filename"):
            said.file_descriptor_response.file_descriptor_proto.append(_FILE.serialized_pb)
        else:
            said.error_response.error_code = _NOT_FOUND
            said.error_response.error_message = f"{asked!r:.200} is not part of the protocol"
    else:
        said.error_response.error_code = _UNIMPLEMENTED
        said.error_response.error_message = "the protocol has no extensions"
    return said


def _has(asked: str, by_name: bool) -> bool:
    if by_name:
        return asked == _FILE.name
    package, _, name = asked.rpartition(f"{_FILE.package}.")
    top, _, method = name.partition(".")
    if package or not top:
        return False
    service = _FILE.services_by_name.get(top)
    if service is not None:
        return not method or method in service.methods_by_name
    return top in _FILE.message_types_by_name or top in _FILE.enum_types_by_name
